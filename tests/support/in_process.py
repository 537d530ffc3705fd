"""The service's own server in the test's event loop, in front of providers that the test writes."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Current, Served, ServedProject
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.health import Health
from service.limits import Limits, Retries
from service.project_composition import prompts_of
from service.prompts.renderer import Renderer
from service.providers.provider import Provider, ProviderCall
from service.providers.transport import Timeouts
from service.routing import Model, Target
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.leaving import Drains
from service.rpc.models import ModelServicer
from service.rpc.ordering import Ordering
from service.rpc.sessions import SessionServicer
from service.rpc.stored import StoredCompletions
from service.server import Server
from service.storage.store import Store
from tests.support.secret_watch import look


@dataclass
class FakeProvider:
    """A provider that answers as the test says."""

    answer: Callable[[ChatCompletionRequest], ChatCompletion] | None = None
    chunks: Callable[[ChatCompletionRequest], AsyncGenerator[ChatCompletionChunk]] | None = None
    asked: list[ChatCompletionRequest] = field(default_factory=list)

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        self.asked.append(call.request)
        assert self.answer is not None
        return self.answer(call.request)

    def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        self.asked.append(call.request)
        assert self.chunks is not None
        return self.chunks(call.request)


PLAIN_LIMITS = Limits(retries=Retries(max_attempts=1), breaker=None)
"""A provider is asked once, whatever it says: most tests are of what follows from that."""


@dataclass
class InProcess:
    """The running server."""

    address: str
    log: io.BytesIO
    in_flight: InFlight
    drains: Drains
    served: Served
    drain: Callable[[], Awaitable[None]]
    """What SIGTERM begins; done anyway at the block's end."""

    def calls(self) -> list[dict[str, Any]]:
        """The access log's lines."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def in_process(  # noqa: PLR0913 - what tests set, by name
    providers: Mapping[str, Provider],
    *,
    sse_keepalive_s: float = 15.0,
    server: config.Server | None = None,
    keys: Keys | None = None,
    limits: Limits = PLAIN_LIMITS,
    models: Mapping[str, Sequence[str]] | None = None,
    projects: Mapping[str, ServedProject] | None = None,
    store: Store | None = None,
) -> AsyncIterator[InProcess]:
    """Serve `models`, given by the names of their providers, until the block is left; without keys unless given.

    Without `models`, there is one for each provider, of its name. A `store` is the caller's to run and to close.
    """
    settings = server or config.Server(grpc_address="127.0.0.1:0", drain_grace_s=1.0, drain_notice_s=0)
    in_flight, drains, health, log = InFlight(), Drains(), Health(), io.BytesIO()
    named = {name: (name,) for name in providers} if models is None else models
    served = Served(
        {name: _dispatcher(name, targets, providers, limits) for name, targets in named.items()}, projects or {}
    )
    current = Current(served)
    running = Server(settings, Guard(keys or Keys([]), AccessLog(log), in_flight), in_flight, health, drains)
    health.set_serving(takes_calls=True, answers_chats=True)
    renderer = Renderer()
    await renderer.check(prompts_of(served.projects))
    chat = ChatServicer(current, Ordering(renderer, store), StoredCompletions(store), drains, sse_keepalive_s)
    addresses = await running.start(chat, ModelServicer(current), SessionServicer(store))
    try:
        yield InProcess(addresses["grpc"], log, in_flight, drains, served, running.drain)
    finally:
        await running.drain()
        await renderer.aclose()
        look("the access log", log.getvalue())


def _dispatcher(name: str, targets: Sequence[str], providers: Mapping[str, Provider], limits: Limits) -> Dispatcher:
    model = Model(name, tuple(Target(target, target) for target in targets), 0, limits=limits)
    timeouts = attempt_timeouts(limits, Timeouts())
    states = [
        TargetState(target=target, provider=providers[target.provider], limits=limits, timeouts=timeouts)
        for target in model.targets
    ]
    return Dispatcher(model, states)
