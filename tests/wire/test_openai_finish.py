"""Finish reasons: the contract's words, and failures that must not pass for an end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import Reason, UpstreamError
from service.providers.openai.origin import Origin
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.provider import Identity
from service.providers.sse import SseEvent

IDENTITY = Identity("chatcmpl-made", 1, "m")


def _unary(**choice: Any) -> str:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, **choice}]}
    return translate_completion(json.dumps(body).encode(), Origin("p", IDENTITY)).choices[0].finish_reason


def _streamed(**choice: Any) -> str:
    translator = StreamTranslator(Origin("p", IDENTITY))
    translator.translate(SseEvent("message", b'{"choices":[{"index":0,"delta":{"content":"x"}}]}'))
    body = {"choices": [{"index": 0, "delta": {}, **choice}]}
    chunks = [
        *translator.translate(SseEvent("message", json.dumps(body).encode())),
        *translator.translate(SseEvent("message", b"[DONE]")),
        *translator.finish(),
    ]
    return chunks[-1].choices[0].finish_reason.string_value


@pytest.mark.parametrize("told", [_unary, _streamed])
@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((name, name) for name in ("stop", "length", "tool_calls", "content_filter", "function_call")),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("recitation", "recitation"),
    ],
)
def test_a_finish_reason_is_told_in_the_contracts_words(told: Any, reason: str, expected: str) -> None:
    assert told(finish_reason=reason) == expected


@pytest.mark.parametrize("told", [_unary, _streamed])
@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "error"}, Reason.UPSTREAM_INTERRUPTED),
        ({"finish_reason": "abort"}, Reason.UPSTREAM_INTERRUPTED),
        ({"finish_reason": "insufficient_system_resource"}, Reason.UPSTREAM_INTERRUPTED),
        ({"finish_reason": "error", "error": {"code": 502, "message": "CANARY"}}, Reason.UPSTREAM_UNAVAILABLE),
        ({"finish_reason": "stop", "error": {"code": 429, "message": "CANARY"}}, Reason.UPSTREAM_RATE_LIMITED),
        ({"finish_reason": "CANARY with spaces"}, Reason.UPSTREAM_MALFORMED),
        ({"finish_reason": "x" * 33}, Reason.UPSTREAM_MALFORMED),
    ],
)
def test_a_failure_does_not_pass_for_an_end(told: Any, choice: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(UpstreamError) as raised:
        told(**choice)

    assert raised.value.reason is reason
    assert "CANARY" not in str(raised.value)
