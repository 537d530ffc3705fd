"""What a model can't do, drops, and costs, the same on both faces."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.model_service_pb2 import GetModelRequest
from tests.conftest import KEY, PLAIN
from tests.support.faces import FACES, Face, ask
from tests.support.json_form import to_proto
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f"}}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100} | {
    "prompt_tokens_details": {"cached_tokens": 200}
}
COST = 0.8 * 0.003 + 0.2 * 0.0003 + 0.1 * 0.015
"""800 tokens at 3 dollars per million, 200 at 0.3, and 100 at 15."""


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"temperature": 0.5}, "temperature"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_sent(
    stack: Stack,
    upstream: FakeUpstream,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
    change: dict[str, Any],
    param: str,
) -> None:
    asked = {"model": "plain", "stream": stream, "messages": HELLO, **change}
    with upstream.scripted(Script()) as script:
        outcome = ask(stack, face, asked | {"user": script.user})

    failure = outcome.failure
    assert failure is not None
    assert (failure.http_status, failure.code, failure.param) == (400, "unsupported_parameter", param)
    assert "`scripted`" in failure.message
    assert script.received == []


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "body"), [("plain", {"drop_params": True}), ("lenient", {})], ids=["request", "configuration"]
)
def test_what_may_be_dropped_is_dropped_and_told(
    stack: Stack,
    upstream: FakeUpstream,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
    model: str,
    body: dict[str, Any],
) -> None:
    asked = {"model": model, "stream": stream, "messages": HELLO, "tools": [TOOL], "temperature": 0.5}
    answer = Script(events=[chunk("Hello!"), chunk(finish="stop")]) if stream else Script(body=completion())
    with upstream.scripted(answer) as script:
        outcome = ask(stack, face, asked | {"user": script.user} | body)

    assert outcome.failure is None
    assert outcome.text() == "Hello!"
    assert outcome.metadata["x-parley-dropped-params"] == "tools, temperature"
    (received,) = script.received
    assert not {"temperature", "tools", "drop_params"} & set(received)


@pytest.mark.parametrize("face", FACES)
def test_a_request_can_forbid_what_the_configuration_allows(stack: Stack, face: Face) -> None:
    outcome = ask(stack, face, {"model": "lenient", "messages": HELLO, "temperature": 0.5, "drop_params": False})

    assert outcome.failure is not None
    assert outcome.failure.param == "temperature"


@pytest.mark.parametrize("face", FACES)
def test_content_is_never_dropped(stack: Stack, face: Face) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}

    outcome = ask(stack, face, {"model": "lenient", "messages": [{"role": "user", "content": [image]}]})

    assert outcome.failure is not None
    assert outcome.failure.param == "messages[0].content[0].type"


@pytest.mark.parametrize("face", FACES)
def test_an_answer_from_which_nothing_was_dropped_says_nothing_of_it(stack: Stack, face: Face) -> None:
    outcome = ask(stack, face, {"model": "lenient", "messages": HELLO})

    assert outcome.failure is None
    assert "x-parley-dropped-params" not in outcome.metadata


@pytest.mark.parametrize("face", FACES)
def test_usage_says_what_it_cost(stack: Stack, upstream: FakeUpstream, face: Face) -> None:
    with upstream.scripted(Script(body=completion(usage=USAGE))) as script:
        answer = ask(stack, face, {"model": "plain", "messages": HELLO, "user": script.user}).answer

    assert answer is not None
    assert answer["usage"]["cost_usd"] == pytest.approx(COST, abs=1e-12)


@pytest.mark.parametrize("face", FACES)
def test_the_usage_of_a_stream_says_what_it_cost(stack: Stack, upstream: FakeUpstream, face: Face) -> None:
    events = [chunk(delta={"content": "x"}), chunk(finish="stop"), usage_chunk() | {"usage": USAGE}]
    asked = {"model": "plain", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    with upstream.scripted(Script(events=events)) as script:
        chunks = ask(stack, face, asked | {"user": script.user}).chunks

    assert chunks[-1]["usage"]["cost_usd"] == pytest.approx(COST, abs=1e-12)


def test_no_cost_is_told_where_no_price_is_known(stack: Stack) -> None:
    answer = ask(stack, "rest", {"model": "echo", "messages": HELLO}).answer

    assert answer is not None
    assert answer["usage"]["prompt_tokens"]
    assert "cost_usd" not in answer["usage"]


def test_the_access_log_tells_what_was_dropped_and_what_it_cost(stack: Stack, upstream: FakeUpstream) -> None:
    request_id = str(uuid.uuid4())
    request = to_proto({"model": "plain", "messages": HELLO, "temperature": 0, "drop_params": True})
    metadata = (("authorization", f"Bearer {KEY}"), ("x-request-id", request_id))
    with grpc.insecure_channel(stack.grpc_address) as channel:
        ChatServiceStub(channel).CreateChatCompletion(request, metadata=metadata, timeout=30)

    (line,) = stack.calls(request_id)
    assert line["dropped_params"] == ["temperature"]
    assert line["cost_usd"] == pytest.approx((line["tokens_in"] * 3 + line["tokens_out"] * 15) / 1e6)


def test_both_faces_tell_what_is_known_of_a_model(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    over_rest = httpx.get(f"{stack.url}/v1/models/plain", headers=headers).json()
    with stack.models() as models:
        over_grpc = models.GetModel(GetModelRequest(model="plain"), metadata=tuple(headers.items()))

    told = {"id": "plain", "object": "model", "created": 0, "owned_by": "scripted"}
    told |= {name: value for name, value in PLAIN.items() if name != "sampling"} | {"reasoning": False}
    target = {"provider": "scripted", "model": "plain-1", "state": "available", "in_flight": 0, "waiting": 0}
    assert over_rest == told | {"targets": [target]}
    assert (over_grpc.context_window, over_grpc.max_output_tokens) == (8192, 1024)
    assert list(over_grpc.input_kinds) == ["text"]
    assert over_grpc.HasField("tools")
    assert not over_grpc.tools
    assert over_grpc.prices.long_context.above_tokens == 4096
    assert not over_grpc.prices.HasField("cache_write")


def test_what_is_not_known_of_a_model_is_absent(stack: Stack) -> None:
    told = httpx.get(f"{stack.url}/v1/models/echo", headers={"authorization": f"Bearer {KEY}"}).json()

    assert set(told) == {"id", "object", "created", "owned_by", "targets"}
