"""What the official Python client sees of targets and attempts, and of the time and the policy that it asks for."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.openai_sdk import HELLO, WITHIN_S, check_headers, check_stream, error_body, text_of
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

STREAM = [chunk("a"), chunk("b"), chunk(finish="stop"), usage_chunk()]
OPENING = chunk(delta={"role": "assistant", "content": ""})
SHORT_MS = 500
"""Long enough for a request to reach the provider, on a busy machine too."""
LONG_MS = 60_000
GIVEN_UP_S = 10.0
"""After that the client leaves by itself, and a test that waits for a limit fails."""


@pytest.fixture
def client(client: OpenAI) -> OpenAI:
    return client.with_options(timeout=GIVEN_UP_S)


def _told(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    return headers.get("x-parley-target"), headers.get("x-parley-attempts")


def _create(client: OpenAI, *, stream: bool, **request: Any) -> tuple[Any, Mapping[str, str]]:
    """The answer, whole or as its chunks, and its headers."""
    raw = client.chat.completions.with_raw_response.create(messages=HELLO, stream=stream, **request)
    parsed = raw.parse()
    return (list(parsed) if stream else parsed), raw.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "target", "attempts"), [("echo", "scripted/echo-1", "1"), ("fallback", "scripted/echo-1", "2")]
)
def test_an_answer_tells_who_gave_it_and_after_how_many_attempts(
    client: OpenAI,
    model: str,
    target: str,
    attempts: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer, headers = _create(client, model=model, stream=stream)

    assert _told(headers) == (target, attempts)
    check_headers(headers)
    if stream:
        check_stream(answer, model)
        assert text_of(answer) == "Hello"
    else:
        assert (answer.model, answer.choices[0].message.content) == (model, "Hello")


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_tells_who_was_asked_last_and_how_often_anyone_was(
    client: OpenAI,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    failing = Script(status=500, body=error_body("x"))
    with upstream.scripted(failing) as script, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="two", messages=HELLO, stream=stream, user=script.user)

    assert [body["model"] for body in script.received] == ["first", "second"]
    assert _told(caught.value.response.headers) == ("scripted/second", "2")
    check_headers(caught.value.response.headers)


@pytest.mark.parametrize("request_fields", [{"model": "no/such"}, {"model": "echo", "temperature": 2.1}])
def test_where_nobody_was_asked_nobody_is_told(client: OpenAI, request_fields: dict[str, Any]) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(messages=HELLO, **request_fields)

    assert _told(caught.value.response.headers) == (None, None)


LATE: dict[str, dict[str, Any]] = {
    "no head": {"body": completion(), "delay_s": 30},
    "a stream without a head": {"events": STREAM, "delay_s": 30},
    "a stream without an event": {"events": [], "ending": "hang"},
    "a stream that only opens": {"events": [OPENING], "ending": "hang"},
}
"""Scripts of a provider from which no token comes."""

TTFT = ("max_ttft_exceeded", "max_ttft_ms")
DEADLINE = ("deadline_exceeded", None)
LIMITS: dict[str, tuple[int | None, int | None, tuple[str, str | None]]] = {
    "max_ttft_ms": (SHORT_MS, None, TTFT),
    "x-request-timeout-ms": (None, SHORT_MS, DEADLINE),
    "both, that of the first token is sooner": (SHORT_MS, LONG_MS, TTFT),
    "both, that of the call is sooner": (LONG_MS, SHORT_MS, DEADLINE),
}
"""`max_ttft_ms` and `x-request-timeout-ms`, and the code and the param that a late answer ends with."""


@pytest.mark.parametrize(("max_ttft_ms", "timeout_ms", "expected"), LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_an_answer_that_does_not_begin_in_time_is_a_504_by_the_limits_name(
    client: OpenAI,
    upstream: FakeUpstream,
    late: dict[str, Any],
    max_ttft_ms: int | None,
    timeout_ms: int | None,
    expected: tuple[str, str | None],
) -> None:
    with upstream.scripted(Script(**late)) as script:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(
                model="echo",
                messages=HELLO,
                stream="events" in late,
                user=script.user,
                extra_body={"max_ttft_ms": max_ttft_ms},
                extra_headers={"x-request-timeout-ms": str(timeout_ms)} if timeout_ms else {},
            )
        assert script.left.wait(WITHIN_S), "the provider goes on for nobody"

    error = caught.value
    assert (error.status_code, error.type, error.code, error.param) == (504, "server_error", *expected)
    assert _told(error.response.headers) == ("scripted/echo-1", "1")
    check_headers(error.response.headers)
    assert len(script.received) == 1


def test_the_time_to_the_first_token_is_that_of_all_attempts_together(client: OpenAI, upstream: FakeUpstream) -> None:
    failing = Script(status=500, body=error_body("x"), delay_s=0.9)
    with upstream.scripted(failing) as script, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(
            model="two", messages=HELLO, user=script.user, extra_body={"max_ttft_ms": 1500}
        )  # the first target fails in that time; the second would, after it

    assert (caught.value.status_code, caught.value.code, caught.value.param) == (504, *TTFT)
    assert [body["model"] for body in script.received] == ["first", "second"]
    assert _told(caught.value.response.headers) == ("scripted/second", "2")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_time_is_as_without_limits(
    client: OpenAI,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    script = Script(events=STREAM) if stream else Script(body=completion({"content": "ab"}))
    with upstream.scripted(script):
        answer, headers = _create(
            client,
            model="echo",
            stream=stream,
            user=script.user,
            extra_body={"max_ttft_ms": LONG_MS, "on_disconnect": "drain"},
            extra_headers={"x-request-timeout-ms": str(LONG_MS)},
        )

    assert (text_of(answer) if stream else answer.choices[0].message.content) == "ab"
    assert _told(headers) == ("scripted/echo-1", "1")
    [received] = script.received
    assert not {"max_ttft_ms", "on_disconnect"} & set(received), "they are Parley's, and no provider knows them"
    assert "x-request-timeout-ms" not in script.headers_received[0]


def test_a_deadline_within_a_stream_raises_after_its_chunks(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=STREAM[:1], ending="hang")) as script:
        stream = client.chat.completions.create(
            model="echo",
            messages=HELLO,
            stream=True,
            user=script.user,
            extra_headers={"x-request-timeout-ms": "1500"},
        )
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "a"]
        with pytest.raises(openai.APIError) as caught:
            next(stream)
        assert script.left.wait(WITHIN_S)

    assert type(caught.value) is openai.APIError
    assert (caught.value.type, caught.value.code, caught.value.param) == ("server_error", *DEADLINE)


def test_the_client_asks_again_with_the_whole_time(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(body=completion(), delay_s=30)) as script:
        with pytest.raises(openai.InternalServerError) as caught:
            client.with_options(max_retries=1).chat.completions.create(
                model="echo", messages=HELLO, user=script.user, extra_headers={"x-request-timeout-ms": str(SHORT_MS)}
            )
        assert script.left.wait(WITHIN_S)

    assert caught.value.code == "deadline_exceeded"
    assert len(script.received) == 2


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "86400001"])
def test_a_timeout_that_is_no_such_number_is_refused_by_name(client: OpenAI, value: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="echo", messages=HELLO, extra_headers={"x-request-timeout-ms": value})

    assert (caught.value.code, caught.value.param) == ("invalid_value", "x-request-timeout-ms")
    assert "`x-request-timeout-ms`" in caught.value.message


def test_a_negative_time_to_the_first_token_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="echo", messages=HELLO, extra_body={"max_ttft_ms": -1})

    assert (caught.value.code, caught.value.param) == ("invalid_value", "max_ttft_ms")


@pytest.mark.parametrize("stream", [False, True])
def test_a_drained_answer_is_read_to_its_usage_behind_the_callers_deadline(
    client: OpenAI,
    stack: Stack,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """As a stream with a gate in it, so that the end comes after the deadline and not after some time."""
    gate, request_id = threading.Event(), str(uuid.uuid4())
    script = Script(events=STREAM, gates={1: gate}) if stream else Script(body=completion(), delay_s=1.5)
    with upstream.scripted(script):
        with pytest.raises(openai.APIError) as caught:
            _create(
                client,
                model="echo",
                stream=stream,
                user=script.user,
                extra_body={"on_disconnect": "drain"},
                extra_headers={"x-request-timeout-ms": "800", "x-request-id": request_id},
            )
        gate.set()
        (call,) = stack.calls(request_id)

    assert caught.value.code == "deadline_exceeded"
    assert not script.left.is_set()
    assert (call["status"], call["drained"]) == ("DEADLINE_EXCEEDED", True)
    assert (call["tokens_in"], call["tokens_out"]) == (7, 5)
    assert "usage_estimated" not in call


def test_of_two_streams_that_are_left_the_drained_one_is_read_to_its_usage(
    client: OpenAI, stack: Stack, upstream: FakeUpstream
) -> None:
    gate = threading.Event()
    scripts = {policy: Script(events=STREAM, gates={1: gate}) for policy in ("drain", "cancel")}
    ids = {policy: str(uuid.uuid4()) for policy in scripts}
    with upstream.scripted(scripts["drain"]), upstream.scripted(scripts["cancel"]):
        for policy, script in scripts.items():  # the drained one first, so that it is left by the time the other is
            with client.chat.completions.create(
                model="echo",
                messages=HELLO,
                stream=True,
                user=script.user,
                extra_body={"on_disconnect": policy},
                extra_headers={"x-request-id": ids[policy]},
            ) as stream:
                assert next(stream).choices[0].delta.content == ""
        assert scripts["cancel"].left.wait(WITHIN_S)
        gate.set()
        (drained,) = stack.calls(ids["drain"])
        (cancelled,) = stack.calls(ids["cancel"])

    assert not scripts["drain"].left.is_set()
    assert (drained["status"], drained["drained"]) == ("CANCELLED", True)
    assert (drained["tokens_in"], drained["tokens_out"]) == (7, 5)
    assert "usage_estimated" not in drained
    assert (cancelled["status"], cancelled["usage_estimated"]) == ("CANCELLED", True)
    assert "drained" not in cancelled
