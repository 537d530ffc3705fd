"""The official Node.js client, unchanged, against the real gateway, service and embedded model."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import SCRIPTED_MODELS, SEED_MODELS
from tests.support.node import FOLDER, HELLO, Node
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
WITHIN_S = 2.0
"""The promise is a second; the machine may be busy."""
SCHEMA = {
    "type": "object",
    "properties": {
        "zone": {"enum": ["Europe", "Asia"]},
        "capital": {"type": "string", "maxLength": 20},
        "is_large": {"type": "boolean"},
    },
    "required": ["zone", "capital", "is_large"],
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}},
]
INTERNAL_HEADERS = ("grpc-", "x-envoy-", "x-error-", "x-parley-")
TOLD_HEADERS = {"x-parley-target", "x-parley-attempts"}


@pytest.fixture
def node(program: str, stack: Stack) -> Node:
    return Node(program, stack.url)


def _text(chunks: list[dict[str, Any]]) -> str:
    return "".join(part["choices"][0]["delta"].get("content", "") for part in chunks if part["choices"])


def _check_headers(headers: dict[str, str]) -> None:
    assert [name for name in headers if name.startswith(INTERNAL_HEADERS) and name not in TOLD_HEADERS] == []


def test_the_lock_file_names_no_registry_and_has_hashes() -> None:
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["openai"]
    del packages[""]

    assert packages["node_modules/openai"]["version"] == wanted
    assert all("resolved" not in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_an_answer(node: Node) -> None:
    result = node.create(model="smollm2", messages=PARIS, seed=1)

    answer = result["answer"]
    assert (answer["object"], answer["model"]) == ("chat.completion", "smollm2")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 0


def test_a_stream(node: Node) -> None:
    chunks = node.create(model="smollm2", messages=PARIS, seed=1, stream=True)["chunks"]

    choices = [part["choices"][0] for part in chunks]
    assert len(chunks) > 4
    assert "Paris" in _text(chunks)
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1]["delta"] == {}
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert {part["object"] for part in chunks} == {"chat.completion.chunk"}
    assert len({part["id"] for part in chunks}) == 1
    assert all("usage" not in part for part in chunks)


def test_include_usage_adds_one_last_chunk(node: Node) -> None:
    options = {"include_usage": True}
    result = node.create(model="smollm2", messages=PARIS, seed=1, stream=True, stream_options=options)
    *chunks, last = result["chunks"]

    assert "Paris" in _text(chunks)
    assert all("usage" not in part and len(part["choices"]) == 1 for part in chunks)
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_stream_helper_accumulates_the_answer(node: Node) -> None:
    request = {"model": "smollm2", "messages": PARIS, "seed": 1, "stream_options": {"include_usage": True}}
    result = node.ask("runner.mjs", request)

    assert "".join(result["deltas"]) == result["message"]["content"]
    assert "Paris" in result["message"]["content"]
    assert result["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_is_enforced(node: Node, stream: bool) -> None:  # noqa: FBT001 - a column of the table
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    result = node.create(model="smollm2", messages=PARIS, seed=1, max_tokens=200, stream=stream, response_format=wanted)

    text = _text(result["chunks"]) if stream else result["answer"]["choices"][0]["message"]["content"]
    value = json.loads(text)
    assert list(value) == ["zone", "capital", "is_large"]
    assert value["zone"] in {"Europe", "Asia"}
    assert 0 < len(value["capital"]) <= 20
    assert isinstance(value["is_large"], bool)


def test_models_are_listed_and_retrieved(node: Node) -> None:
    told = node.ask("models.mjs", ["echo", "org/echo", "no/such"])

    listed = {model["id"]: model for model in told["listed"]}
    assert set(listed) == {*SCRIPTED_MODELS, "smollm2", *SEED_MODELS}
    assert listed["echo"] == {"id": "echo", "object": "model", "created": 1700000000, "owned_by": "scripted"}
    found, with_slash, unknown = told["retrieved"]
    for retrieved in (found["model"], with_slash["model"]):
        (target,) = retrieved.pop("targets")  # its state is what other tests made of it
        assert target["provider"] == "scripted"
        assert retrieved == listed[retrieved["id"]]
    assert (found["model"]["id"], with_slash["model"]["id"]) == ("echo", "org/echo")
    assert (unknown["error"]["class"], unknown["error"]["code"]) == ("NotFoundError", "model_not_found")


class Turns(list[dict[str, Any]]):
    """What a script received; each request makes it go on to its next body."""

    def __init__(self, script: Script, *bodies: Any) -> None:
        super().__init__()
        self._script = script
        self._bodies = bodies

    def append(self, request: dict[str, Any]) -> None:
        self._script.body = self._bodies[len(self)]
        super().append(request)


def test_the_clients_loop_calls_tools_and_sends_their_results_back(node: Node, upstream: FakeUpstream) -> None:
    script = Script()
    calls = completion({"content": None, "tool_calls": CALLS}, finish="tool_calls")
    script.received = Turns(script, calls, completion({"content": "Take a hat."}))
    with upstream.scripted(script):
        request = {"model": "echo", "messages": PARIS, "user": script.user}
        result = node.ask("tools.mjs", {"request": request, "parameters": PARAMETERS})

    assert result == {"text": "Take a hat.", "asked": ["Paris", "Rome"]}
    first, second = script.received
    assert [tool["function"]["parameters"] for tool in first["tools"]] == [PARAMETERS]
    assert first["messages"] == PARIS
    assert second["messages"] == [
        *PARIS,
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny in Paris"},
        {"role": "tool", "tool_call_id": "call_2", "content": "sunny in Rome"},
    ]


def _fragments() -> list[Any]:
    """Two calls; the first one's arguments come in two pieces."""
    pieces: list[dict[str, Any]] = [
        {"index": 0, **CALLS[0], "function": {"name": "get_weather", "arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": '"Paris"}'}},
        {"index": 1, **CALLS[1]},
    ]
    deltas = [chunk(delta={"tool_calls": [piece]}) for piece in pieces]
    return [chunk(delta={"role": "assistant", "content": None}), *deltas, chunk(finish="tool_calls"), usage_chunk()]


def test_tool_calls_are_streamed_in_fragments(node: Node, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=_fragments())) as script:
        chunks = node.create(tools=[WEATHER], stream=True, user=script.user)["chunks"]

    assert script.received[0]["tools"] == [WEATHER]
    pieces = [call for part in chunks for call in part["choices"][0]["delta"].get("tool_calls", ())]
    assert pieces == [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":'},
        },
        {"index": 0, "function": {"arguments": '"Paris"}'}},
        {"index": 1, **CALLS[1]},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_stream_helper_accumulates_tool_calls(node: Node, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=_fragments())) as script:
        request = {"model": "echo", "messages": PARIS, "tools": [WEATHER], "user": script.user}
        message = node.ask("runner.mjs", request)["message"]

    assert [{name: call[name] for name in ("id", "type")} for call in message["tool_calls"]] == [
        {"id": "call_1", "type": "function"},
        {"id": "call_2", "type": "function"},
    ]
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"city":"Paris"}', '{"city":"Rome"}']


def test_the_request_id_is_the_clients_or_is_made(node: Node) -> None:
    mine = f"mine-{uuid.uuid4()}"
    sent = node.create(options={"headers": {"x-request-id": mine}})
    made = node.create(stream=True)

    assert sent["headers"]["x-request-id"] == mine
    assert str(uuid.UUID(made["headers"]["x-request-id"])) == made["headers"]["x-request-id"]
    for result in (sent, made):
        _check_headers(result["headers"])


def _error(code: str) -> dict[str, Any]:
    return {"error": {"message": "CANARY of the provider", "type": "x", "param": None, "code": code}}


REQUEST = "invalid_request_error"
WRONG_KEY = {"headers": {"authorization": "Bearer wrong"}}
FAILURES: list[tuple[dict[str, Any], Script | None, tuple[str, int, str, str, str | None]]] = [
    ({"temperature": 2.1}, None, ("BadRequestError", 400, REQUEST, "invalid_value", "temperature")),
    ({"messages": []}, None, ("BadRequestError", 400, REQUEST, "missing_required_parameter", "messages")),
    ({"top_p": "high"}, None, ("BadRequestError", 400, REQUEST, "invalid_request_body", "top_p")),
    ({}, None, ("AuthenticationError", 401, REQUEST, "invalid_api_key", None)),
    ({"model": "no/such"}, None, ("NotFoundError", 404, REQUEST, "model_not_found", "model")),
    (
        {},
        Script(status=429, body=_error("rate_limit_exceeded"), headers={"retry-after": "7"}),
        ("RateLimitError", 429, "rate_limit_error", "rate_limit_exceeded", None),
    ),
    (
        {},
        Script(status=401, body=_error("invalid_api_key")),
        ("InternalServerError", 502, "server_error", "upstream_auth_failed", None),
    ),
    ({"model": "dead"}, None, ("InternalServerError", 503, "server_error", "upstream_unavailable", None)),
    ({}, Script(status=504, body=b""), ("InternalServerError", 504, "server_error", "upstream_timeout", None)),
]


@pytest.fixture
def failing(upstream: FakeUpstream) -> Iterator[list[dict[str, Any]]]:
    """The requests of the table, while their scripts answer."""
    requests = []
    with ExitStack() as scripts:
        for fields, script, expected in FAILURES:
            request = {"model": "echo", "messages": HELLO} | fields | ({"user": script.user} if script else {})
            if script is not None:
                scripts.enter_context(upstream.scripted(script))
            requests.append({"request": request, "options": WRONG_KEY if expected[1] == 401 else {}})
        yield requests


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_is_the_right_exception(
    node: Node,
    failing: list[dict[str, Any]],
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    given = [asked | {"request": asked["request"] | {"stream": stream}} for asked in failing]
    results = node.ask("create.mjs", given)

    errors = [result["error"] for result in results]
    assert [tuple(error[name] for name in ("class", "status", "type", "code", "param")) for error in errors] == [
        expected for _, _, expected in FAILURES
    ]
    for error in errors:
        assert set(error["body"]) == {"message", "type", "param", "code"}
        assert error["requestID"] == error["headers"]["x-request-id"]
        _check_headers(error["headers"])
    assert "CANARY" not in str(errors)
    assert [error["headers"].get("retry-after") for error in errors if error["status"] == 429] == ["7"]


INTERRUPTION = ("APIError", None, "server_error", "upstream_interrupted", None)


def test_a_stream_that_breaks_off_raises_after_its_chunks(node: Node, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=[chunk("a"), chunk("b")], ending="close")) as script:
        result = node.create(stream=True, user=script.user)

    assert [part["choices"][0]["delta"].get("content") for part in result["chunks"]] == ["", "a", "b"]
    error = result["error"]
    assert tuple(error[name] for name in ("class", "status", "type", "code", "param")) == INTERRUPTION
    assert set(error["body"]) == {"message", "type", "param", "code"}


def test_the_stream_helper_raises_too(node: Node, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=[chunk("a")], ending="close")) as script:
        result = node.ask("runner.mjs", {"model": "echo", "messages": HELLO, "user": script.user})

    assert result["deltas"] == ["a"]
    assert result["error"]["code"] == "upstream_interrupted"


@pytest.mark.parametrize(
    ("script", "count"),
    [
        (Script(status=429, body=_error("rate_limit_exceeded"), headers={"retry-after-ms": "5"}), 3),
        (Script(status=429, body=_error("insufficient_quota")), 1),
        (Script(status=401, body=_error("invalid_api_key")), 1),
        (Script(status=400, body=_error("x")), 1),
    ],
    ids=["rate limit", "quota", "the service's own key", "refused"],
)
def test_only_what_a_retry_can_help_is_retried(node: Node, upstream: FakeUpstream, script: Script, count: int) -> None:
    with upstream.scripted(script):
        result = node.create(max_retries=2, user=script.user)

    assert "error" in result
    assert len(script.received) == count


TOLD = ("x-parley-target", "x-parley-attempts")


def test_targets_and_attempts_are_told(node: Node, upstream: FakeUpstream) -> None:
    failing = Script(status=500, body=_error("x"))
    with upstream.scripted(failing) as script:
        asked = [{"model": "echo"}, {"model": "fallback"}, {"model": "two", "user": script.user}]
        given = [
            {"request": {"messages": HELLO, "stream": stream, **fields}} for fields in asked for stream in (False, True)
        ]
        results = node.ask("create.mjs", given)

    headers = [(result.get("error") or result)["headers"] for result in results]
    assert ["error" in result for result in results] == [False, False, False, False, True, True]
    told = [("scripted/echo-1", "1"), ("scripted/echo-1", "2"), ("scripted/second", "2")]
    assert [tuple(each[name] for name in TOLD) for each in headers] == [who for who in told for _ in (False, True)]


LATE: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str | None]]] = {
    "max_ttft_ms": ({"max_ttft_ms": 500}, {}, ("max_ttft_exceeded", "max_ttft_ms")),
    "x-request-timeout-ms": ({}, {"headers": {"x-request-timeout-ms": "500"}}, ("deadline_exceeded", None)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "options", "expected"), LATE.values(), ids=LATE)
def test_an_answer_that_does_not_begin_in_time_is_a_504_by_the_limits_name(
    node: Node,
    upstream: FakeUpstream,
    fields: dict[str, Any],
    options: dict[str, Any],
    expected: tuple[str, str | None],
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    late = Script(events=[], ending="hang") if stream else Script(body=completion(), delay_s=30)
    with upstream.scripted(late) as script:
        error = node.create(options=options, stream=stream, user=script.user, **fields)["error"]
        assert script.left.wait(WITHIN_S), "the provider goes on for nobody"

    identity = tuple(error[name] for name in ("class", "status", "type", "code", "param"))
    assert identity == ("InternalServerError", 504, "server_error", *expected)
    assert tuple(error["headers"][name] for name in TOLD) == ("scripted/echo-1", "1")


@pytest.mark.parametrize("policy", ["drain", "cancel"])
def test_what_becomes_of_the_providers_answer_is_as_the_request_says(
    node: Node, stack: Stack, upstream: FakeUpstream, policy: str
) -> None:
    gate, request_id = threading.Event(), f"leaving-{uuid.uuid4()}"
    headers = {"x-request-timeout-ms": "800", "x-request-id": request_id}
    events = [chunk("a"), chunk("b"), chunk(finish="stop"), usage_chunk()]
    with upstream.scripted(Script(events=events, gates={1: gate})) as script:
        result = node.create(options={"headers": headers}, stream=True, user=script.user, on_disconnect=policy)
        gate.set()
        (call,) = stack.calls(request_id)
        assert script.left.wait(0 if policy == "drain" else WITHIN_S) == (policy == "cancel")

    assert result["error"]["code"] == "deadline_exceeded"
    assert (call.get("drained", False), call.get("usage_estimated", False)) == (policy == "drain", policy == "cancel")
    assert (call["tokens_in"], call["tokens_out"]) == ((7, 5) if policy == "drain" else (2, 1))


@pytest.mark.parametrize("by", ["runner", "controller", "break"])
def test_leaving_a_stream_ends_it_at_the_provider(node: Node, upstream: FakeUpstream, by: str) -> None:
    with (
        upstream.scripted(Script(events=[chunk("a")], ending="hang")) as script,
        node.start("abort.mjs", by, script.user) as process,
    ):
        assert process.stdout is not None
        left = json.loads(process.stdout.readline())
        is_closed = script.left.wait(WITHIN_S)
        assert process.poll() is None
        _, errors = process.communicate(timeout=20)

    assert left == {"left": "APIUserAbortError" if by == "runner" else by}
    assert is_closed
    assert process.returncode == 0, errors


def test_the_snippet_of_reference_002_runs_unchanged(node: Node) -> None:
    assert len(node.output("seed_002.mjs").split()) > 3
