"""What clients get when the gateway has no more room for them, and that it passes."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT, END, text_chunk
from tests.gateway.scratch import (
    PATIENCE_S,
    Context,
    Gateway,
    Scratch,
    Service,
    running_gateway,
    wait_until,
    wait_until_ready,
)

HEAP_MIB = 32
"""Envoy at rest takes half of it."""
PIECE = b" " * 512 * 1024
PIECES = 40
"""Of a body that is sent until it is cut off."""


def _gateway(folder: Path, service: Service, section: str) -> Any:
    (folder / "parley.yaml").write_text(f"gateway: {section}")
    return running_gateway(folder, service.address, PARLEY_CONFIG=str(folder / "parley.yaml"))


def _held(release: asyncio.Event) -> Callable[[Any, Context], Any]:
    """A stream that says something, and goes on when it is released."""

    async def stream(request: Any, context: Context) -> None:
        await context.write(text_chunk("a"))
        await release.wait()
        await context.write(text_chunk("b"))
        if context.invocation_metadata() and "x-parley-sse" in dict(context.invocation_metadata() or ()):
            await context.write(END)

    return stream


def _upload(address: str, body: bytes, length: int) -> socket.socket:
    """Begin a request whose body does not come to its end."""
    host, port = address.split(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode() + body)
    return client


def _send_on(upload: socket.socket) -> bytes:
    """Send more of the body until it is cut off; what comes back, where it can be read before."""
    upload.settimeout(5)
    with suppress(OSError):
        for _ in range(PIECES):
            upload.sendall(PIECE)
            if select.select([upload], [], [], 0.1)[0]:
                break
    with suppress(OSError):
        return upload.recv(65536)
    return b""


def _ask(gateway: Gateway) -> httpx.Response | None:
    with suppress(httpx.TransportError):  # beyond 95 % no connection is taken
        return httpx.post(f"http://{gateway.address}{CHAT}", json={}, timeout=2)
    return None


def test_short_of_memory_calls_are_refused_by_name_until_there_is_some(
    service: Service, script: Scratch, tmp_path: Path
) -> None:
    with (
        _gateway(tmp_path, service, f"{{max_heap_mib: {HEAP_MIB}}}") as gateway,
        ExitStack() as stack,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        wait_until_ready(gateway)
        refused: list[httpx.Response] = []

        def fill() -> bool:
            stack.enter_context(_upload(gateway.address, PIECE, 2 * len(PIECE)))
            answer = _ask(gateway)
            if answer is not None and answer.status_code != 200:
                refused.append(answer)
            return bool(refused)

        wait_until(fill)
        (answer,) = refused
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"] == {
            "message": "The gateway is short of memory; try again later.",
            "type": "server_error",
            "param": None,
            "code": "gateway_overloaded",
        }
        assert httpx.get(f"http://{gateway.operations}/healthz").status_code == 200
        assert httpx.get(f"http://{gateway.operations}/metrics").status_code == 200
        stack.close()
        wait_until(lambda: (_ask(gateway) or answer).status_code == 200)
        assert ChatServiceStub(channel).CreateChatCompletion(ChatCompletionRequest(model="m")).model == "m"


def test_the_largest_body_goes_before_all_others_suffer(service: Service, script: Scratch, tmp_path: Path) -> None:
    """Of HTTP/2: one call that would take all memory is ended, and others are served while its client is there."""
    served = threading.Event()

    def body() -> Iterator[bytes]:
        yield from [PIECE] * 56
        served.wait(PATIENCE_S)

    with (
        _gateway(tmp_path, service, f"{{max_heap_mib: {HEAP_MIB}}}") as gateway,
        httpx.Client(http1=False, http2=True, timeout=5) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        wait_until_ready(gateway)
        large = pool.submit(client.post, f"http://{gateway.address}{CHAT}", content=body())
        wait_until(lambda: gateway.stat("envoy.overload_actions.reset_high_memory_stream.count") > 0)
        wait_until(lambda: (_ask(gateway) or httpx.Response(503)).status_code == 200)
        served.set()
        assert large.exception(PATIENCE_S) is not None


def test_bodies_that_were_begun_before_do_not_take_all_memory(
    service: Service, script: Scratch, tmp_path: Path
) -> None:
    """Of HTTP/1: whoever sends on when memory is short is cut off; how soon depends on how busy the machine is."""
    with _gateway(tmp_path, service, f"{{max_heap_mib: {HEAP_MIB}}}") as gateway, ExitStack() as stack:
        wait_until_ready(gateway)
        length = (PIECES + 2) * len(PIECE)
        uploads = [stack.enter_context(_upload(gateway.address, b"{", length)) for _ in range(40)]
        wait_until(lambda: gateway.stat("http.http.downstream_rq_active") >= len(uploads))
        with ThreadPoolExecutor(len(uploads)) as pool:
            answers = [answer for answer in pool.map(_send_on, uploads) if answer]
        assert gateway.stat("http.http.downstream_rq_overload_close") > 0
        assert answers
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"gateway_overloaded"' in answer
        stack.close()  # of the uploads that got through and wait for more
        wait_until(lambda: (_ask(gateway) or httpx.Response(503)).status_code == 200)


@pytest.mark.parametrize("face", ["rest", "grpc"])
def test_too_many_open_calls_are_refused_by_name(service: Service, script: Scratch, tmp_path: Path, face: str) -> None:
    release = asyncio.Event()
    script.stream = _held(release)
    with (
        _gateway(tmp_path, service, "{max_open_calls: 1}") as gateway,
        httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        wait_until_ready(gateway)
        with client.stream("POST", CHAT, json={"stream": True}) as stream:
            pieces = stream.iter_raw()
            next(pieces)
            if face == "rest":
                answer = client.post(CHAT, json={})
                assert answer.status_code == 503
                assert answer.json()["error"]["code"] == "gateway_overloaded"
                assert "too many open calls" in answer.json()["error"]["message"]
            else:
                with pytest.raises(grpc.RpcError) as caught:
                    ChatServiceStub(channel).CreateChatCompletion(ChatCompletionRequest())
                call: Any = caught.value
                assert call.code() is grpc.StatusCode.UNAVAILABLE
            service.loop.call_soon_threadsafe(release.set)
            assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        wait_until(lambda: client.post(CHAT, json={}).status_code == 200)


def test_old_connections_are_left_and_no_call_with_them(service: Service, script: Scratch, tmp_path: Path) -> None:
    """A client gets to other gateways in time; what it has asked goes on."""
    release = asyncio.Event()
    script.stream = _held(release)
    with (
        _gateway(tmp_path, service, "{max_connection_age_s: 0.2}") as gateway,
        grpc.insecure_channel(gateway.address) as channel,
        httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client,
    ):
        wait_until_ready(gateway)
        stub = ChatServiceStub(channel)
        over_grpc = stub.StreamChatCompletion(ChatCompletionRequest())
        first: ChatCompletionChunk = next(over_grpc)
        with client.stream("POST", CHAT, json={"stream": True}) as over_rest:
            pieces = over_rest.iter_raw()
            next(pieces)
            wait_until(lambda: gateway.stat("http.http.downstream_cx_max_duration_reached") >= 2)
            assert stub.CreateChatCompletion(ChatCompletionRequest(model="m"), wait_for_ready=True).model == "m"
            service.loop.call_soon_threadsafe(release.set)
            assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        texts = [first.choices[0].delta.content, *(chunk.choices[0].delta.content for chunk in over_grpc)]
        assert texts == ["a", "b"]
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as keeping:
            statuses = [keeping.post(CHAT, json={}).status_code for _ in range(200)]
        assert statuses == [200] * 200
