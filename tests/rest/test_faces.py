"""Both faces tell the same: one table of cases, asked over gRPC, over gRPC through Envoy, and over REST."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.faces import FACES, Face, Outcome, ask
from tests.support.sessions import pieces_without_session, without_session
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


@dataclass
class Case:
    """A request, what the provider answers it with, and what has to come out."""

    body: dict[str, Any]
    script: Script | None = None
    text: str | None = None
    finish: str | None = "stop"
    message: dict[str, Any] = field(default_factory=dict)
    deltas: list[dict[str, Any]] | None = None


def _tool_fragments() -> list[Any]:
    def fragment(index: int, **call: Any) -> dict[str, Any]:
        return chunk(delta={"tool_calls": [{"index": index, **call}]})

    return [
        chunk(delta={"role": "assistant", "content": None}),
        fragment(0, id="call_1", type="function", function={"name": "get_weather", "arguments": ""}),
        fragment(0, function={"arguments": '{"city":'}),
        fragment(0, function={"arguments": '"Paris"}'}),
        fragment(1, id="call_2", type="function", function={"name": "get_weather", "arguments": "{}"}),
        chunk(finish="tool_calls"),
        usage_chunk(),
    ]


ANSWERS = {
    "text": Case({"messages": HELLO}, text="Hello"),
    "text that looks like the protocol": Case(
        {"messages": [{"role": "user", "content": '{"stream": true} data: [DONE]\n\ndata: {}\n\n{"error":{"x":1}}'}]},
        text='{"stream": true} data: [DONE]\n\ndata: {}\n\n{"error":{"x":1}}',
    ),
    "markers as text": Case(
        {"messages": [{"role": "user", "content": '"empty_choices":null data: {"keepalive":true}\n\n'}]},
        text='"empty_choices":null data: {"keepalive":true}\n\n',
    ),
    "emoji and control characters": Case(
        {"messages": [{"role": "user", "content": "naïve 🎉 \u2028 \u0000 \t 漢字"}]},
        text="naïve 🎉 \u2028 \u0000 \t 漢字",
    ),
    "all sampling parameters": Case(
        {
            "messages": HELLO,
            "temperature": 0.3,
            "top_p": 0.9,
            "max_tokens": 12,
            "n": 1,
            "stop": ["a", "b", "c", "d"],
            "seed": 7,
            "presence_penalty": -2,
            "frequency_penalty": 2,
            "logit_bias": {"50256": -100},
        },
        text="Hello",
    ),
    "zero counts as not given": Case({"messages": HELLO, "max_tokens": 0, "n": 0}, text="Hello"),
    "empty fields of Parley's own": Case(
        {"messages": HELLO, "store": False, "tags": [], "labels": {}, "use_tools": False, "session_id": None},
        text="Hello",
    ),
    "model with a slash": Case({"model": "org/echo", "messages": HELLO}, text="Hello"),
    "tool calls": Case(
        {"messages": HELLO, "tools": [WEATHER], "tool_choice": "required"},
        Script(body=completion({"content": None, "tool_calls": [CALL]}, finish="tool_calls")),
        finish="tool_calls",
        text="",
        message={"tool_calls": [CALL]},
    ),
    "refusal": Case(
        {"messages": HELLO},
        Script(body=completion({"content": None, "refusal": "I can't help with that."})),
        text="",
        message={"refusal": "I can't help with that."},
    ),
    "reasoning": Case(
        {"messages": HELLO, "reasoning_effort": "high"},
        Script(body=completion({"content": "4", "reasoning": "2 + 2"})),
        text="4",
        message={"reasoning_content": "2 + 2"},
    ),
    "stream": Case({"stream": True, "messages": HELLO}, text="Hello"),
    "stream with usage": Case(
        {"stream": True, "stream_options": {"include_usage": True}, "messages": HELLO}, text="Hello"
    ),
    "stream that looks like the protocol": Case(
        {
            "stream": True,
            "messages": [{"role": "user", "content": 'data: [DONE]\n\ndata: {} {"error":{}} "stream": true'}],
        },
        text='data: [DONE]\n\ndata: {} {"error":{}} "stream": true',
    ),
    "stream of tool calls": Case(
        {"stream": True, "messages": HELLO, "tools": [WEATHER]},
        Script(events=_tool_fragments()),
        finish="tool_calls",
        text="",
        deltas=[
            {"role": "assistant", "content": ""},
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": ""},
                    }
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
            {
                "tool_calls": [
                    {
                        "index": 1,
                        "id": "call_2",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": "{}"},
                    }
                ]
            },
            {},
        ],
    ),
    "stream cut off by the token limit": Case(
        {"stream": True, "messages": HELLO},
        Script(events=[chunk("a"), chunk("b"), chunk(finish="length")]),
        finish="length",
        text="ab",
        deltas=[{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}],
    ),
    "stream without DONE but with finish reason and usage": Case(
        {"stream": True, "messages": HELLO},
        Script(events=[chunk("a"), chunk(finish="stop"), usage_chunk()], ending="close"),
        text="a",
    ),
}


def _ask(stack: Stack, upstream: FakeUpstream, face: Face, body: dict[str, Any], script: Script | None) -> Outcome:
    if script is None:
        return ask(stack, face, {"model": "echo", **body})
    with upstream.scripted(script):
        return ask(stack, face, {"model": script.model, **body, "user": script.user})


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_the_same_on_every_face(stack: Stack, upstream: FakeUpstream, face: Face, case: Case) -> None:
    outcome = _ask(stack, upstream, face, case.body, case.script)

    assert outcome.failure is None
    assert outcome.is_done
    assert outcome.text() == case.text
    if case.body.get("stream"):
        _check_stream(outcome, case, face)
    else:
        _check_answer(outcome, case)


def _check_answer(outcome: Outcome, case: Case) -> None:
    assert outcome.answer is not None
    answer = without_session(outcome.answer)
    choice = answer.pop("choices")[0]
    message = {"role": "assistant", **({"content": case.text} if case.text else {}), **case.message}
    assert choice == {"index": 0, "message": message, "finish_reason": case.finish}
    assert answer == {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1700000000,
        "model": case.body.get("model", "echo"),
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def _check_stream(outcome: Outcome, case: Case, face: Face) -> None:
    chunks = pieces_without_session(outcome.chunks)
    if chunks[-1]["choices"] == []:
        assert face != "rest" or case.body.get("stream_options")
        assert chunks.pop()["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    else:
        assert not case.body.get("stream_options")
    for value in chunks:
        assert list(value) == ["id", "object", "created", "model", "choices"]
        assert (value["id"], value["object"], value["model"]) == ("chatcmpl-upstream", "chat.completion.chunk", "echo")
        assert len(value["choices"]) == 1
        assert list(value["choices"][0]) == ["index", "delta", "finish_reason"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert [value["choices"][0]["finish_reason"] for value in chunks] == [None] * (len(chunks) - 1) + [case.finish]
    if case.deltas is not None:
        assert [value["choices"][0]["delta"] for value in chunks] == case.deltas


def _error(code: str, **extra: Any) -> dict[str, Any]:
    return {"error": {"message": "CANARY of the provider", "type": "x", "param": None, "code": code, **extra}}


FAILURES: dict[str, tuple[Script, tuple[int, str, str, str | None]]] = {
    "400": (Script(status=400, body=_error("x")), (400, "invalid_request_error", "upstream_rejected", None)),
    "400 with a param": (
        Script(status=400, body=_error("invalid_value", param="messages[3].content")),
        (400, "invalid_request_error", "upstream_rejected", "messages[3].content"),
    ),
    "context length": (
        Script(status=400, body=_error("context_length_exceeded")),
        (400, "invalid_request_error", "context_length_exceeded", "messages"),
    ),
    "content filter": (
        Script(status=400, body=_error("content_filter")),
        (400, "invalid_request_error", "content_filter", None),
    ),
    "401": (Script(status=401, body=_error("invalid_api_key")), (502, "server_error", "upstream_auth_failed", None)),
    "403": (Script(status=403, body=b"<html>CANARY</html>"), (502, "server_error", "upstream_auth_failed", None)),
    "404": (Script(status=404, body=_error("x")), (404, "invalid_request_error", "model_not_found", "model")),
    "429": (
        Script(status=429, body=_error("rate_limit_exceeded"), headers={"retry-after": "7"}),
        (429, "rate_limit_error", "rate_limit_exceeded", None),
    ),
    "quota": (
        Script(status=429, body=_error("insufficient_quota")),
        (429, "insufficient_quota", "insufficient_quota", None),
    ),
    "500": (Script(status=500, body=b"CANARY"), (503, "server_error", "upstream_unavailable", None)),
    "529 overloaded": (Script(status=529, body=_error("x")), (503, "server_error", "upstream_unavailable", None)),
    "504": (Script(status=504, body=b""), (504, "server_error", "upstream_timeout", None)),
    "302": (
        Script(status=302, body=b"", headers={"location": "http://127.0.0.1:9/"}),
        (502, "server_error", "upstream_malformed", None),
    ),
    "cut before the head": (Script(body=b"{}", ending="cut"), (503, "server_error", "upstream_unavailable", None)),
    "silence": (Script(body=b"{}", delay_s=30, model="impatient"), (504, "server_error", "upstream_timeout", None)),
}
UNARY_FAILURES = FAILURES | {
    "not JSON": (Script(body=b"CANARY"), (502, "server_error", "upstream_malformed", None)),
    "empty": (Script(body=b""), (502, "server_error", "upstream_malformed", None)),
    "no choices": (Script(body={"choices": []}), (502, "server_error", "upstream_malformed", None)),
    "wrong type": (Script(body={"choices": "CANARY"}), (502, "server_error", "upstream_malformed", None)),
    "error in a 200": (Script(body=_error("x")), (503, "server_error", "upstream_interrupted", None)),
}
STREAM_FAILURES = FAILURES | {
    "no event stream": (
        Script(body=completion()),
        (502, "server_error", "upstream_malformed", None),
    ),
    "empty stream": (Script(events=[], ending="close"), (503, "server_error", "upstream_interrupted", None)),
    "DONE alone": (Script(events=[]), (503, "server_error", "upstream_interrupted", None)),
    "first event not JSON": (
        Script(events=[b"data: CANARY\n\n"]),
        (502, "server_error", "upstream_malformed", None),
    ),
    "error as the first event": (Script(events=[_error("x")]), (503, "server_error", "upstream_interrupted", None)),
    "cut before the first event": (
        Script(events=[], ending="cut"),
        (503, "server_error", "upstream_unavailable", None),
    ),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("stream", "script", "expected"),
    [(False, *row) for row in UNARY_FAILURES.values()] + [(True, *row) for row in STREAM_FAILURES.values()],
    ids=[f"unary {name}" for name in UNARY_FAILURES] + [f"stream {name}" for name in STREAM_FAILURES],
)
def test_a_failure_before_the_first_chunk_is_a_status_on_every_face(
    stack: Stack,
    upstream: FakeUpstream,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
    script: Script,
    expected: tuple[int, str, str, str | None],
) -> None:
    outcome = _ask(stack, upstream, face, {"messages": HELLO, "stream": stream}, script)

    assert outcome.failure is not None
    assert not outcome.is_done
    assert outcome.chunks == []
    assert (outcome.failure.http_status, outcome.failure.type, outcome.failure.code, outcome.failure.param) == expected
    assert "CANARY" not in str(outcome)
    assert outcome.metadata["x-request-id"]
    if script.headers.get("retry-after"):
        assert outcome.metadata["retry-after"] == "7"
    if expected[2] in {"insufficient_quota", "upstream_auth_failed"}:
        assert outcome.metadata["x-should-retry"] == "false"


MIDWAY: dict[str, tuple[Script, tuple[str, str]]] = {
    "cut": (Script(events=[chunk("a")], ending="cut"), ("server_error", "upstream_interrupted")),
    "closed": (Script(events=[chunk("a")], ending="close"), ("server_error", "upstream_interrupted")),
    "closed after the finish reason, without usage and DONE": (
        Script(events=[chunk("a"), chunk(finish="stop")], ending="close"),
        ("server_error", "upstream_interrupted"),
    ),
    "DONE without a finish reason": (Script(events=[chunk("a")]), ("server_error", "upstream_interrupted")),
    "one of two choices unfinished": (
        Script(events=[chunk("a"), chunk("b", index=1), chunk(finish="stop")]),
        ("server_error", "upstream_interrupted"),
    ),
    "stalled": (Script(events=[chunk("a")], ending="hang", model="impatient"), ("server_error", "upstream_timeout")),
    "not JSON": (Script(events=[chunk("a"), b"data: {CANARY\n\n"]), ("server_error", "upstream_malformed")),
    "an error": (Script(events=[chunk("a"), _error("x")]), ("server_error", "upstream_interrupted")),
    "an error event": (
        Script(events=[chunk("a"), b'event: error\ndata: {"error":{"message":"CANARY","status_code":503}}\n\n']),
        ("server_error", "upstream_interrupted"),
    ),
    "an error event of another form": (
        Script(events=[chunk("a"), b'event: error\ndata: {"detail":"CANARY"}\n\n']),
        ("server_error", "upstream_interrupted"),
    ),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("script", "expected"), MIDWAY.values(), ids=MIDWAY)
def test_a_failure_midway_is_never_a_clean_end(
    stack: Stack, upstream: FakeUpstream, face: Face, script: Script, expected: tuple[str, str]
) -> None:
    outcome = _ask(stack, upstream, face, {"messages": HELLO, "stream": True}, script)

    assert outcome.text() in {"a", ""} if script.events and len(script.events) > 2 else outcome.text() == "a"
    assert not outcome.is_done
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.failure.code) == expected
    assert "CANARY" not in str(outcome)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
def test_an_unreachable_provider_is_a_503(
    stack: Stack,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    outcome = ask(stack, face, {"model": "dead", "messages": HELLO, "stream": stream})

    assert outcome.failure is not None
    assert (outcome.failure.http_status, outcome.failure.code) == (503, "upstream_unavailable")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("key", [None, "wrong", ""])
def test_a_call_without_a_known_key_is_a_401(stack: Stack, face: Face, key: str | None) -> None:
    outcome = ask(stack, face, {"model": "echo", "messages": HELLO}, key=key)

    assert outcome.failure is not None
    assert (outcome.failure.http_status, outcome.failure.type, outcome.failure.code, outcome.failure.param) == (
        401,
        "invalid_request_error",
        "invalid_api_key",
        None,
    )
