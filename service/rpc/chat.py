"""ChatService: validates, has the model's targets answer, and passes answers on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc

from service._gen.parley.v1 import chat_service_pb2 as pb
from service._gen.parley.v1 import chat_service_pb2_grpc
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service.dispatch.served import Current, Served
from service.rpc.call import CURRENT
from service.rpc.leaving import Drains, Reader
from service.rpc.ordering import Order, Ordering
from service.rpc.pacing import Pacing
from service.rpc.reading import StreamReading
from service.rpc.relay import Relay
from service.rpc.stored import StoredCompletions
from service.rpc.validation import validate
from service.rpc.writing import ChunkWriter

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Result = TypeVar("_Result")


class ChatServicer(chat_service_pb2_grpc.ChatServiceServicer):
    """Answers conversations from the configured models.

    Args:
        current: Holds the models and projects.
        ordering: Makes of requests what is dispatched.
        stored: Answers the calls about stored completions.
        drains: Takes answers that are read on for callers who left.
        sse_keepalive_s: After how much silence a REST stream is sent a sign of life.
    """

    def __init__(
        self, current: Current, ordering: Ordering, stored: StoredCompletions, drains: Drains, sse_keepalive_s: float
    ) -> None:
        self._current = current
        self._ordering = ordering
        self._stored = stored
        self._drains = drains
        self._sse_keepalive_s = sse_keepalive_s
        self._pacing = Pacing()

    async def CreateChatCompletion(self, request: pb.ChatCompletionRequest, context: Context) -> ChatCompletion:  # noqa: N802 - gRPC's name
        """An answer in one piece."""
        call = CURRENT.get()
        validate(request, stream=False)
        served = self._current.served
        with served.in_use():
            order = await self._ordering.order(request, call, served)
            if order.leaving.policy == "cancel":  # no task of its own is needed
                completion = await _complete(order)
            else:
                completion = await self._complete_apart(order, served)
        call.has_empty_lists = call.is_rest and any(choice.HasField("logprobs") for choice in completion.choices)
        return completion

    async def StreamChatCompletion(self, request: pb.ChatCompletionRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - gRPC's name; a coroutine that writes
        """An answer in pieces."""
        call = CURRENT.get()
        validate(request, stream=True)
        shows_usage = not call.is_rest or request.stream_options.include_usage
        served = self._current.served
        with served.in_use():
            order = await self._ordering.order(request, call, served)
            relay = Relay()
            reading = StreamReading(order, relay, shows_usage=shows_usage)
            task = asyncio.create_task(_within(served, reading.run))
            reader = Reader(task, call, order.leaving, self._drains, reading.read_on)
            call.on_interruption = reader.leave
            try:
                await ChunkWriter(context, call, relay, self._pacing, self._sse_keepalive_s).run()
            except BaseException as error:
                relay.close()
                await reader.ended(error)
                raise
            finally:
                call.on_interruption = None  # contexts keep the call for a while, which must not keep the request

    async def ListChatCompletions(  # noqa: N802 - gRPC's name
        self, request: pb.ListChatCompletionsRequest, context: Context
    ) -> pb.ListChatCompletionsResponse:
        """A page of stored completions."""
        return await self._stored.list_page(request)

    async def GetChatCompletion(  # noqa: N802 - gRPC's name
        self, request: pb.GetChatCompletionRequest, context: Context
    ) -> pb.StoredChatCompletion:
        """A stored completion."""
        return await self._stored.get(request)

    async def ListChatCompletionMessages(  # noqa: N802 - gRPC's name
        self, request: pb.ListChatCompletionMessagesRequest, context: Context
    ) -> pb.ListChatCompletionMessagesResponse:
        """A page of the messages that a stored completion answers."""
        return await self._stored.messages(request)

    async def UpdateChatCompletion(  # noqa: N802 - gRPC's name
        self, request: pb.UpdateChatCompletionRequest, context: Context
    ) -> pb.StoredChatCompletion:
        """A stored completion with other labels."""
        return await self._stored.update(request)

    async def DeleteChatCompletion(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteChatCompletionRequest, context: Context
    ) -> pb.DeleteChatCompletionResponse:
        """Deletes a stored completion."""
        return await self._stored.delete(request)

    async def _complete_apart(self, order: Order, served: Served) -> ChatCompletion:
        """The answer, by a task that can go on without the caller's."""
        task = asyncio.create_task(_within(served, partial(_complete, order)))
        reader = Reader(task, order.call, order.leaving, self._drains)
        try:
            return await asyncio.shield(task)
        except BaseException as error:
            await reader.ended(error)
            raise


async def _complete(order: Order) -> ChatCompletion:
    try:
        completion = await order.answerer.complete(order.dispatched)
        await order.passing.whole(completion)
    except BaseException as error:
        order.passing.fail(error)
        raise
    return completion


async def _within(served: Served, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """Do `work` while nothing that it needs can go away."""
    with served.in_use():
        return await work()
