"""Timeouts, retries and leaving early, and what of a request reaches the provider."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from tests.conftest import KEY
from tests.support.openai_sdk import (
    HELLO,
    WITHIN_S,
    error_body,
    text_of,
)
from tests.support.upstream import FakeUpstream, Script, chunk, completion


def test_the_clients_timeout_ends_the_call_at_the_provider(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(body=completion(), delay_s=30)) as script:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(model="echo", messages=HELLO, user=script.user)
        assert script.left.wait(WITHIN_S)

    assert len(script.received) == 1


def test_the_clients_timeout_within_a_stream(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=[chunk("a")], ending="hang")) as script:
        stream = client.with_options(timeout=1.5).chat.completions.create(
            model="echo", messages=HELLO, stream=True, user=script.user
        )
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "a"]
        with pytest.raises(openai.APITimeoutError):
            next(stream)
        assert script.left.wait(WITHIN_S)


def test_leaving_a_stream_ends_it_at_the_provider(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=[chunk("a")], ending="hang")) as script:
        with client.chat.completions.create(model="echo", messages=HELLO, stream=True, user=script.user) as stream:
            next(stream)
            assert not script.left.is_set()
        assert script.left.wait(WITHIN_S)


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_a_task_ends_its_call_at_the_provider(
    async_client: AsyncOpenAI,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with upstream.scripted(Script(body=completion(), delay_s=30)) as script:
        request: dict[str, Any] = {"model": "echo", "messages": HELLO, "stream": stream, "user": script.user}
        task = asyncio.ensure_future(async_client.chat.completions.create(**request))
        assert await asyncio.to_thread(script.began.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(script.left.wait, WITHIN_S)


def _rate_limit() -> Script:
    return Script(status=429, body=error_body("rate_limit_exceeded"), headers={"retry-after-ms": "5"})


@dataclass
class Recovery:
    """Lets the provider recover as soon as the client has seen the first failure."""

    script: Script
    seen: list[tuple[int, str | None]] = field(default_factory=list)

    def note(self, response: httpx2.Response) -> None:
        self.seen.append((response.status_code, response.headers.get("retry-after-ms")))
        self.script.status, self.script.headers = 200, {}
        if self.script.received[0].get("stream"):
            self.script.events = [chunk("back"), chunk(finish="stop")]
        else:
            self.script.body = completion({"content": "back"})

    async def note_async(self, response: httpx2.Response) -> None:
        self.note(response)


@pytest.mark.parametrize("stream", [False, True])
def test_a_rate_limited_request_is_retried_when_told(
    client: OpenAI,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with upstream.scripted(_rate_limit()) as script:
        recovery = Recovery(script)
        http_client = DefaultHttpxClient(event_hooks={"response": [recovery.note]})
        with client.with_options(max_retries=2, http_client=http_client) as retrying:
            request: dict[str, Any] = {"model": "echo", "messages": HELLO, "user": script.user}
            if stream:
                text = text_of(list(retrying.chat.completions.create(**request, stream=True)))
            else:
                text = retrying.chat.completions.create(**request).choices[0].message.content or ""

    assert text == "back"
    assert recovery.seen == [(429, "5"), (200, None)]
    assert len(script.received) == 2


async def test_a_rate_limited_request_is_retried_when_told_async(
    async_client: AsyncOpenAI, upstream: FakeUpstream
) -> None:
    with upstream.scripted(_rate_limit()) as script:
        recovery = Recovery(script)
        http_client = DefaultAsyncHttpxClient(event_hooks={"response": [recovery.note_async]})
        async with async_client.with_options(max_retries=2, http_client=http_client) as retrying:
            answer = await retrying.chat.completions.create(model="echo", messages=HELLO, user=script.user)

    assert answer.choices[0].message.content == "back"
    assert recovery.seen == [(429, "5"), (200, None)]
    assert len(script.received) == 2


def test_a_rate_limit_that_stays_is_retried_as_often_as_allowed(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(_rate_limit()) as script, pytest.raises(openai.RateLimitError):
        client.with_options(max_retries=3).chat.completions.create(model="echo", messages=HELLO, user=script.user)

    assert len(script.received) == 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "invalid_api_key", openai.InternalServerError),
        (403, "x", openai.InternalServerError),
        (429, "insufficient_quota", openai.RateLimitError),
    ],
)
def test_what_a_retry_cannot_help_is_not_retried(
    client: OpenAI,
    upstream: FakeUpstream,
    status: int,
    code: str,
    error: type[openai.APIStatusError],
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with upstream.scripted(Script(status=status, body=error_body(code))) as script, pytest.raises(error) as caught:
        client.with_options(max_retries=3).chat.completions.create(
            model="echo", messages=HELLO, stream=stream, user=script.user
        )

    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(script.received) == 1


PARTS: list[Any] = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "https://example.com/a%20b.png?x=1&y=2"}},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
]
PASSED_ON: dict[str, dict[str, Any]] = {
    "sampling": {
        "temperature": 0.35,
        "top_p": 1,
        "max_tokens": 12,
        "stop": ["a", "b"],
        "seed": 7,
        "presence_penalty": -0.5,
        "frequency_penalty": 2,
        "logit_bias": {"50256": -100},
    },
    "zero is a temperature": {"temperature": 0, "top_p": 0, "seed": 0, "presence_penalty": 0},
    "the newer limit": {"max_completion_tokens": 20},
    "large integers": {"seed": 2**53 - 1},
    "reasoning": {"reasoning_effort": "low", "verbosity": "high"},
    "identifiers": {"safety_identifier": "hash-1", "prompt_cache_key": "key-1", "service_tier": "auto"},
    "json mode": {"response_format": {"type": "json_object"}},
    "sound": {"modalities": ["text", "audio"], "audio": {"format": "mp3", "voice": "alloy"}},
    "a prediction": {"prediction": {"type": "content", "content": "the old text"}},
    "parts": {"messages": [{"role": "user", "content": PARTS}]},
    "roles and names": {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi", "name": "ada"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Again"},
        ]
    },
}


@pytest.mark.parametrize("request_fields", PASSED_ON.values(), ids=PASSED_ON)
def test_parameters_reach_the_provider_as_given(
    client: OpenAI, upstream: FakeUpstream, request_fields: dict[str, Any]
) -> None:
    with upstream.scripted(Script(body=completion())) as script:
        asked = {"model": "echo", "messages": HELLO, "user": script.user} | request_fields
        client.chat.completions.create(**asked)

    [received] = script.received
    assert json.dumps(received, sort_keys=True) == json.dumps(asked | {"model": "echo-1"}, sort_keys=True)


def test_one_stop_sequence_may_be_a_string(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(body=completion())) as script:
        client.chat.completions.create(model="echo", messages=HELLO, stop="END", user=script.user)

    assert script.received[0]["stop"] == ["END"]


def test_extra_body_passes_contract_fields_and_provider_parameters(client: OpenAI, upstream: FakeUpstream) -> None:
    extra = {"top_k": 5, "extra_body": {"foo": 1, "nested": {"z": [1.5, None], "a": "x"}}}
    with upstream.scripted(Script(body=completion())) as script:
        client.chat.completions.create(model="echo", messages=HELLO, user=script.user, extra_body=extra)

    received = script.received[0]
    assert {name: received[name] for name in received if name not in {"model", "messages", "user"}} == {
        "top_k": 5,
        "foo": 1,
        "nested": {"z": [1.5, None], "a": "x"},
    }
    assert b'"top_k":5,' in script.raw[0].replace(b" ", b"")
    assert list(received["nested"]) == ["z", "a"]


def test_the_callers_key_stays_here(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(body=completion())) as script:
        client.chat.completions.create(
            model="echo", messages=HELLO, user=script.user, extra_headers={"x-api-key": KEY, "cookie": "CANARY"}
        )

    assert KEY not in str(script.headers_received)
    assert "CANARY" not in str(script.headers_received)
