"""Many streams at once, slow readers, keepalives, order of schema keys: what one table can't show."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.errors import Unavailable
from tests.conftest import KEY
from tests.support.faces import FACES, Face, ask
from tests.support.in_process import FakeProvider, in_process
from tests.support.stack import Stack, gateway_beside
from tests.support.upstream import FakeUpstream, Script, completion

HEADERS = {"authorization": f"Bearer {KEY}"}
MIB = 2**20
HELLO = [{"role": "user", "content": "Hello"}]


async def test_200_streams_at_once_all_end_in_order_and_unmixed(stack: Stack) -> None:
    expected = {number: " ".join(f"{number}-{word}" for word in range(40)) for number in range(200)}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=stack.url, headers=HEADERS, timeout=60, limits=limits) as client:

        async def read(number: int) -> str:
            message = {"role": "user", "content": expected[number]}
            body = {"model": "echo", "stream": True, "messages": [message]}
            response = await client.post("/v1/chat/completions", json=body)
            assert response.status_code == 200
            assert response.text.endswith("data: [DONE]\n\n")
            assert response.text.count("[DONE]") == 1
            events = [json.loads(event[6:]) for event in response.text.split("\n\n")[:-2]]
            assert events[-1]["choices"][0]["finish_reason"] == "stop"
            return "".join(event["choices"][0]["delta"].get("content", "") for event in events)

        texts = await asyncio.gather(*(read(number) for number in expected))

    assert dict(enumerate(texts)) == expected


class _Endless:
    """A provider that writes 10 kB chunks for as long as it is read, and counts them."""

    def __init__(self) -> None:
        self.written = 0
        self.is_closed = asyncio.Event()

    async def chunks(self, _request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
        chunk.choices.add(index=0).delta.content = "x" * 10_000
        try:
            while True:
                self.written += chunk.ByteSize()
                yield chunk
        finally:
            self.is_closed.set()

    async def settled(self) -> int:
        """How much was written once nothing more is."""
        seen = -1
        while seen != self.written:
            seen = self.written
            await asyncio.sleep(0.5)
        return seen


async def _open_rest(address: str) -> asyncio.StreamWriter:
    host, port = address.split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    raw.setblocking(False)  # noqa: FBT003 - socket's own signature
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    del reader  # it reads a few kB ahead and then no more
    body = json.dumps({"model": "endless", "stream": True, "messages": HELLO})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    return writer


async def test_a_rest_client_that_reads_nothing_blocks_its_own_stream_within_5_mb(tmp_path: Path) -> None:
    endless = _Endless()
    async with (
        in_process({"endless": FakeProvider(chunks=endless.chunks)}) as service,
        gateway_beside(service.address, tmp_path) as address,
    ):
        writer = await _open_rest(address)
        assert 0 < await endless.settled() < 5 * MIB
        writer.transport.abort()
        async with asyncio.timeout(5):
            await endless.is_closed.wait()


async def test_a_grpc_client_that_reads_nothing_blocks_its_own_stream() -> None:
    """What is written ahead lies in the client's own window, which grows with the speed of the link."""
    endless = _Endless()
    async with (
        in_process({"endless": FakeProvider(chunks=endless.chunks)}) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        request = ChatCompletionRequest(model="endless")
        request.messages.add(role="user").content.string_value = "x"
        call = ChatServiceStub(channel).StreamChatCompletion(request)
        await call.read()
        assert 0 < await endless.settled() < 64 * MIB
        call.cancel()
        async with asyncio.timeout(5):
            await endless.is_closed.wait()


async def test_silence_becomes_comments_on_rest_and_nothing_on_grpc(tmp_path: Path) -> None:
    """A keepalive may stand before the first chunk, and between any two."""
    go = asyncio.Event()

    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        for content in ("a", "b"):
            await go.wait()
            go.clear()
            chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
            chunk.choices.add(index=0).delta.content = content
            yield chunk

    providers = {"m": FakeProvider(chunks=chunks)}
    async with (
        in_process(providers, sse_keepalive_s=0.2) as service,
        gateway_beside(service.address, tmp_path) as address,
        httpx.AsyncClient(timeout=20) as client,
    ):
        body = {"model": "m", "stream": True, "messages": HELLO}
        events: list[str] = []
        async with client.stream("POST", f"http://{address}/v1/chat/completions", json=body) as response:
            async for piece in response.aiter_text():
                for event in piece.split("\n\n")[:-1]:
                    events.append(event)
                    if event == ": keepalive" and events.count(event) in {2, 4}:
                        go.set()
        assert events[0] == ": keepalive"
        first, second = (next(i for i, event in enumerate(events) if text in event) for text in ('"a"', '"b"'))
        assert 2 <= first < second
        assert ": keepalive" in events[first:second]
        assert events[-1] == "data: [DONE]"
        async with grpc.aio.insecure_channel(service.address) as channel:
            request = ChatCompletionRequest(model="m")
            request.messages.add(role="user").content.string_value = "x"
            call = ChatServiceStub(channel).StreamChatCompletion(request)
            waiting = asyncio.ensure_future(call.read())
            await asyncio.sleep(0.6)
            assert not waiting.done()
            go.set()
            first_chunk: Any = await waiting
            assert first_chunk.choices[0].delta.content == "a"


async def test_a_failure_after_a_keepalive_is_told_in_band(tmp_path: Path) -> None:
    async def chunks(request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        await asyncio.sleep(0.6)
        if request.messages:
            raise Unavailable("The provider can't be reached.")
        yield ChatCompletionChunk()

    async with (
        in_process({"m": FakeProvider(chunks=chunks)}, sse_keepalive_s=0.2) as service,
        gateway_beside(service.address, tmp_path) as address,
        httpx.AsyncClient(timeout=20) as client,
    ):
        body = {"model": "m", "stream": True, "messages": HELLO}
        response = await client.post(f"http://{address}/v1/chat/completions", json=body)

    assert response.status_code == 200
    *comments, error, rest = response.text.split("\n\n")
    assert set(comments) == {": keepalive"}
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "upstream_unavailable"
    assert rest == ""


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: {"type": "integer", "minimum": 1, "maximum": 9007199254740993, "description": name, "default": 0.5}
        for name in ("zeta", "alpha", "mid", "beta", "omega", "_1", "Zed")
    },
    "required": ["zeta", "alpha"],
    "additionalProperties": False,
    "$defs": {"b": {"const": -1}, "a": {"enum": [3, 1, 2, None, "x", True]}},
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("place", ["tool", "response_format", "extra_body"])
def test_key_order_and_integers_of_a_schema_reach_the_provider(
    stack: Stack, upstream: FakeUpstream, face: Face, place: str
) -> None:
    parts: dict[str, dict[str, Any]] = {
        "tool": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
        "response_format": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
        "extra_body": {"extra_body": {"guided_json": SCHEMA}},
    }
    with upstream.scripted(Script(body=completion())) as script:
        outcome = ask(stack, face, {"model": "echo", "messages": HELLO, "user": script.user, **parts[place]})

    assert outcome.failure is None
    # Beyond 2^53 Envoy and protobuf have rounded, to the even neighbour, and it still is an integer.
    expected = json.dumps(SCHEMA, separators=(",", ":")).replace("9007199254740993", "9007199254740992")
    assert expected.encode() in script.raw[0]
