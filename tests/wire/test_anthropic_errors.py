"""What failures of the Messages API become."""

from __future__ import annotations

import json

import pytest

from service.errors import (
    Auth,
    Interrupted,
    Malformed,
    RateLimited,
    Reason,
    Rejected,
    Timeout,
    Unavailable,
    UpstreamError,
)
from service.providers.anthropic.errors import error_of_answer, error_within_answer
from tests.wire.anthropic_json import Json

CANARY = "c4n4ry"


def body(kind: str, text: str = CANARY, **fields: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": text, "details": None}, **fields}


def error_of(status: int, answer: Json | bytes, headers: dict[str, str] | None = None) -> UpstreamError:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    error = error_of_answer("acme", status, data, (headers or {}).get)
    assert CANARY not in error.message + repr(error.metadata) + str(error.param)
    assert error.metadata["provider"] == "acme"
    assert error.metadata["upstream_status"] == str(status)
    return error


INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "answer", "expected", "reason", "param"),
    [
        (400, body(INVALID), Rejected, Reason.UPSTREAM_REJECTED, None),
        (401, body("authentication_error"), Auth, Reason.UPSTREAM_AUTH_FAILED, None),
        (402, body("billing_error"), RateLimited, Reason.UPSTREAM_QUOTA_EXHAUSTED, None),
        (403, body("permission_error"), Auth, Reason.UPSTREAM_AUTH_FAILED, None),
        (404, body("not_found_error", f"model: {CANARY}"), Rejected, Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        (404, b"<html>", Rejected, Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        (404, body("not_found_error", "Not Found"), Rejected, Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        (404, body("not_found_error", "Not found."), Rejected, Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        (404, body("not_found_error", f"File not found: {CANARY}"), Rejected, Reason.UPSTREAM_REJECTED, None),
        (413, body("request_too_large"), Rejected, Reason.UPSTREAM_REJECTED, "messages"),
        (413, b"too large", Rejected, Reason.UPSTREAM_REJECTED, "messages"),
        (429, body("rate_limit_error"), RateLimited, Reason.UPSTREAM_RATE_LIMITED, None),
        (500, body("api_error"), Unavailable, Reason.UPSTREAM_UNAVAILABLE, None),
        (503, b"", Unavailable, Reason.UPSTREAM_UNAVAILABLE, None),
        (504, body("timeout_error"), Timeout, Reason.UPSTREAM_TIMEOUT, None),
        (529, body("overloaded_error"), Unavailable, Reason.UPSTREAM_UNAVAILABLE, None),
        (302, b"", Malformed, Reason.UPSTREAM_MALFORMED, None),
        (
            400,
            body(INVALID, "prompt is too long: 208310 tokens > 200000 maximum"),
            Rejected,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
        ),
        (
            400,
            body(INVALID, "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"),
            Rejected,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
        ),
        (
            400,
            body(INVALID, "Your credit balance is too low to access the Anthropic API."),
            RateLimited,
            Reason.UPSTREAM_QUOTA_EXHAUSTED,
            None,
        ),
        (
            400,
            body(INVALID, "You have reached your specified API usage limits."),
            RateLimited,
            Reason.UPSTREAM_QUOTA_EXHAUSTED,
            None,
        ),
        (400, body(INVALID, "Output blocked by content filtering policy"), Rejected, Reason.CONTENT_FILTERED, None),
        (400, body(INVALID, f"messages.0.content.1.text: {CANARY}"), Rejected, Reason.UPSTREAM_REJECTED, "messages"),
        (400, body(INVALID, "max_tokens: 9 > 8, which is the limit"), Rejected, Reason.UPSTREAM_REJECTED, "max_tokens"),
        (400, body(INVALID, "`temperature` is deprecated"), Rejected, Reason.UPSTREAM_REJECTED, "temperature"),
        (400, body(INVALID, '"thinking.type.enabled" is not'), Rejected, Reason.UPSTREAM_REJECTED, "thinking"),
        (400, body(INVALID, "Thinking may not be enabled"), Rejected, Reason.UPSTREAM_REJECTED, "thinking"),
        (400, body(INVALID, "output_config.effort: no"), Rejected, Reason.UPSTREAM_REJECTED, "reasoning_effort"),
        (400, body(INVALID, "output_config.format.schema: no"), Rejected, Reason.UPSTREAM_REJECTED, "response_format"),
        (400, body(INVALID, "output_config: no"), Rejected, Reason.UPSTREAM_REJECTED, None),
        (400, body(INVALID, "stop_sequences: each must contain"), Rejected, Reason.UPSTREAM_REJECTED, "stop"),
        (400, body(INVALID, f"{CANARY}: Extra inputs"), Rejected, Reason.UPSTREAM_REJECTED, None),
        (400, {"error": {"type": 3}}, Rejected, Reason.UPSTREAM_REJECTED, None),
        (400, {"error": None}, Rejected, Reason.UPSTREAM_REJECTED, None),
    ],
)
def test_a_failure_is_classified(
    status: int, answer: Json | bytes, expected: type[UpstreamError], reason: Reason, param: str | None
) -> None:
    error = error_of(status, answer)
    assert (type(error), error.reason, error.param) == (expected, reason, param)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"retry-after": "50"}, 50),
        (529, {"retry-after": "2"}, 2),
        (429, {}, None),
        (429, {"retry-after": "x"}, None),
    ],
)
def test_when_to_come_again_is_told(status: int, headers: dict[str, str], wait_s: float | None) -> None:
    assert error_of(status, body("rate_limit_error"), headers).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("headers", "fields", "expected"),
    [
        ({"request-id": "req_1"}, {}, "req_1"),
        ({}, {"request_id": "req_2"}, "req_2"),
        ({"request-id": "req_1"}, {"request_id": "req_2"}, "req_1"),
        ({"request-id": f"{CANARY} x"}, {"request_id": f"{CANARY} y"}, None),
        ({}, {}, None),
    ],
)
def test_the_providers_id_of_the_request_is_kept(
    headers: dict[str, str], fields: dict[str, str], expected: str | None
) -> None:
    assert error_of(400, body(INVALID, **fields), headers).metadata.get("upstream_request_id") == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (INVALID, Rejected),
        ("authentication_error", Auth),
        ("billing_error", RateLimited),
        ("permission_error", Auth),
        ("not_found_error", Rejected),
        ("request_too_large", Rejected),
        ("rate_limit_error", RateLimited),
        ("api_error", Unavailable),
        ("timeout_error", Timeout),
        ("overloaded_error", Unavailable),
        ("new_error", Interrupted),
    ],
)
def test_a_failure_within_a_stream_is_as_one_of_its_status(kind: str, expected: type[UpstreamError]) -> None:
    error = error_within_answer("acme", json.dumps(body(kind, request_id="req_1")).encode())
    assert type(error) is expected
    assert CANARY not in error.message
    assert error.metadata["upstream_request_id"] == "req_1"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"error": "x"}'])
def test_a_failure_that_cannot_be_read_is_one_all_the_same(data: bytes) -> None:
    assert type(error_within_answer("acme", data)) is Interrupted
