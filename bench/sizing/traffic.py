"""Calls and streams, as many at once as they say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.support.stack import Stack

_AT_ONCE = 16
_OPENED_AT_ONCE = 50
_QUESTION = "What is the capital of France, and which river does it stand at? " * 5


@dataclass
class Events:
    """Events of all streams so far."""

    count: int = 0


async def ask_over_rest(stack: Stack, calls: int) -> float:
    """Ask by connections that stay; how long all took, in seconds."""
    request = _http_request({"model": "m", "messages": [{"role": "user", "content": _QUESTION}]})

    async def work(count: int) -> None:
        reader, writer = await _connect(stack)
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(head.decode("latin-1"))
            length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work(calls // _AT_ONCE) for _ in range(_AT_ONCE)))
    return time.perf_counter() - began


async def ask_over_grpc(stack: Stack, calls: int) -> float:
    """Ask the service itself; how long all took, in seconds."""
    request = ChatCompletionRequest(model="m")
    request.messages.add(role="user").content.string_value = _QUESTION
    async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
        stub = ChatServiceStub(channel)

        async def work(count: int) -> None:
            for _ in range(count):
                await stub.CreateChatCompletion(request, metadata=(("x-api-key", KEY),))

        began = time.perf_counter()
        await asyncio.gather(*(work(calls // _AT_ONCE) for _ in range(_AT_ONCE)))
        return time.perf_counter() - began


@asynccontextmanager
async def open_streams(stack: Stack, streams: int, gap_ms: int) -> AsyncIterator[Events]:
    """Have that many streams run over REST, each with an event every `gap_ms`, until the block is left."""
    events = Events()
    gate = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def read(number: int, opened: asyncio.Event) -> None:
        order = f"say:100000:{gap_ms}:stream{number}"
        async with gate:
            reader, writer = await _connect(stack)
            writer.write(
                _http_request({"model": "m", "stream": True, "messages": [{"role": "user", "content": order}]})
            )
            await reader.readuntil(b"data: ")
            opened.set()
        try:
            while piece := await reader.read(65_536):
                events.count += piece.count(b"data: ")
        finally:
            writer.transport.abort()

    all_opened = [asyncio.Event() for _ in range(streams)]
    tasks = [asyncio.create_task(read(number, opened)) for number, opened in enumerate(all_opened)]
    try:
        await asyncio.gather(*(opened.wait() for opened in all_opened))
        yield events
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _connect(stack: Stack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = stack.http_address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


def _http_request(body: dict[str, object]) -> bytes:
    encoded = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nx-api-key: {KEY}\r\ncontent-length: {len(encoded)}\r\n"
    )
    return head.encode() + b"content-type: application/json\r\n\r\n" + encoded
