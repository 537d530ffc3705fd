"""One stream, over REST or gRPC: read to its end, or left early; and what is wrong with how it went."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Literal

import grpc

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.support.quick_upstream import text_of

PATIENCE_S = 120.0


@dataclass
class Stream:
    """A stream to be read: `leave_after_s` None reads it to its end."""

    name: str
    face: Literal["rest", "grpc"]
    words: int
    gap_ms: int
    leave_after_s: float | None
    left_at: float | None = None
    """On the monotonic clock."""
    complaint: str = ""

    @property
    def prompt(self) -> str:
        """What has the provider answer so."""
        return f"say:{self.words}:{self.gap_ms}:{self.name}"


async def read_stream(stream: Stream, address: str, stub: ChatServiceStub) -> None:
    """Read it as told; `left_at` and `complaint` say how it went."""
    read = _read_rest(stream, address) if stream.face == "rest" else _read_grpc(stream, stub)
    try:
        async with asyncio.timeout(PATIENCE_S if stream.leave_after_s is None else stream.leave_after_s):
            stream.complaint = await read
    except TimeoutError:
        if stream.leave_after_s is None:
            stream.complaint = "it hung"
    except (OSError, ValueError, grpc.aio.AioRpcError) as error:
        stream.complaint = f"{type(error).__name__}: {error}"


async def _read_rest(stream: Stream, address: str) -> str:
    """What is wrong with it, read to the end."""
    body = json.dumps(
        {"model": "openai", "stream": True, "messages": [{"role": "user", "content": stream.prompt}]}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\nconnection: close\r\nx-api-key: {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + body)
        answer = await reader.read(-1)
    except asyncio.CancelledError:
        stream.left_at = time.monotonic()
        raise
    finally:
        writer.transport.abort()
    return _complaint_of_sse(stream, answer)


def _complaint_of_sse(stream: Stream, answer: bytes) -> str:
    if not answer.startswith(b"HTTP/1.1 200 "):
        return f"answered {answer[:400]!r}"
    text, finish = "", None
    lines = answer.decode().splitlines()
    for line in lines:
        if line.startswith("data: {"):
            chunk = json.loads(line.removeprefix("data: "))
            if "error" in chunk:
                return f"ended in {chunk['error']['code']}"
            text += chunk["choices"][0]["delta"].get("content", "")
            finish = chunk["choices"][0]["finish_reason"] or finish
    if not answer.endswith(b"\r\n0\r\n\r\n") or "data: [DONE]" not in lines:
        return "no proper ending"
    return _complaint_of_text(stream, text, finish)


async def _read_grpc(stream: Stream, stub: ChatServiceStub) -> str:
    """What is wrong with it, read to the end."""
    request = ChatCompletionRequest(model="openai")
    request.messages.add(role="user").content.string_value = stream.prompt
    call: Any = stub.StreamChatCompletion(request, metadata=(("x-api-key", KEY),))
    text, finish = "", None
    try:
        async for chunk in call:
            for choice in chunk.choices:
                text += choice.delta.content
                finish = choice.finish_reason.string_value or finish
    except asyncio.CancelledError:
        stream.left_at = time.monotonic()
        raise
    finally:
        call.cancel()
    trailers = dict(await call.trailing_metadata())
    if trailers.get("x-parley-finish") != "stop":
        return f"the trailers say it finished with {trailers.get('x-parley-finish')}"
    return _complaint_of_text(stream, text, finish)


def _complaint_of_text(stream: Stream, text: str, finish: str | None) -> str:
    if text != text_of(stream.words):
        return f"{len(text)} characters instead of {len(text_of(stream.words))}"
    return "" if finish == "stop" else f"finished with {finish}"
