"""Calls of all kinds through the gateway's Service, for as long as something is tried: none may fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import grpc
import httpx
from openai import AsyncOpenAI, OpenAIError

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.rollout.manifests import MODEL
from tests.soak.streams import Stream, read_stream
from tests.support.quick_upstream import text_of

WORDS = 5
PROMPT = f"say:{WORDS}:10:unary"
STREAM_WORDS, STREAM_GAP_MS = 50, 240
"""Streams of twelve seconds: longer than a replica's start, and shorter than what a drain grants."""
STREAM_EVERY_S = 0.4
CALLERS = 4
"""Of each kind of unary calls, one call at a time each."""
PAUSE_S = 0.04
"""Between two calls of a caller. A machine of two cores runs all of the cluster besides."""
CALL_S = 30.0
STREAMS_OPEN = 20
STREAM = "stream over"
KINDS: Final = ("openai", "httpx", "grpc")
Kind = Literal["openai", "httpx", "grpc"]


@dataclass(frozen=True)
class Failure:
    """A call without a proper end."""

    kind: str
    began: float
    """On the monotonic clock, as the end."""
    ended: float
    what: str


@dataclass
class Load:
    """What became of the calls so far."""

    counts: Counter[str] = field(default_factory=Counter)
    """By kind, those that ended as they should."""
    failures: list[Failure] = field(default_factory=list)
    longest_s: float = 0.0
    """Of the unary calls."""
    streams_open: int = 0

    def add(self, kind: str, began: float, what_is_wrong: str) -> None:
        """Count a call that has ended; it `began` on the monotonic clock."""
        if what_is_wrong:
            self.failures.append(Failure(kind, began, time.monotonic(), what_is_wrong))
        else:
            self.counts[kind] += 1

    async def is_under_way(self) -> None:
        """Wait until unary calls of every kind have been answered from now on, and many streams are open."""
        before = self.counts.copy()
        async with asyncio.timeout(60):
            while not self._is_under_way_since(before):  # noqa: ASYNC110 - a bounded wait needs no event
                await asyncio.sleep(0.1)

    def _is_under_way_since(self, before: Counter[str]) -> bool:
        return self.streams_open >= STREAMS_OPEN and all(self.counts[kind] >= before[kind] + 20 for kind in KINDS)

    @property
    def unary(self) -> int:
        return sum(count for kind, count in self.counts.items() if not kind.startswith(STREAM))

    @property
    def streams(self) -> int:
        return sum(count for kind, count in self.counts.items() if kind.startswith(STREAM))

    def __str__(self) -> str:
        return (
            f"{self.unary} unary calls, the longest {self.longest_s:.2f} s; {self.streams} streams;"
            f" {len(self.failures)} failed"
        )


@dataclass(frozen=True)
class _Clients:
    """Those that keep connections, as applications do."""

    openai: AsyncOpenAI
    http: httpx.AsyncClient
    channels: list[grpc.aio.Channel]

    async def ask(self, kind: Kind, number: int) -> str:
        """The answer's text."""
        match kind:
            case "openai":
                messages: Any = [{"role": "user", "content": PROMPT}]
                answer: Any = await self.openai.chat.completions.create(model=MODEL, messages=messages)
                return str(answer.choices[0].message.content)
            case "httpx":
                body = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
                response = await self.http.post("/v1/chat/completions", json=body)
                response.raise_for_status()
                return str(response.json()["choices"][0]["message"]["content"])
            case "grpc":
                request = ChatCompletionRequest(model=MODEL)
                request.messages.add(role="user").content.string_value = PROMPT
                metadata = (("x-api-key", KEY),)
                call: Any = self.stub(number).CreateChatCompletion(request, metadata=metadata, timeout=CALL_S)
                told = await call
                return str(told.choices[0].message.content)

    def stub(self, number: int) -> ChatServiceStub:
        return ChatServiceStub(self.channels[number % len(self.channels)])


@asynccontextmanager
async def loaded(address: str) -> AsyncIterator[Load]:
    """Call on while the block runs; streams that have begun are read to their end after it.

    Args:
        address: Of the gateway's Service, with port 80 for REST and 50051 for gRPC.
    """
    load, over = Load(), asyncio.Event()
    options = [("grpc.use_local_subchannel_pool", 1)]  # or all channels would share one connection
    async with AsyncExitStack() as stack:
        enter, url = stack.enter_async_context, f"http://{address}"
        clients = _Clients(
            # Nobody repeats anything here.
            await enter(AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=CALL_S)),
            await enter(httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, timeout=CALL_S)),
            [await enter(grpc.aio.insecure_channel(f"{address}:50051", options=options)) for _ in range(CALLERS)],
        )
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                for number in range(CALLERS):
                    group.create_task(_call_on(load, over, kind, _asking(clients, kind, number)))
            group.create_task(_stream_on(load, over, address, clients))
            try:
                yield load
            finally:
                over.set()


def _asking(clients: _Clients, kind: Kind, number: int) -> Callable[[], Coroutine[None, None, str]]:
    return lambda: clients.ask(kind, number)


async def _call_on(load: Load, over: asyncio.Event, kind: Kind, ask: Callable[[], Coroutine[None, None, str]]) -> None:
    while not over.is_set():
        began = time.monotonic()
        try:
            text = await ask()
            what = "" if text == text_of(WORDS) else f"{len(text)} characters instead of {len(text_of(WORDS))}"
        except (OpenAIError, httpx.HTTPError, grpc.aio.AioRpcError) as error:
            what = _told(error)
        load.add(kind, began, what)
        load.longest_s = max(load.longest_s, time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)


async def _stream_on(load: Load, over: asyncio.Event, address: str, clients: _Clients) -> None:
    """Begin one stream after another."""
    number = 0
    async with asyncio.TaskGroup() as group:
        while not over.is_set():
            stream = Stream(f"stream-{number}", "grpc" if number % 2 else "rest", STREAM_WORDS, STREAM_GAP_MS, None)
            group.create_task(_read(load, stream, f"{address}:80", clients.stub(number // 2)))
            number += 1
            await asyncio.sleep(STREAM_EVERY_S)


async def _read(load: Load, stream: Stream, address: str, stub: ChatServiceStub) -> None:
    began = time.monotonic()
    load.streams_open += 1
    await read_stream(stream, address, stub)
    load.streams_open -= 1
    load.add(f"{STREAM} {stream.face}", began, stream.complaint)


def _told(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} {error.response.text}"
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return f"{type(error).__name__} {error} {error.__cause__!r}"
