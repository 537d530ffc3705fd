"""ChatService: validates, has the model's targets answer, and passes answers on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc

from service._gen.parley.v1 import chat_service_pb2_grpc
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.dispatch.call import Deadline, DispatchCall
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Current, Served
from service.limits import OnDisconnect
from service.providers.provider import Identity
from service.rpc.accounting import Account
from service.rpc.call import CURRENT, Call
from service.rpc.leaving import Drains, Reader, leaving_of
from service.rpc.reading import StreamReading
from service.rpc.relay import Relay
from service.rpc.validation import validate
from service.rpc.writing import ChunkWriter

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Result = TypeVar("_Result")


class ChatServicer(chat_service_pb2_grpc.ChatServiceServicer):
    """Answers conversations from the configured models."""

    def __init__(self, current: Current, sse_keepalive_s: float, drains: Drains) -> None:
        self._current = current
        self._sse_keepalive_s = sse_keepalive_s
        self._drains = drains

    async def CreateChatCompletion(self, request: ChatCompletionRequest, context: Context) -> ChatCompletion:  # noqa: N802 - gRPC's name
        """An answer in one piece."""
        call = CURRENT.get()
        validate(request, stream=False)
        served = self._current.served
        with served.in_use():
            order = _order(request, call, served)
            if order.leaving.policy == "cancel":  # no task of its own is needed
                completion = await _complete(order, served)
            else:
                completion = await self._complete_apart(order, served)
        call.has_empty_lists = call.is_rest and any(choice.HasField("logprobs") for choice in completion.choices)
        return completion

    async def StreamChatCompletion(self, request: ChatCompletionRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - gRPC's name; a coroutine that writes
        """An answer in pieces."""
        call = CURRENT.get()
        validate(request, stream=True)
        shows_usage = not call.is_rest or request.stream_options.include_usage
        served = self._current.served
        with served.in_use():
            order = _order(request, call, served)
            relay = Relay()
            chunks = order.dispatcher.stream(order.call)
            reading = StreamReading(
                chunks, order.account, relay, call.journal, is_rest=call.is_rest, shows_usage=shows_usage
            )
            task = asyncio.create_task(_within(served, reading.run))
            reader = Reader(task, call, order.leaving, self._drains, reading.read_on)
            call.on_interruption = reader.leave
            try:
                await ChunkWriter(context, call, relay, self._sse_keepalive_s).run()
            except BaseException as error:
                relay.close()
                await reader.ended(error)
                raise
            finally:
                call.on_interruption = None  # contexts keep the call for a while, which must not keep the request

    async def _complete_apart(self, order: _Order, served: Served) -> ChatCompletion:
        """The answer, by a task that can go on without the caller's."""
        task = asyncio.create_task(_complete(order, served))
        reader = Reader(task, order.journalled, order.leaving, self._drains)
        try:
            return await asyncio.shield(task)
        except BaseException as error:
            await reader.ended(error)
            raise


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be dispatched, by whom, and who keeps account of it."""

    dispatcher: Dispatcher
    call: DispatchCall = field(repr=False)
    account: Account
    leaving: OnDisconnect
    journalled: Call


def _order(request: ChatCompletionRequest, call: Call, served: Served) -> _Order:
    dispatcher = served.resolve(request.model)
    model = dispatcher.model
    call.model = model.id
    identity = Identity(id=f"chatcmpl-{secrets.token_hex(16)}", created=int(time.time()), model=request.model)
    may_drop = request.drop_params if request.HasField("drop_params") else model.drop_params
    first_token_at = call.started + request.max_ttft_ms / 1000 if request.max_ttft_ms else None
    deadline = Deadline(call.deadline_at, first_token_at)
    dispatched = DispatchCall(request, identity, may_drop, deadline, call.journal)
    return _Order(dispatcher, dispatched, Account(call, request), leaving_of(request, call, model.limits), call)


async def _complete(order: _Order, served: Served) -> ChatCompletion:
    is_complete = False
    try:
        completion = await _within(served, partial(order.dispatcher.complete, order.call))
        order.account.take_whole(completion)
        is_complete = True
    finally:
        order.account.settle(is_complete=is_complete)
    return completion


async def _within(served: Served, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """Do `work` while nothing that it needs can go away."""
    with served.in_use():
        return await work()
