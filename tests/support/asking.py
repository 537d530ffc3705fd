"""A provider that a test plays step by step, and calls of the in-process server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import grpc

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.providers.provider import ProviderCall
from tests.support.chunks import whole

SOON_S = 10.0
"""Bound of every wait; the machine may be busy."""
REST = (("x-parley-sse", "1"),)
"""How the gateway marks a REST client's stream."""


@dataclass
class Played:
    """Sends each of `chunks`, pausing where one is None until `go` is set; then waits for `go` to end."""

    chunks: Sequence[ChatCompletionChunk | None] = ()
    answer: ChatCompletion = field(default_factory=whole)
    asked: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the answer is over, one way or the other."""
    was_cut: bool = False
    """Whether it was closed before its end."""
    sent: int = 0

    async def complete(self, _call: ProviderCall) -> ChatCompletion:
        async with self._work():
            await self.go.wait()
            return deepcopy(self.answer)

    async def stream(self, _call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        async with self._work():
            for chunk in self.chunks:
                if chunk is None:
                    await self.go.wait()
                    continue
                self.sent += 1
                yield deepcopy(chunk)  # what it gives is the server's to change

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[None]:
        self.asked += 1
        self.began.set()
        try:
            yield
        except BaseException:
            self.was_cut = True
            raise
        finally:
            self.closed.set()


@dataclass
class Ended:
    """What a call came to."""

    chunks: list[ChatCompletionChunk]
    error: grpc.aio.AioRpcError | None
    initial: dict[str, Any]
    trailing: dict[str, Any]

    @property
    def text(self) -> str:
        return "".join(choice.delta.content for chunk in self.chunks for choice in chunk.choices)


async def read_to_end(call: Any) -> Ended:
    """All that is left of a stream."""
    chunks: list[ChatCompletionChunk] = []
    error = None
    try:
        async with asyncio.timeout(SOON_S):
            while (chunk := await call.read()) is not grpc.aio.EOF:
                chunks.append(chunk)
    except grpc.aio.AioRpcError as caught:
        error = caught
    return Ended(chunks, error, dict(await call.initial_metadata()), dict(await call.trailing_metadata()))


@asynccontextmanager
async def stub_of(address: str, **options: int) -> AsyncIterator[Any]:
    """A client of the server at `address`."""
    async with grpc.aio.insecure_channel(address, options=list(options.items())) as channel:
        yield ChatServiceStub(channel)


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - any condition, not only events
            await asyncio.sleep(0.005)


def tasks() -> set[asyncio.Task[Any]]:
    """All that run but the test's own, and but the one with which gRPC waits for the next call."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return {task for task in others if not getattr(task.get_coro(), "__qualname__", "").startswith("AioServer.")}
