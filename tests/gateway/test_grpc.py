"""gRPC and gRPC-Web on the same listener, untouched."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator
from typing import cast

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import KEEPALIVE, chunks, failure, text_chunk
from tests.gateway.raw_http2 import post
from tests.gateway.scratch import MESSAGE_BYTES, Gateway, Scratch, Service, wait_until

UNARY = "/parley.v1.ChatService/CreateChatCompletion"
STREAM = "/parley.v1.ChatService/StreamChatCompletion"
TRAILERS = 0x80


@pytest.fixture
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    with grpc.insecure_channel(gateway.address, options) as channel:
        yield channel


def test_calls_pass_untouched(channel: grpc.Channel, script: Scratch) -> None:
    request = ChatCompletionRequest(model="m", stream=True)
    metadata = (("x-parley-sse", "1"), ("x-error-type", "a"), ("x-api-key", "k"), ("x-request-id", "mine"))
    answer, call = ChatServiceStub(channel).CreateChatCompletion.with_call(request, metadata=metadata)
    assert answer == ChatCompletion(id="echo", object="chat.completion", model="m")
    assert script.requests == [request]
    assert script.metadata["x-api-key"] == "k"
    assert script.metadata["x-request-id"] == "mine"
    assert ("x-request-id", "mine") in call.initial_metadata()
    assert not set(script.metadata) & {"x-parley-sse", "x-error-type"}


def test_streams_pass_untouched(channel: grpc.Channel, script: Scratch) -> None:
    sent = [text_chunk("data: {}\n\n"), KEEPALIVE, ChatCompletionChunk(), text_chunk("b")]
    script.stream = chunks(*sent)
    got = list(
        ChatServiceStub(channel).StreamChatCompletion(ChatCompletionRequest(), metadata=(("x-parley-sse", "1"),))
    )
    assert got == sent
    assert "x-parley-sse" not in script.metadata


@pytest.mark.parametrize("stream", [False, True])
def test_errors_keep_their_details(channel: grpc.Channel, script: Scratch, *, stream: bool) -> None:
    text = 'no "way"'
    script.unary = script.stream = failure(grpc.StatusCode.INVALID_ARGUMENT, text, ("x-error-type", "t"))
    stub = ChatServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.StreamChatCompletion(ChatCompletionRequest())) if stream else stub.CreateChatCompletion(
            ChatCompletionRequest()
        )
    error = _call(caught.value)
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert ("x-error-type", "t") in tuple(error.trailing_metadata())
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.domain == "parley"


def test_large_messages_pass(channel: grpc.Channel, script: Scratch) -> None:
    request = ChatCompletionRequest(model="x" * 32 * 1024 * 1024)
    assert len(ChatServiceStub(channel).CreateChatCompletion(request).model) == 32 * 1024 * 1024


def test_health_can_be_asked_through_the_gateway(channel: grpc.Channel) -> None:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    answer = check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_envoys_own_refusals_are_grpc(
    channel: grpc.Channel, gateway: Gateway, rest: httpx.Client, service: Service
) -> None:
    service.set_serving(serving=False)
    try:
        wait_until(lambda: rest.get("/readyz").status_code == 503)
        with pytest.raises(grpc.RpcError) as caught:
            ChatServiceStub(channel).CreateChatCompletion(ChatCompletionRequest())
        assert _call(caught.value).code() is grpc.StatusCode.UNAVAILABLE
        assert _call(caught.value).details() == "no healthy upstream"
        web = rest.post(UNARY, content=_frame(ChatCompletionRequest()), headers=_web_headers())
        assert web.headers["grpc-status"] == "14"
        assert "error" not in web.text
    finally:
        service.set_serving(serving=True)
    wait_until(lambda: rest.get("/readyz").status_code == 200)


def _call(error: grpc.RpcError) -> grpc.Call:
    """The failed call: its error is both, which the types don't say."""
    return cast("grpc.Call", error)


def _web_headers(content_type: str = "application/grpc-web+proto") -> dict[str, str]:
    return {"content-type": content_type, "x-grpc-web": "1", "x-parley-sse": "1"}


def _frame(message: ChatCompletionRequest) -> bytes:
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        frames.append((flag, body[5 : 5 + length]))
        body = body[5 + length :]
    return frames


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ],
)
def test_grpc_web_passes(rest: httpx.Client, script: Scratch, content_type: str) -> None:
    is_text = "-text" in content_type
    body = _frame(ChatCompletionRequest(model="m", stream=True))
    sent = base64.b64encode(body) if is_text else body
    answer = rest.post(UNARY, content=sent, headers={**_web_headers(content_type), "accept": content_type})
    assert answer.status_code == 200
    # Each flush is padded on its own.
    pieces = re.findall(rb"[^=]+=*", answer.content) if is_text else []
    content = b"".join(map(base64.b64decode, pieces)) or answer.content
    (flag, message), (last, trailers) = _frames(content)
    assert (flag, last) == (0, TRAILERS)
    assert ChatCompletion.FromString(message).model == "m"
    assert b"grpc-status:0" in trailers
    assert "x-parley-sse" not in script.metadata


def test_grpc_web_streams_pass(rest: httpx.Client, script: Scratch) -> None:
    script.stream = chunks(text_chunk("a"), ChatCompletionChunk())
    answer = rest.post(STREAM, content=_frame(ChatCompletionRequest()), headers=_web_headers())
    *messages, (last, trailers) = _frames(answer.content)
    assert [ChatCompletionChunk.FromString(data) for _, data in messages] == [text_chunk("a"), ChatCompletionChunk()]
    assert last == TRAILERS
    assert b"grpc-status:0" in trailers


def test_grpc_web_errors_keep_their_details(rest: httpx.Client, script: Scratch) -> None:
    script.unary = failure(grpc.StatusCode.NOT_FOUND, "none", ("x-error-type", "t"))
    answer = rest.post(UNARY, content=_frame(ChatCompletionRequest()), headers=_web_headers())
    assert answer.status_code == 200
    assert answer.headers["grpc-status"] == "5"
    assert answer.headers["grpc-message"] == "none"
    assert answer.headers["grpc-status-details-bin"]


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc+x;charset=x"])
def test_every_form_of_the_content_type_passes(gateway: Gateway, script: Scratch, content_type: str) -> None:
    headers = [("content-type", content_type), ("te", "trailers")]
    answer = post(gateway.address, UNARY, _frame(ChatCompletionRequest(model="m")), headers)
    assert answer.trailers is not None
    assert answer.trailers["grpc-status"] == "0"
    assert script.requests == [ChatCompletionRequest(model="m")]
