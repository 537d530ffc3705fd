"""The providers that are not OpenAI's like, through the running parts: addresses, keys, answers, failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import ONCE
from tests.support.faces import FACES, Face, Outcome, ask
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream, Script

SECRET = "sk-c4n4ry"
Json = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """How a provider is asked, and what it answers: each time "Hello there", of 7 and 5 tokens."""

    path: str
    stream_path: str
    headers: Json
    whole: Json
    events: list[Json | bytes]
    native_finish: str
    failure: Json
    failure_event: Json | bytes

    def script(self, *, stream: bool) -> Script:
        """A provider that answers."""
        return Script(events=list(self.events), ending="close") if stream else Script(body=self.whole)


def _frame(data: str) -> bytes:
    return f"data: {data}\r\n\r\n".encode()


GEMINI_USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 12}


def _gemini(text: str, **fields: Any) -> Json:
    return {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, **fields}]}


def _cohere(kind: str, **message: Any) -> Json:
    return {"type": kind, "delta": {"message": message}}


APIS = {
    "anthropic": Api(
        "/v1/messages",
        "/v1/messages",
        {"x-api-key": SECRET, "anthropic-version": "2023-06-01", "anthropic-beta": "one-2026,two-2026"},
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello there"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 5},
        },
        [
            {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 5},
            },
            {"type": "message_stop"},
        ],
        "end_turn",
        {"type": "error", "error": {"type": "overloaded_error", "message": "c4n4ry"}},
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"c4n4ry"}}\n\n',
    ),
    "gemini": Api(
        "/v1beta/models/up-1:generateContent",
        "/v1beta/models/up-1:streamGenerateContent?alt=sse",
        {"x-goog-api-key": SECRET},
        _gemini("Hello there", finishReason="STOP") | {"usageMetadata": GEMINI_USAGE},
        [
            _frame('{"candidates": [{"content": {"parts": [{"text": "Hello "}]}}]}'),
            _gemini("there", finishReason="STOP") | {"usageMetadata": GEMINI_USAGE},
        ],
        "STOP",
        {"error": {"code": 503, "status": "UNAVAILABLE", "message": "c4n4ry"}},
        {"error": {"code": 503, "status": "UNAVAILABLE", "message": "c4n4ry"}},
    ),
    "cohere": Api(
        "/v2/chat",
        "/v2/chat",
        {"authorization": f"Bearer {SECRET}"},
        {
            "id": "m",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello there"}]},
            "usage": {"tokens": {"input_tokens": 7.0, "output_tokens": 5.0}},
        },
        [
            {"type": "message-start", "id": "m"},
            _cohere("content-start", content={"type": "text", "text": ""}),
            _cohere("content-delta", content={"text": "Hello "}),
            _cohere("content-delta", content={"text": "there"}),
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {"tokens": {"input_tokens": 7.0, "output_tokens": 5.0}},
                },
            },
        ],
        "COMPLETE",
        {"message": "c4n4ry"},
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "c4n4ry"}},
    ),
}


@pytest.fixture(scope="module")
def others(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = upstream.base_url.removesuffix("/v1")
    sections: dict[str, Json] = {
        "anthropic": {"kind": "anthropic", "base_url": root, "betas": ["one-2026", "two-2026"]},
        "gemini": {"kind": "gemini", "base_url": f"{root}/v1beta/"},
        "cohere": {"kind": "cohere", "base_url": root},
    }
    providers = {name: section | {"api_key_env": "OTHER_KEY"} for name, section in sections.items()}
    models = {name: {"targets": [{"provider": name, "model": "up-1"}], **ONCE} for name in APIS}
    config = {"providers": providers, "models": models}
    with running(config, tmp_path_factory.mktemp("others"), environ={"OTHER_KEY": SECRET}) as started:
        yield started


def asked(others: Stack, upstream: FakeUpstream, face: Face, name: str, script: Script, *, stream: bool) -> Outcome:
    body: Json = {"model": name, "messages": [{"role": "user", "content": script.user}], "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    with upstream.scripted(script):
        return ask(others, face, body, key=None)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", APIS)
def test_an_answer_means_the_same_from_every_provider(
    others: Stack,
    upstream: FakeUpstream,
    face: Face,
    name: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    api = APIS[name]
    script = api.script(stream=stream)

    outcome = asked(others, upstream, face, name, script, stream=stream)

    assert outcome.failure is None
    assert outcome.is_done
    assert outcome.text() == "Hello there"
    answer = outcome.chunks[-1] if stream else outcome.answer
    assert answer is not None
    counts = {count: answer["usage"][count] for count in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert counts == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    choice = outcome.chunks[-2]["choices"][0] if stream else answer["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", api.native_finish)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", APIS)
def test_a_provider_is_asked_at_its_address_with_its_key_in_a_header(
    others: Stack,
    upstream: FakeUpstream,
    name: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    api = APIS[name]
    script = api.script(stream=stream)

    asked(others, upstream, "grpc", name, script, stream=stream)

    assert script.targets == [api.stream_path if stream else api.path]
    (headers,) = script.headers_received
    assert headers.items() >= api.headers.items()
    assert [header for header, value in headers.items() if SECRET in value] == [
        header for header, value in api.headers.items() if SECRET in value
    ]
    assert headers["accept"] == ("text/event-stream" if stream else "application/json")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", APIS)
def test_a_provider_that_cannot_answer_now_is_told_so(
    others: Stack,
    upstream: FakeUpstream,
    face: Face,
    name: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    status = 529 if name == "anthropic" else 503
    script = Script(status=status, body=APIS[name].failure, headers={"retry-after": "3"})

    outcome = asked(others, upstream, face, name, script, stream=stream)

    failure = outcome.failure
    assert failure is not None
    assert (failure.http_status, failure.code) == (503, "upstream_unavailable")
    assert outcome.metadata["retry-after"] == "3"
    assert "c4n4ry" not in f"{failure}{outcome.metadata}"


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("how", ["reported", "closed", "cut"])
@pytest.mark.parametrize("name", APIS)
def test_a_stream_that_breaks_off_never_looks_complete(
    others: Stack, upstream: FakeUpstream, face: Face, name: str, how: str
) -> None:
    api = APIS[name]
    begun = list(api.events[:-1]) if name == "gemini" else list(api.events[:4])
    reported = [api.failure_event] if how == "reported" else []
    script = Script(events=[*begun, *reported], ending="cut" if how == "cut" else "close")

    outcome = asked(others, upstream, face, name, script, stream=True)

    assert outcome.failure is not None
    assert outcome.failure.code in {"upstream_interrupted", "upstream_unavailable"}
    assert not outcome.is_done
    assert outcome.text().startswith("Hello")
    assert "c4n4ry" not in f"{outcome.failure}{outcome.metadata}"
