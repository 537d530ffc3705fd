"""What the failures that an OpenAI-compatible provider reports mean for the caller."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

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
from service.providers.openai import wire
from service.providers.openai.errors import error_of_answer, error_within_answer

CANARY = "c4n4ry"
"""Stands wherever a provider may write freely, and may come out nowhere."""


def headers(**values: str) -> Callable[[str], str | None]:
    return {name.replace("_", "-"): value for name, value in values.items()}.get


def error_of(status: int, error: Any, **sent: str) -> UpstreamError:
    return error_of_answer("acme", status, json.dumps({"error": error}).encode(), headers(**sent))


def retry_after_s(error: UpstreamError) -> float | None:
    assert isinstance(error, RateLimited)
    return error.retry_after_s


def shown(error: UpstreamError) -> str:
    """All that can be seen of an error."""
    return f"{error!s} {error!r} {error.message} {error.metadata} {error.param} {error.args} {error.__cause__}"


BY_STATUS: list[tuple[int, Reason, type[UpstreamError], str | None]] = [
    (300, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (301, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (307, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (204, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (201, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (101, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (600, Reason.UPSTREAM_MALFORMED, Malformed, None),
    (400, Reason.UPSTREAM_REJECTED, Rejected, None),
    (401, Reason.UPSTREAM_AUTH_FAILED, Auth, None),
    (402, Reason.UPSTREAM_QUOTA_EXHAUSTED, RateLimited, None),
    (403, Reason.UPSTREAM_AUTH_FAILED, Auth, None),
    (404, Reason.UPSTREAM_MODEL_NOT_FOUND, Rejected, "model"),
    (405, Reason.UPSTREAM_REJECTED, Rejected, None),
    (408, Reason.UPSTREAM_TIMEOUT, Timeout, None),
    (409, Reason.UPSTREAM_REJECTED, Rejected, None),
    (413, Reason.UPSTREAM_REJECTED, Rejected, None),
    (415, Reason.UPSTREAM_REJECTED, Rejected, None),
    (418, Reason.UPSTREAM_REJECTED, Rejected, None),
    (422, Reason.UPSTREAM_REJECTED, Rejected, None),
    (429, Reason.UPSTREAM_RATE_LIMITED, RateLimited, None),
    (499, Reason.UPSTREAM_REJECTED, Rejected, None),
    (500, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (501, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (502, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (503, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (504, Reason.UPSTREAM_TIMEOUT, Timeout, None),
    (520, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (529, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
    (599, Reason.UPSTREAM_UNAVAILABLE, Unavailable, None),
]

BODIES_WITHOUT_A_TELLING_CODE = {
    "OpenAI": json.dumps({"error": {"message": CANARY, "type": "server_error", "param": None, "code": None}}).encode(),
    "no error": b"{}",
    "null": b'{"error": null}',
    "string": b'{"error": "c4n4ry"}',
    "code as a number": b'{"error": {"code": 9999, "message": "c4n4ry"}}',
    "wrong types": b'{"error": {"type": ["c4n4ry"], "code": {"c4n4ry": 1}, "param": 5}}',
    "an array": b'[{"error": {"code": "c4n4ry"}}]',
    "FastAPI": b'{"detail": "c4n4ry"}',
    "Mistral": b'{"object": "error", "message": {"detail": [{"msg": "c4n4ry"}]}, "type": "c4n4ry", "code": "c4n4ry"}',
    "HTML": b"<!DOCTYPE html><title>502 c4n4ry</title>",
    "cut": b'{"error": {"message": "c4n4r',
    "empty": b"",
    "binary": b"\x1f\x8b\x08\x00c4n4ry",
    "not UTF-8, unread field": b'{"error": {"message": "c4n4ry \xff"}}',
    "not UTF-8, read field": b'{"error": {"type": "c4n4ry \xff"}}',
    "deep": b'{"unread":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", [b"", b'{"error":{"message":"c4n4ry","type":"c4n4ry","code":null}}', b"<p>c4n4ry"])
@pytest.mark.parametrize(("status", "reason", "kind", "param"), BY_STATUS, ids=[str(row[0]) for row in BY_STATUS])
def test_the_status_tells_where_the_body_does_not(
    status: int, reason: Reason, kind: type[UpstreamError], param: str | None, body: bytes
) -> None:
    error = error_of_answer("acme", status, body, headers())

    assert (type(error), error.reason, error.param) == (kind, reason, param)
    assert error.metadata == {"provider": "acme", "upstream_status": str(status)}
    assert CANARY not in shown(error)


@pytest.mark.parametrize("body", BODIES_WITHOUT_A_TELLING_CODE.values(), ids=BODIES_WITHOUT_A_TELLING_CODE)
def test_a_body_of_any_form_leaves_the_status_to_tell(body: bytes) -> None:
    for status, reason in ((429, Reason.UPSTREAM_RATE_LIMITED), (502, Reason.UPSTREAM_UNAVAILABLE)):
        error = error_of_answer("acme", status, body, headers())

        assert (error.reason, error.param) == (reason, None)
        assert error.metadata == {"provider": "acme", "upstream_status": str(status)}
        assert CANARY not in shown(error)


@pytest.mark.parametrize(
    ("status", "error", "reason", "param"),
    [
        pytest.param(
            400,
            {"message": CANARY, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"},
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
            id="OpenAI, context",
        ),
        pytest.param(
            400,
            {"message": CANARY, "type": "invalid_request_error", "param": "messages[0].content", "code": "string_above_max_length"},
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
            id="OpenAI, string",
        ),
        *(
            pytest.param(400, {"param": param, "code": "string_above_max_length"}, reason, told, id=f"string, {param}")
            for param, reason, told in (
                ("messages", Reason.CONTEXT_LENGTH_EXCEEDED, "messages"),
                ("messages[2]", Reason.CONTEXT_LENGTH_EXCEEDED, "messages"),
                ("messages[2].content[0].text", Reason.CONTEXT_LENGTH_EXCEEDED, "messages"),
                ("messages[2].name", Reason.UPSTREAM_REJECTED, "messages[2].name"),
                ("user", Reason.UPSTREAM_REJECTED, "user"),
                ("tools[0].function.description", Reason.UPSTREAM_REJECTED, "tools[0].function.description"),
                ("stop", Reason.UPSTREAM_REJECTED, "stop"),
                (None, Reason.UPSTREAM_REJECTED, None),
            )
        ),
        pytest.param(
            400,
            {"code": 400, "message": CANARY, "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096},
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
            id="llama.cpp, context",
        ),
        pytest.param(
            500,
            {"code": 500, "message": CANARY, "type": "server_error"},
            Reason.UPSTREAM_UNAVAILABLE,
            None,
            id="llama.cpp, server",
        ),
        pytest.param(
            400,
            {"code": 400, "message": CANARY, "type": "invalid_request_error"},
            Reason.UPSTREAM_REJECTED,
            None,
            id="llama.cpp, request",
        ),
        pytest.param(
            503,
            {"code": 503, "message": CANARY, "type": "unavailable_error"},
            Reason.UPSTREAM_UNAVAILABLE,
            None,
            id="llama.cpp, loading",
        ),
        pytest.param(
            429,
            {"message": CANARY, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"},
            Reason.UPSTREAM_QUOTA_EXHAUSTED,
            None,
            id="OpenAI, quota",
        ),
        pytest.param(
            400, {"code": "billing_hard_limit_reached"}, Reason.UPSTREAM_QUOTA_EXHAUSTED, None, id="OpenAI, billing"
        ),
        pytest.param(402, {"message": CANARY, "code": 402}, Reason.UPSTREAM_QUOTA_EXHAUSTED, None, id="OpenRouter, quota"),
        pytest.param(
            400,
            {"message": CANARY, "type": None, "param": "prompt", "code": "content_filter", "status": 400, "innererror": {}},
            Reason.CONTENT_FILTERED,
            "prompt",
            id="Azure, filter",
        ),
        pytest.param(
            400, {"message": CANARY, "code": "content_policy_violation"}, Reason.CONTENT_FILTERED, None, id="OpenAI, policy"
        ),
        pytest.param(
            400,
            {"message": CANARY, "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"},
            Reason.UPSTREAM_REJECTED,
            "temperature",
            id="OpenAI, value",
        ),
        pytest.param(
            429,
            {"message": CANARY, "code": 429, "metadata": {"raw": CANARY}},
            Reason.UPSTREAM_RATE_LIMITED,
            None,
            id="OpenRouter, rate",
        ),
        pytest.param(
            404, {"message": CANARY, "param": "x", "code": "model_not_found"}, Reason.UPSTREAM_MODEL_NOT_FOUND, "model",
            id="OpenAI, model",
        ),
        *(
            pytest.param(
                status, {"message": CANARY, "code": "model_not_found"}, Reason.UPSTREAM_MODEL_NOT_FOUND, "model",
                id=f"OpenAI, model, {status}",
            )
            for status in (400, 403)
        ),
        pytest.param(400, {"code": "invalid_prompt"}, Reason.CONTENT_FILTERED, None, id="OpenAI, flagged prompt"),
        pytest.param(
            529, {"message": CANARY, "type": "overloaded_error"}, Reason.UPSTREAM_UNAVAILABLE, None, id="overloaded"
        ),
        pytest.param(
            401, {"message": f"Incorrect API key provided: sk-{CANARY}", "code": "invalid_api_key"},
            Reason.UPSTREAM_AUTH_FAILED, None,
            id="OpenAI, key",
        ),
    ],
)  # fmt: skip
def test_a_code_or_type_that_tells_counts(
    status: int, error: dict[str, Any], reason: Reason, param: str | None
) -> None:
    told = error_of(status, error)

    assert (told.reason, told.param) == (reason, param)
    assert told.metadata == {"provider": "acme", "upstream_status": str(status)}
    assert CANARY not in shown(told)


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "0.25"}, 0.25),
        ({"retry_after": "86399"}, 86_399.0),
        ({"retry_after": "86400"}, None),
        ({"retry_after": "99999999999"}, None),
        ({"retry_after": "1e400"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "-inf"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Fri, 21 Nov 2026 23:59:59 GMT"}, None),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "1500", "retry_after": "60"}, 1.5),
        ({"retry_after_ms": "nan", "retry_after": "60"}, 60.0),
        ({"retry_after_ms": "-5", "retry_after": "60"}, 60.0),
        ({"retry_after_ms": "x", "retry_after": "60"}, 60.0),
        ({"retry_after_ms": "86400000", "retry_after": "60"}, 60.0),
    ],
)
def test_a_rate_limit_tells_when_to_come_back_where_the_provider_does(
    sent: dict[str, str], seconds: float | None
) -> None:
    told = retry_after_s(error_of(429, {"message": CANARY}, **sent))

    assert told == seconds
    assert told is None or math.isfinite(told)


@pytest.mark.parametrize(
    ("status", "error"), [(429, {"code": "insufficient_quota"}), (402, {}), (429, {"type": "insufficient_quota"})]
)
def test_an_empty_account_is_no_reason_to_come_back(status: int, error: dict[str, str]) -> None:
    assert retry_after_s(error_of(status, error, retry_after="5")) is None


@pytest.mark.parametrize(
    ("param", "told"),
    [
        ("messages[3].content[0].image_url", "messages[3].content[0].image_url"),
        ("tools.0.function.name", "tools.0.function.name"),
        ("web_search_options", "web_search_options"),
        ("response-format", "response-format"),
        ("a" * 100, "a" * 100),
        ("a" * 101, None),
        ("", None),
        ("0messages", None),
        ("c4n4ry is secret", None),
        ("<script>c4n4ry</script>", None),
        ("messages\nx-c4n4ry: 1", None),
        ("messages\n", None),
        ("c4n4ryé", None),
        ("c4n4ry/..", None),
        (None, None),
        (5, None),
        (["c4n4ry"], None),
        ({"c4n4ry": 1}, None),
    ],
)
@pytest.mark.parametrize("code", ["invalid_value", "content_filter"])
def test_a_param_of_an_unsafe_form_is_dropped(param: Any, told: str | None, code: str) -> None:
    error = error_of(400, {"message": CANARY, "param": param, "code": code})

    assert error.param == told
    assert CANARY not in shown(error)


def test_a_param_of_a_safe_form_stands_in_the_message() -> None:
    assert error_of(400, {"param": "top_k"}).message == (
        "The provider refused the request as wrong (HTTP 400); it names `top_k`."
    )
    assert error_of(422, {}).message == "The provider refused the request as wrong (HTTP 422)."


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"x_request_id": "req_1"}, "req_1"),
        ({"x_groq_request_id": "req_2"}, "req_2"),
        ({"apim_request_id": "1d93fae1-cb8e-4789-8fb6-d26577a3cb77"}, "1d93fae1-cb8e-4789-8fb6-d26577a3cb77"),
        ({"cf_ray": "8c1-OSL"}, "8c1-OSL"),
        ({"x_request_id": "req_1", "cf_ray": "8c1-OSL"}, "req_1"),
        ({"x_request_id": "", "cf_ray": "8c1-OSL"}, "8c1-OSL"),
        ({"x_request_id": "c4n4ry with spaces", "cf_ray": "8c1-OSL"}, "8c1-OSL"),
        ({"x_request_id": "c4n4ry\nx: y"}, None),
        ({"x_request_id": "é"}, None),
        ({"x_request_id": "a" * 129}, None),
        ({"x_request_id": "a" * 128}, "a" * 128),
        ({"server": CANARY}, None),
    ],
)
def test_the_providers_request_id_is_told_where_its_form_is_safe(sent: dict[str, str], told: str | None) -> None:
    error = error_of(500, {"message": CANARY}, **sent)

    expected = {"provider": "acme", "upstream_status": "500"}
    assert error.metadata == (expected if told is None else {**expected, "upstream_request_id": told})
    assert CANARY not in shown(error)


@pytest.mark.parametrize(
    ("reported", "kind", "reason", "metadata"),
    [
        (CANARY, Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(type=CANARY, code=CANARY, param=CANARY), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=200), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=399), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=600), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=-1), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=0), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
        (wire.Error(code=400), Rejected, Reason.UPSTREAM_REJECTED, {"upstream_status": "400"}),
        (wire.Error(code=401), Auth, Reason.UPSTREAM_AUTH_FAILED, {"upstream_status": "401"}),
        (wire.Error(code=402), RateLimited, Reason.UPSTREAM_QUOTA_EXHAUSTED, {"upstream_status": "402"}),
        (wire.Error(code=408), Timeout, Reason.UPSTREAM_TIMEOUT, {"upstream_status": "408"}),
        (wire.Error(code=429), RateLimited, Reason.UPSTREAM_RATE_LIMITED, {"upstream_status": "429"}),
        (wire.Error(code=502), Unavailable, Reason.UPSTREAM_UNAVAILABLE, {"upstream_status": "502"}),
        (wire.Error(code=599), Unavailable, Reason.UPSTREAM_UNAVAILABLE, {"upstream_status": "599"}),
        (wire.Error(status_code=503), Unavailable, Reason.UPSTREAM_UNAVAILABLE, {"upstream_status": "503"}),
        (
            wire.Error(status_code=400, code="tool_use_failed"),
            Rejected,
            Reason.UPSTREAM_REJECTED,
            {"upstream_status": "400"},
        ),
        (wire.Error(code="context_length_exceeded"), Rejected, Reason.CONTEXT_LENGTH_EXCEEDED, {}),
        (wire.Error(type="exceed_context_size_error"), Rejected, Reason.CONTEXT_LENGTH_EXCEEDED, {}),
        (
            wire.Error(code=400, type="exceed_context_size_error"),
            Rejected,
            Reason.CONTEXT_LENGTH_EXCEEDED,
            {"upstream_status": "400"},
        ),
        (wire.Error(code="content_filter"), Rejected, Reason.CONTENT_FILTERED, {}),
        (wire.Error(type="insufficient_quota"), RateLimited, Reason.UPSTREAM_QUOTA_EXHAUSTED, {}),
        (wire.Error(code="server_error", type=CANARY), Interrupted, Reason.UPSTREAM_INTERRUPTED, {}),
    ],
)
def test_an_error_within_an_answer_is_told_as_what_it_is(
    reported: wire.Error | str, kind: type[UpstreamError], reason: Reason, metadata: dict[str, str]
) -> None:
    error = error_within_answer("acme", reported)

    assert (type(error), error.reason) == (kind, reason)
    assert error.metadata == {"provider": "acme", **metadata}
    assert CANARY not in shown(error)


def test_an_error_within_an_answer_gives_no_time_to_wait() -> None:
    assert retry_after_s(error_within_answer("acme", wire.Error(code=429))) is None


def test_errors_do_not_share_their_metadata() -> None:
    first, second = error_of(500, {}), error_of(500, {})
    first.metadata["provider"] = "other"

    assert second.metadata["provider"] == "acme"
