"""From a validated request to what is dispatched: who answers it, by what name, and who keeps account of it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.ids import completion_name, created_of, new_id, random_bytes, random_uuid
from service.dispatch.call import Deadline, DispatchCall
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Served, ServedResolution
from service.errors import ParleyError, Reason, RequestError
from service.limits import OnDisconnect
from service.projects.resolving import choose
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer
from service.providers.provider import Identity
from service.rpc.accounting import Account
from service.rpc.call import Call
from service.rpc.keeping import Draft, Keeping
from service.rpc.leaving import leaving_of
from service.rpc.naming import Naming
from service.rpc.passing import Passing
from service.rpc.preparing import Prepared, Preparing
from service.storage.store import Store
from service.turns.loop import TurnLoop
from service.unspoken import Unspoken


class Answerer(Protocol):
    """Answers for a model."""

    async def complete(self, call: DispatchCall) -> ChatCompletion:
        """In one piece; see `Dispatcher.complete`."""

    def stream(self, call: DispatchCall) -> AsyncGenerator[ChatCompletionChunk]:
        """In pieces; see `Dispatcher.stream`."""


class Order(Unspoken, frozen=True):
    """What is to be dispatched, by whom, and who keeps account of it."""

    answerer: Answerer
    dispatched: DispatchCall
    passing: Passing
    """Accounts for the answer, names and stores it."""
    leaving: OnDisconnect
    call: Call


class Ordering:
    """Makes orders.

    Args:
        renderer: Of system prompts.
        store: Of completions, where there is one.
    """

    def __init__(self, renderer: Renderer, store: Store | None) -> None:
        self._preparing = Preparing(renderer, store)
        self._store = store

    async def order(self, request: ChatCompletionRequest, call: Call, served: Served) -> Order:
        """The order of a validated request.

        Raises:
            ParleyError: Something that it names is not there, or can't be had now.
        """
        resolution = served.resolve(request.model, call.key.projects if call.key else None)
        session_id = request.session_id.lower() or random_uuid()
        stored_id = new_id() if request.store else None
        name = completion_name(stored_id) if stored_id else f"chatcmpl-{random_bytes().hex()}"
        model_id, prompt = _chosen(request, call, resolution, name)
        dispatcher = served.models[model_id]
        model = dispatcher.model
        call.model = model.id
        created = int(time.time()) if stored_id is None else created_of(stored_id)
        identity = Identity(id=name, created=created, model=request.model)
        store = self._store_for(request)
        prepared = await self._preparing.prepare(request, call.tenant, resolution.project, prompt)
        keeping = None
        if store is not None and stored_id is not None:
            keeping = Keeping(store, Draft(stored_id, UUID(session_id), created, prepared.asked), call)
            keeping.check()
        return Order(
            answerer=_answerer(dispatcher, prepared),
            dispatched=_dispatched(prepared, identity, call, may_drop=_may_drop(request, model.drop_params)),
            passing=Passing(
                Account(call, prepared.request),
                Naming(session_id, stored_id, model.id if model.id != request.model else None),
                keeping,
            ),
            leaving=leaving_of(request, call, model.limits),
            call=call,
        )

    def _store_for(self, request: ChatCompletionRequest) -> Store | None:
        """The store, where the request wants to be stored."""
        if not request.store:
            return None
        if self._store is None:
            message = "`store` can't be true: completions are not stored here, the configuration has no `storage`."
            raise RequestError(Reason.PARAMETER_UNSUPPORTED, message, param="store")
        return self._store


def _chosen(
    request: ChatCompletionRequest, call: Call, resolution: ServedResolution, name: str
) -> tuple[str, Prompt | None]:
    """Id of the model that answers, and the system prompt, where the project or its campaign has one."""
    project = resolution.project
    if project is None and not request.ab_campaign:
        return resolution.model_id, None
    choice = choose(
        project,
        request.ab_campaign,
        user=request.user,
        session_id=request.session_id,
        completion_id=name,
        now=datetime.now(UTC),
    )
    assert project is not None  # noqa: S101 - else `choose` has raised
    call.project = project.name
    if choice is None:
        return resolution.model_id, project.prompt
    call.campaign, call.arm = choice.campaign.key, choice.arm.name
    return project.models[choice.arm.model], choice.arm.prompt or project.prompt


def _may_drop(request: ChatCompletionRequest, default: bool) -> bool:  # noqa: FBT001 - the model's setting
    return request.drop_params if request.HasField("drop_params") else default


def _dispatched(prepared: Prepared, identity: Identity, call: Call, *, may_drop: bool) -> DispatchCall:
    request = prepared.request
    first_token_at = call.started + request.max_ttft_ms / 1000 if request.max_ttft_ms else None
    deadline = Deadline(call.deadline_at, first_token_at)
    if call.trace is not None:
        call.trace.asks(request)
    return DispatchCall(request, identity, may_drop, deadline, call.journal, call.trace)


def _answerer(dispatcher: Dispatcher, prepared: Prepared) -> Answerer:
    answerer: Answerer = dispatcher if prepared.offer is None else TurnLoop(dispatcher, prepared.offer)
    return _Relocating(answerer, prepared) if prepared.has_moved else answerer


class _Relocating:
    """Has errors name the parts of the caller's request, where the provider is asked another."""

    def __init__(self, answerer: Answerer, prepared: Prepared) -> None:
        self._answerer = answerer
        self._prepared = prepared

    async def complete(self, call: DispatchCall) -> ChatCompletion:
        try:
            return await self._answerer.complete(call)
        except ParleyError as error:
            self._prepared.relocate(error)
            raise

    async def stream(self, call: DispatchCall) -> AsyncGenerator[ChatCompletionChunk]:
        try:
            async with aclosing(self._answerer.stream(call)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ParleyError as error:
            self._prepared.relocate(error)
            raise
