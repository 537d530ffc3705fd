"""Headers and trailers between clients and the service: what passes, and what browsers may see."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT, END, failure, text_chunk
from tests.gateway.conftest import ORIGIN
from tests.gateway.raw_http2 import post
from tests.gateway.scratch import Context, Gateway, Scratch

TOLD = (
    ("x-parley-target", "openai/gpt-4o"),
    ("x-parley-attempts", "2"),
    ("x-parley-dropped-params", "seed"),
    ("x-parley-arm", "b"),
)
TRAILERS = (("x-parley-tokens-out", "7"), ("x-parley-finish", "stop"))
STREAM = "/parley.v1.ChatService/StreamChatCompletion"
UNARY = "/parley.v1.ChatService/CreateChatCompletion"
EMPTY_FRAME = b"\0\0\0\0\0"


async def _unary(request: Any, context: Context) -> ChatCompletion:
    await context.send_initial_metadata(TOLD)
    return ChatCompletion(id="x")


async def _stream(request: Any, context: Context) -> None:
    await context.send_initial_metadata(TOLD)
    await context.write(text_chunk("a"))
    if any(name == "x-parley-sse" for name, _ in context.invocation_metadata() or ()):
        await context.write(END)
    context.set_trailing_metadata(TRAILERS)


def test_the_time_limit_of_a_rest_request_reaches_the_service(rest: httpx.Client, script: Scratch) -> None:
    for body in ({}, {"stream": True}):
        headers = {"x-request-timeout-ms": "1500", "grpc-timeout": "1S"}
        assert rest.post(CHAT, json=body, headers=headers).status_code == 200
        assert script.metadata["x-request-timeout-ms"] == "1500"
        assert "grpc-timeout" not in script.metadata


@pytest.mark.parametrize("body", [{}, {"stream": True}])
def test_rest_clients_are_told_of_target_and_attempts(
    rest: httpx.Client, script: Scratch, body: dict[str, bool]
) -> None:
    script.unary, script.stream = _unary, _stream
    answer = rest.post(CHAT, json=body)
    assert answer.status_code == 200
    assert [answer.headers[name] for name, _ in TOLD] == [value for _, value in TOLD]

    script.unary = script.stream = failure(grpc.StatusCode.UNAVAILABLE, "no", *TOLD)
    answer = rest.post(CHAT, json=body)
    assert answer.status_code == 503
    assert [answer.headers[name] for name, _ in TOLD] == [value for _, value in TOLD]


def test_trailers_of_streams_reach_grpc_callers(gateway: Gateway, rest: httpx.Client, script: Scratch) -> None:
    script.stream = _stream
    with grpc.insecure_channel(gateway.address) as channel:
        call: Any = ChatServiceStub(channel).StreamChatCompletion(ChatCompletionRequest())
        assert len(list(call)) == 1
        assert set(TOLD) <= set(call.initial_metadata())
        assert set(TRAILERS) <= set(call.trailing_metadata())

    message = ChatCompletionRequest().SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    answer = rest.post(STREAM, content=frame, headers={"content-type": "application/grpc-web+proto"})
    assert b"x-parley-tokens-out:7" in answer.content
    assert b"x-parley-finish:stop" in answer.content


def test_browsers_may_send_and_see_them(rest: httpx.Client, script: Scratch) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    allowed = rest.options(CHAT, headers=asked).headers["access-control-allow-headers"].split(",")
    assert "x-request-timeout-ms" in allowed
    exposed = rest.post(CHAT, json={}, headers={"origin": ORIGIN}).headers["access-control-expose-headers"].split(",")
    assert {name for name, _ in TOLD} <= set(exposed)


@pytest.mark.parametrize("name", [*"!#$%&'*+^`|~", "x+y", "+xy", "xy+", "X+Y", "x!y-bin"])
def test_headers_that_are_no_metadata_are_left_out(rest: httpx.Client, script: Scratch, name: str) -> None:
    """GRPC fails a whole call because of one such name."""
    headers = {name: "1", "x-next": "1"}
    for body in ({}, {"stream": True}):
        assert rest.post(CHAT, json=body, headers=headers).status_code == 200
        _check_metadata(script, name)
    assert rest.get("/v1/models", headers=headers).status_code == 200
    _check_metadata(script, name)
    web = rest.post(UNARY, content=EMPTY_FRAME, headers={**headers, "content-type": "application/grpc-web"})
    assert b"grpc-status:0" in web.content
    _check_metadata(script, name)


def _check_metadata(script: Scratch, left_out: str) -> None:
    assert script.metadata.pop("x-next") == "1"
    assert left_out.lower() not in script.metadata


@pytest.mark.parametrize("name", ["x", "0", "x_y", "x.y", "_", "-", ".", "x--", "x-bin-x"])
def test_all_other_headers_reach_the_service(rest: httpx.Client, script: Scratch, name: str) -> None:
    assert rest.post(CHAT, json={}, headers={name: "1"}).status_code == 200
    assert script.metadata[name] == "1"


@pytest.mark.parametrize("name", ["x-ok", "x+y", "foo-bin", "grpc-status", "x-parley-sse"])
def test_trailers_of_requests_do_no_harm(gateway: Gateway, script: Scratch, name: str) -> None:
    """As headers, they might fail the whole call."""
    trailers = [(name, "!!!")]
    for body in (b"{}", b'{"stream":true}'):
        answer = post(gateway.address, CHAT, body, [("content-type", "application/json"), ("x+y", "1")], trailers)
        assert answer.headers[":status"] == "200"
        assert answer.body
    headers = [("content-type", "application/grpc"), ("te", "trailers"), ("x+y", "1")]
    answer = post(gateway.address, UNARY, EMPTY_FRAME, headers, trailers)
    assert answer.trailers is not None
    assert answer.trailers["grpc-status"] == "0"


@pytest.mark.parametrize("body", [b"{}", b'{"stream":true}', b'{"n":"x"}'])
def test_no_trailers_of_grpc_are_shown_to_rest_clients(gateway: Gateway, script: Scratch, body: bytes) -> None:
    script.unary, script.stream = _unary, _stream
    answer = post(gateway.address, CHAT, body, [("content-type", "application/json")])
    assert answer.body
    assert not [name for name in {**answer.headers, **(answer.trailers or {})} if name.startswith("grpc-")]
