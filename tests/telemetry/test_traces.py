"""Spans of calls that end by themselves: which there are, how they hang together, what they tell."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.model_service_pb2 import ListModelsRequest
from tests.conftest import KEY
from tests.support.otlp import receiving
from tests.support.stack import wait_for
from tests.support.tool_projects import answering, calling
from tests.support.traced import Caller, Traced, body_of, traced
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

HTTP_ERROR = {"error": {"message": "no", "type": "server_error", "code": None, "param": None}}


@pytest.fixture(scope="module")
def parts(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with receiving() as receiver, traced(upstream, receiver, tmp_path_factory.mktemp("traced"), gateway=True) as parts:
        yield parts


def test_a_call_is_a_child_of_its_caller_and_parent_of_what_its_provider_is_asked(parts: Traced) -> None:
    caller, script = Caller(), Script(body=completion())
    with parts.upstream.scripted(script):
        parts.complete(caller, user=script.user, temperature=0.5, max_tokens=9, seed=3, top_p=1)
    own, (asked,) = parts.trace(caller, 1)

    assert script.headers_received[0]["traceparent"] == f"00-{caller.trace_id}-{asked.span_id}-01"
    assert (own.name, own.kind, own.status) == ("chat echo", "SERVER", "UNSET")
    assert (asked.name, asked.kind, asked.status) == ("chat echo-1", "CLIENT", "UNSET")
    assert own.service == asked.service == "parley-under-test"
    parameters = {"temperature": 0.5, "max_tokens": 9, "seed": 3, "top_p": 1.0}
    for span in (own, asked):
        assert {
            f"gen_ai.request.{name}": value for name, value in parameters.items()
        }.items() <= span.attributes.items()
        assert span.attributes["gen_ai.operation.name"] == "chat"
        assert span.attributes["gen_ai.provider.name"] == "scripted"
        assert span.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert (asked.attributes["gen_ai.usage.input_tokens"], asked.attributes["gen_ai.usage.output_tokens"]) == (7, 5)
    assert (own.attributes["parley.usage.input_tokens"], own.attributes["parley.usage.output_tokens"]) == (7, 5)
    assert not [name for name in own.attributes if name.startswith("gen_ai.usage")]  # it would count twice
    assert own.attributes["gen_ai.request.model"] == "echo"
    assert own.attributes["gen_ai.response.model"] == "echo-1"
    assert own.attributes["rpc.method"] == "parley.v1.ChatService/CreateChatCompletion"
    assert own.attributes["rpc.response.status_code"] == "OK"
    assert own.attributes["parley.attempts"] == 1
    assert asked.attributes["gen_ai.request.model"] == "echo-1"
    assert asked.attributes["gen_ai.response.id"] == "chatcmpl-upstream"
    assert asked.attributes["server.address"] == "127.0.0.1"
    assert asked.attributes["server.port"] == int(parts.upstream.base_url.split(":")[2].removesuffix("/v1"))
    assert own.start_s <= asked.start_s <= asked.end_s <= own.end_s
    assert abs(own.end_s - time.time()) < 60


def test_the_access_log_names_the_trace_and_the_span(parts: Traced) -> None:
    caller = Caller()
    parts.complete(caller)
    own, _ = parts.trace(caller, 1)
    line = parts.stack.calls(own.attributes["parley.request_id"])[0]

    assert (line["trace_id"], line["span_id"]) == (caller.trace_id, own.span_id)


def test_the_state_of_a_trace_is_passed_on_as_it_is(parts: Traced) -> None:
    caller, script = Caller(), Script(body=completion())
    with parts.upstream.scripted(script), parts.stack.channel() as channel:
        ChatServiceStub(channel).CreateChatCompletion(
            body_of(user=script.user), metadata=(*caller.metadata, ("tracestate", "a=1,b=2"), ("tracestate", "c=3"))
        )
    own, _ = parts.trace(caller, 1)

    assert script.headers_received[0]["tracestate"] == own.trace_state == "a=1,b=2,c=3"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01",),
        ("nonsense",),
    ],
    ids=["none", "zeros", "nonsense"],
)
def test_a_call_without_a_usable_context_begins_a_trace(parts: Traced, headers: tuple[str, ...]) -> None:
    script = Script(body=completion())
    metadata = (("x-api-key", KEY), *(("traceparent", header) for header in headers))
    with parts.upstream.scripted(script), parts.stack.channel() as channel:
        ChatServiceStub(channel).CreateChatCompletion(body_of(user=script.user), metadata=metadata)
    version, trace_id, parent_id, flags = script.headers_received[0]["traceparent"].split("-")
    spans = parts.receiver.trace(trace_id, 2)

    assert (version, flags) == ("00", "01")
    assert [span.parent_id for span in spans if span.kind == "SERVER"] == [""]
    assert [span.span_id for span in spans if span.kind == "CLIENT"] == [parent_id]
    assert "tracestate" not in script.headers_received[0]


def test_what_the_caller_does_not_record_is_not_recorded_but_passed_on(parts: Traced) -> None:
    caller, later, script = Caller(is_sampled=False), Caller(), Script(body=completion())
    with parts.upstream.scripted(script):
        parts.complete(caller, user=script.user)
    parts.complete(later)
    parts.trace(later, 1)

    version, trace_id, parent_id, flags = script.headers_received[0]["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", caller.trace_id, "00")
    assert parent_id != caller.span_id
    assert not [span for span in parts.receiver.spans if span.trace_id == caller.trace_id]
    (line,) = wait_for(lambda: [c for c in parts.stack.service.json_lines("call") if c.get("trace_id") == trace_id])
    assert "span_id" not in line


def test_a_stream_lasts_until_its_end(parts: Traced) -> None:
    caller = Caller()
    events = [chunk(delta={"role": "assistant", "content": ""}), chunk("a"), chunk("b"), chunk(finish="stop")]
    script = Script(events=[*events, usage_chunk()], gap_s=0.05)
    with parts.upstream.scripted(script):
        parts.stream(caller, user=script.user)
    own, (asked,) = parts.trace(caller, 1)

    for span in (own, asked):
        assert span.duration_s > 0.2
        assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] < span.duration_s
        assert span.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert asked.attributes["gen_ai.usage.output_tokens"] == own.attributes["parley.usage.output_tokens"] == 5
    assert own.attributes["gen_ai.request.stream"] is True
    assert own.attributes["rpc.method"] == "parley.v1.ChatService/StreamChatCompletion"


def test_each_retry_has_a_span_of_its_own(parts: Traced) -> None:
    caller, script = Caller(), Script(status=500, body=HTTP_ERROR)
    with parts.upstream.scripted(script):
        assert parts.failed(caller, model="retried", user=script.user) is grpc.StatusCode.UNAVAILABLE
    own, asked = parts.trace(caller, 2)

    assert [each["traceparent"].split("-")[2] for each in script.headers_received] == [span.span_id for span in asked]
    for span in asked:
        assert (span.status, span.attributes["error.type"]) == ("ERROR", "UPSTREAM_UNAVAILABLE")
        assert span.attributes["http.response.status_code"] == 500
        assert "gen_ai.usage.input_tokens" not in span.attributes
    assert (own.status, own.attributes["error.type"]) == ("ERROR", "UPSTREAM_UNAVAILABLE")
    assert own.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert own.attributes["parley.attempts"] == 2


def test_a_fallback_tells_of_both_targets(parts: Traced) -> None:
    caller = Caller()
    parts.complete(caller, model="fallback")
    own, (dead, alive) = parts.trace(caller, 2)

    assert [span.name for span in (dead, alive)] == ["chat dead-1", "chat echo-1"]
    assert [span.attributes["parley.outcome"] for span in (dead, alive)] == ["UPSTREAM_UNAVAILABLE", "OK"]
    assert [span.status for span in (own, dead, alive)] == ["UNSET", "ERROR", "UNSET"]
    assert own.attributes["parley.target"] == "scripted/echo-1"
    assert "error.type" not in own.attributes


TOOL_TURNS: list[tuple[str, list[dict[str, Any]]]] = [
    ("", [calling("shop__echo", text="planted-prompt"), calling("shop__fail", "call_2")]),
    ("Done.", []),
]


@pytest.mark.parametrize("stream", [False, True])
def test_tools_have_spans_between_those_of_the_turns(parts: Traced, *, stream: bool) -> None:
    _wait_for_tools(parts)
    caller = Caller()
    script = Script(turns=[answering(text, *calls, stream=stream) for text, calls in TOOL_TURNS])
    with parts.upstream.scripted(script):
        (parts.stream if stream else parts.complete)(caller, model="shop", user=script.user)
    own, turns = parts.trace(caller, 2, more=2)
    tools = [span for span in parts.receiver.trace(caller.trace_id) if span.kind == "INTERNAL"]

    told = {span.name: (span.status, span.attributes["parley.outcome"]) for span in tools}
    assert told == {"execute_tool echo": ("UNSET", "ok"), "execute_tool fail": ("ERROR", "error")}
    for span in tools:
        assert turns[0].end_s <= span.start_s <= span.end_s <= turns[1].start_s
        assert span.attributes["gen_ai.operation.name"] == "execute_tool"
        assert span.attributes["parley.tool.server"] == "shop"
    assert [turn.attributes["gen_ai.response.finish_reasons"] for turn in turns] == [["tool_calls"], ["stop"]]
    assert own.attributes["parley.project"] == "shop"
    assert own.attributes["parley.usage.input_tokens"] == 14
    line = parts.stack.calls(own.attributes["parley.request_id"])[0]
    assert line["tools"] == 2


@pytest.mark.parametrize(
    ("fields", "code", "error"),
    [
        ({"model": "no-such-model"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
        ({"temperature": 9}, "INVALID_ARGUMENT", "PARAMETER_INVALID"),
    ],
)
def test_a_call_that_asks_nobody_has_its_own_span_alone(
    parts: Traced, fields: dict[str, Any], code: str, error: str
) -> None:
    caller = Caller()
    parts.failed(caller, **fields)
    own, _ = parts.trace(caller, 0)

    assert (own.name, own.status) == ("chat", "UNSET")
    assert (own.attributes["rpc.response.status_code"], own.attributes["error.type"]) == (code, error)
    assert "gen_ai.request.model" not in own.attributes


def test_a_refused_caller_and_another_method_have_plain_spans(parts: Traced) -> None:
    refused, listing = Caller(), Caller()
    with parts.stack.models() as models:
        with pytest.raises(grpc.RpcError):
            models.ListModels(ListModelsRequest(), metadata=refused.metadata[1:])
        models.ListModels(ListModelsRequest(), metadata=listing.metadata)
    for caller, status in ((refused, "UNAUTHENTICATED"), (listing, "OK")):
        own, _ = parts.trace(caller, 0)
        assert own.name == "parley.v1.ModelService/ListModels"
        assert own.attributes["rpc.response.status_code"] == status
        assert not [name for name in own.attributes if name.startswith("gen_ai")]


def test_a_trace_leads_from_a_rest_client_through_envoy_to_the_provider(parts: Traced) -> None:
    caller, script = Caller(), Script(body=completion())
    headers = {"authorization": f"Bearer {KEY}", "traceparent": caller.traceparent, "tracestate": "a=1"}
    with parts.upstream.scripted(script):
        httpx.post(f"{parts.stack.url}/v1/chat/completions", json=_json(user=script.user), headers=headers, timeout=30)
    spans = {span.span_id: span for span in parts.receiver.trace(caller.trace_id, 4)}

    path = []
    span_id = script.headers_received[0]["traceparent"].split("-")[2]
    while span_id in spans:
        path.append(spans[span_id])
        span_id = spans[span_id].parent_id
    assert span_id == caller.span_id
    assert [span.name for span in path[:2]] == ["chat echo-1", "chat echo"]
    assert [span.kind for span in path] == ["CLIENT", "SERVER", "CLIENT", "SERVER"]
    assert {span.service for span in path[:2]} == {"parley-under-test"}
    assert len({span.service for span in path}) == 2
    assert script.headers_received[0]["tracestate"] == "a=1"


def test_a_rest_call_without_a_context_begins_its_trace_at_envoy(parts: Traced) -> None:
    script = Script(body=completion())
    headers = {"authorization": f"Bearer {KEY}"}
    with parts.upstream.scripted(script):
        httpx.post(f"{parts.stack.url}/v1/chat/completions", json=_json(user=script.user), headers=headers, timeout=30)
    spans = parts.receiver.trace(script.headers_received[0]["traceparent"].split("-")[1], 4)

    (first,) = [span for span in spans if not span.parent_id]
    assert first.service != "parley-under-test"


def test_no_word_of_a_conversation_and_no_key_is_in_any_span(parts: Traced) -> None:
    """What the tests before it have brought forth is looked through as well."""
    _wait_for_tools(parts)
    caller, failing = Caller(), Caller()
    marked = [{"role": "system", "content": "planted-prompt"}, {"role": "user", "content": "CANARY"}]
    script = Script(
        turns=[answering("planted-prompt" * bool(text), *calls, stream=False) for text, calls in TOOL_TURNS]
    )
    broken = Script(status=400, body={"error": {"message": "CANARY sk-top-secret", "type": "CANARY", "code": "CANARY"}})
    fields = {"messages": marked, "stop": ["CANARY"], "labels": {"CANARY": "CANARY"}, "tags": ["CANARY"]}
    with parts.upstream.scripted(script), parts.upstream.scripted(broken):
        parts.complete(caller, model="shop", user=script.user, **fields)
        parts.failed(failing, user=broken.user, messages=marked)
    parts.trace(caller, 2, more=2)
    parts.trace(failing, 1)

    sent = b"".join(parts.receiver.raw)
    assert caller.trace_id in sent.hex()
    for mark in (b"planted-prompt", b"CANARY", b"Hello there", KEY.encode(), b"sk-top-secret"):
        assert mark not in sent


def _wait_for_tools(parts: Traced) -> None:
    def is_up() -> bool:
        lines = parts.stack.service.json_lines("log")
        return any(line["message"].startswith("tool server shop: connected") for line in lines)

    wait_for(is_up, 60)


def _json(**fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}], **fields}
