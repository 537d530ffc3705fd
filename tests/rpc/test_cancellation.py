"""Whoever goes away takes the provider's work with it, within a second."""

from __future__ import annotations

import time
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.support.json_form import to_proto
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk

METADATA = (("authorization", f"Bearer {KEY}"),)
WITHIN_S = 2.0
"""The promise is a second; the machine may be busy."""


def _body(script: Script, *, stream: bool) -> dict[str, object]:
    return {
        "model": "echo",
        "stream": stream,
        "messages": [{"role": "user", "content": "x"}],
        "user": script.user,
    }


@pytest.mark.parametrize("through_gateway", [False, True])
def test_a_cancelled_unary_call_closes_the_providers_connection(
    stack: Stack,
    upstream: FakeUpstream,
    through_gateway: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with (
        upstream.scripted(Script(body=b"{}", delay_s=60)) as script,
        stack.channel(through_gateway=through_gateway) as channel,
    ):
        metadata = (*METADATA, ("x-request-id", script.user))
        request = to_proto(_body(script, stream=False))
        call = ChatServiceStub(channel).CreateChatCompletion.future(request, metadata=metadata)
        assert script.began.wait(10)
        call.cancel()

        assert script.left.wait(WITHIN_S)
        assert [line["status"] for line in stack.calls(script.user)] == ["CANCELLED"]


@pytest.mark.parametrize("through_gateway", [False, True])
def test_a_cancelled_stream_closes_the_providers_connection(
    stack: Stack,
    upstream: FakeUpstream,
    through_gateway: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with (
        upstream.scripted(Script(events=[chunk("a")], ending="hang")) as script,
        stack.channel(through_gateway=through_gateway) as channel,
    ):
        call = ChatServiceStub(channel).StreamChatCompletion(to_proto(_body(script, stream=True)), metadata=METADATA)
        next(call)
        call.cancel()

        assert script.left.wait(WITHIN_S)


@pytest.mark.parametrize("stream", [False, True])
def test_a_rest_client_that_goes_away_closes_the_providers_connection(
    stack: Stack,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    script = Script(events=[chunk("a")], ending="hang") if stream else Script(body=b"{}", delay_s=60)
    with upstream.scripted(script), httpx.Client(timeout=0.5) as client:
        with (
            pytest.raises(httpx.ReadTimeout),
            client.stream(
                "POST",
                f"{stack.url}/v1/chat/completions",
                json=_body(script, stream=stream),
                headers={"x-api-key": KEY},
            ) as response,
        ):
            response.read()

        assert script.began.is_set()
        assert script.left.wait(WITHIN_S)


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_the_call_and_the_providers_work(
    stack: Stack,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    script = Script(events=[chunk("a")], ending="hang") if stream else Script(body=b"{}", delay_s=60)
    with upstream.scripted(script), stack.channel() as channel:
        stub = ChatServiceStub(channel)
        request = to_proto(_body(script, stream=stream))
        metadata = (*METADATA, ("x-request-id", script.user))
        method: Any = stub.StreamChatCompletion if stream else stub.CreateChatCompletion
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            list(method(request, metadata=metadata, timeout=0.5))

        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 5
        assert script.left.wait(WITHIN_S)
        assert [line["status"] for line in stack.calls(script.user)] == ["DEADLINE_EXCEEDED"]


def test_a_caller_that_leaves_while_the_service_is_blocked_writing_frees_everything(
    stack: Stack, upstream: FakeUpstream
) -> None:
    big = chunk("x" * 100_000)
    with upstream.scripted(Script(events=[big] * 2000, ending="hang")) as script, stack.channel() as channel:
        call = ChatServiceStub(channel).StreamChatCompletion(to_proto(_body(script, stream=True)), metadata=METADATA)
        next(call)
        written = -1
        while script.bytes_written != written:  # until nobody reads any more
            written = script.bytes_written
            time.sleep(0.3)
        assert not script.left.is_set()
        call.cancel()

        assert script.left.wait(WITHIN_S)
