"""ChatService: validates, routes, and passes answers on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import chat_service_pb2_grpc
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.cost import cost_usd
from service.errors import shutting_down
from service.providers.omissions import Omissions
from service.providers.provider import Identity, Provider, ProviderCall
from service.routing import Router
from service.rpc.call import CURRENT, Call, answer_metadata
from service.rpc.validation import validate

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_KEEPALIVE = ChatCompletionChunk(keepalive=True)
_END = ChatCompletionChunk()


class ChatServicer(chat_service_pb2_grpc.ChatServiceServicer):
    """Answers conversations from the configured providers."""

    def __init__(self, router: Router, providers: Mapping[str, Provider], sse_keepalive_s: float) -> None:
        self._router = router
        self._providers = providers
        self._sse_keepalive_s = sse_keepalive_s

    async def CreateChatCompletion(self, request: ChatCompletionRequest, context: Context) -> ChatCompletion:  # noqa: N802 - gRPC's name
        """An answer in one piece."""
        call = CURRENT.get()
        validate(request, stream=False)
        provider, provider_call = self._route(request, call)
        completion = await provider.complete(provider_call)
        call.first_token = time.monotonic()
        if completion.HasField("usage"):
            _price(completion.usage, provider_call.capabilities, completion.service_tier)
            call.usage = completion.usage
        call.has_empty_lists = call.is_rest and any(choice.HasField("logprobs") for choice in completion.choices)
        call.finish_reason = completion.choices[0].finish_reason
        return completion

    async def StreamChatCompletion(self, request: ChatCompletionRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802 - gRPC's name; a coroutine that writes
        """An answer in pieces."""
        call = CURRENT.get()
        validate(request, stream=True)
        provider, provider_call = self._route(request, call)
        wants_usage = not call.is_rest or request.stream_options.include_usage
        writer = _ChunkWriter(context, call)
        async with (
            writer.kept_alive(self._sse_keepalive_s),
            aclosing(provider.stream(provider_call)) as chunks,
        ):
            async for chunk in chunks:
                if chunk.HasField("usage"):
                    _price(chunk.usage, provider_call.capabilities, chunk.service_tier)
                _note(call, chunk)
                if chunk.HasField("usage") and not wants_usage:
                    continue
                if call.is_rest and not chunk.choices:
                    chunk.empty_choices = NULL_VALUE
                await writer.write(chunk)
        if call.is_rest:
            await writer.write(_END)

    def _route(self, request: ChatCompletionRequest, call: Call) -> tuple[Provider, ProviderCall]:
        model = self._router.resolve(request.model)
        target = model.target
        call.model, call.provider = model.id, target.provider
        identity = Identity(id=f"chatcmpl-{secrets.token_hex(16)}", created=int(time.time()), model=request.model)
        may_drop = request.drop_params if request.HasField("drop_params") else model.drop_params
        omissions = Omissions(target.provider, may_drop=may_drop)
        call.dropped = omissions.dropped  # filled while the request is encoded
        return self._providers[target.provider], ProviderCall(
            request, target.model, identity, target.capabilities, omissions
        )


class _ChunkWriter:
    """Writes chunks to the caller, and signs of life into a silence."""

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self._call = call
        self._lock = asyncio.Lock()
        self._last_write = time.monotonic()

    async def write(self, chunk: ChatCompletionChunk) -> None:
        """Write `chunk`; waits while the caller reads slower than the provider writes.

        Raises:
            ParleyError: SHUTTING_DOWN: the call was interrupted meanwhile.
        """
        await self._write(chunk)
        if self._call.is_interrupted:
            raise shutting_down()

    async def _write(self, chunk: ChatCompletionChunk) -> None:
        async with self._lock:
            self._call.is_writing = True
            try:
                if not self._call.has_written:
                    self._call.has_written = True
                    await self._context.send_initial_metadata(answer_metadata(self._call))
                await self._context.write(chunk)
            finally:
                self._call.is_writing = False
        self._last_write = time.monotonic()

    @asynccontextmanager
    async def kept_alive(self, interval_s: float) -> AsyncIterator[None]:
        """Within the block, write a keepalive after every `interval_s` seconds of silence.

        Only towards REST clients: gRPC callers have HTTP/2's own.
        """
        if not self._call.is_rest:
            yield
            return
        task = asyncio.create_task(self._keep_alive(interval_s))
        try:
            try:
                yield
            except Exception:
                await self._stop_between_writes(task)
                raise
            await self._stop_between_writes(task)
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # the caller is gone, which the running task learns by itself

    async def _stop_between_writes(self, task: asyncio.Task[None]) -> None:
        """Cancel the keepalive, but not amid a write: gRPC allows one at a time, and more follows."""
        async with self._lock:
            task.cancel()

    async def _keep_alive(self, interval_s: float) -> None:
        while True:
            silent_s = time.monotonic() - self._last_write
            if silent_s < interval_s:
                await asyncio.sleep(interval_s - silent_s)
            elif self._lock.locked():  # a write waits for the caller, who has bytes to read
                await asyncio.sleep(interval_s)
            else:
                await self._write(_KEEPALIVE)
                if self._call.is_interrupted:
                    self._call.interrupt()


def _price(usage: Usage, capabilities: Capabilities, service_tier: str) -> None:
    """Add what it cost, unless the provider has told it or it can't be known."""
    if capabilities.prices is None or usage.HasField("cost_usd"):
        return
    cost = cost_usd(usage, capabilities.prices, service_tier or None)
    if cost is not None:
        usage.cost_usd = cost


def _note(call: Call, chunk: ChatCompletionChunk) -> None:
    if call.first_token is None:
        call.first_token = time.monotonic()
    if chunk.HasField("usage"):
        call.usage = chunk.usage
    for choice in chunk.choices:
        if choice.finish_reason.string_value:
            call.finish_reason = choice.finish_reason.string_value
