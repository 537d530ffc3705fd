"""What Gemini's failures mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import RateLimited, Reason, UpstreamError
from service.providers.gemini import GEMINI
from service.providers.gemini.errors import error_within_answer
from service.providers.gemini.wire import Error
from tests.wire.gemini_support import Json

CANARY = "c4n4ry"
RPC = "type.googleapis.com/google.rpc."
DELAY = {"@type": f"{RPC}RetryInfo", "retryDelay": "3.5s"}


def error_of(status: int, body: Any, headers: dict[str, str] | None = None) -> UpstreamError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.error("acme", status, data, (headers or {}).get)


def reported(status: int, name: str, *details: Json, message: str = CANARY) -> UpstreamError:
    error = {"code": status, "status": name, "message": message, "details": list(details)}
    return error_of(status, {"error": error})


def quota(*names: str) -> Json:
    return {"@type": f"{RPC}QuotaFailure", "violations": [{"quotaId": name} for name in names]}


def fields(*names: str) -> Json:
    return {"@type": f"{RPC}BadRequest", "fieldViolations": [{"field": name, "description": CANARY} for name in names]}


KEY = {"@type": f"{RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}


@pytest.mark.parametrize(
    ("error", "reason", "param"),
    [
        (reported(400, "INVALID_ARGUMENT"), Reason.UPSTREAM_REJECTED, None),
        (reported(400, "INVALID_ARGUMENT", KEY), Reason.UPSTREAM_AUTH_FAILED, None),
        (reported(400, "FAILED_PRECONDITION"), Reason.UPSTREAM_AUTH_FAILED, None),
        (reported(401, "UNAUTHENTICATED"), Reason.UPSTREAM_AUTH_FAILED, None),
        (reported(403, "PERMISSION_DENIED"), Reason.UPSTREAM_AUTH_FAILED, None),
        (reported(404, "NOT_FOUND"), Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        *(
            (reported(status, name, message=message), Reason.UPSTREAM_REJECTED, "messages")
            for status, name, message in (
                (
                    403,
                    "PERMISSION_DENIED",
                    f"You do not have permission to access the File {CANARY} or it may not exist.",
                ),
                (400, "FAILED_PRECONDITION", f"The File {CANARY} is not in an ACTIVE state and usage is not allowed."),
                (403, "PERMISSION_DENIED", "Permission denied while accessing input file. Learn more."),
                (404, "NOT_FOUND", f"File {CANARY} not found."),
            )
        ),
        (reported(503, "UNAVAILABLE", message="File x not found"), Reason.UPSTREAM_UNAVAILABLE, None),
        (
            reported(404, "NOT_FOUND", message="models/file-reader is not found for API version v1beta"),
            Reason.UPSTREAM_MODEL_NOT_FOUND,
            "model",
        ),
        (reported(429, "RESOURCE_EXHAUSTED"), Reason.UPSTREAM_RATE_LIMITED, None),
        (
            reported(429, "RESOURCE_EXHAUSTED", quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), DELAY),
            Reason.UPSTREAM_RATE_LIMITED,
            None,
        ),
        (
            reported(429, "RESOURCE_EXHAUSTED", quota("XPerMinute", "RequestsPerDayPerProject-FreeTier"), DELAY),
            Reason.UPSTREAM_QUOTA_EXHAUSTED,
            None,
        ),
        (reported(500, "INTERNAL"), Reason.UPSTREAM_UNAVAILABLE, None),
        (reported(503, "UNAVAILABLE"), Reason.UPSTREAM_UNAVAILABLE, None),
        (reported(504, "DEADLINE_EXCEEDED"), Reason.UPSTREAM_TIMEOUT, None),
        (
            reported(
                400,
                "INVALID_ARGUMENT",
                message="The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
        ),
        (
            reported(
                400,
                "INVALID_ARGUMENT",
                message="The input token count is 40000 but model only supports up to 32768.",
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
            "messages",
        ),
        (reported(400, "INVALID_ARGUMENT", fields("contents[0].parts[1]")), Reason.UPSTREAM_REJECTED, "messages"),
        (
            reported(400, "INVALID_ARGUMENT", fields(CANARY, "generation_config.top_k")),
            Reason.UPSTREAM_REJECTED,
            "top_k",
        ),
        (
            reported(400, "INVALID_ARGUMENT", fields("generationConfig.thinkingConfig.thinkingBudget")),
            Reason.UPSTREAM_REJECTED,
            "reasoning_effort",
        ),
        (
            reported(400, "INVALID_ARGUMENT", fields("tools[0].function_declarations")),
            Reason.UPSTREAM_REJECTED,
            "tools",
        ),
        (reported(400, "INVALID_ARGUMENT", {"@type": 5}, {"@type": KEY["@type"]}), Reason.UPSTREAM_REJECTED, None),
        (error_of(503, b"<html>"), Reason.UPSTREAM_UNAVAILABLE, None),
        (error_of(400, b"[]"), Reason.UPSTREAM_REJECTED, None),
        (error_of(400, b"[" * 100_000), Reason.UPSTREAM_REJECTED, None),
        (error_of(404, [{"error": {"code": 404, "status": "NOT_FOUND"}}]), Reason.UPSTREAM_MODEL_NOT_FOUND, "model"),
        (error_of(429, {"error": {"code": 429}}), Reason.UPSTREAM_RATE_LIMITED, None),
        (error_of(302, b""), Reason.UPSTREAM_MALFORMED, None),
    ],
)
def test_failures_are_classified(error: UpstreamError, reason: Reason, param: str | None) -> None:
    assert (error.reason, error.param) == (reason, param)
    assert error.metadata["provider"] == "acme"
    assert CANARY not in f"{error}{error!r}{error.message}{error.metadata}"


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ([DELAY], {}, 3.5),
        ([DELAY], {"retry-after": "9"}, 3.5),
        ([DELAY | {"retryDelay": "20s"}], {}, 20),
        ([DELAY | {"retryDelay": "soon"}], {"retry-after": "9"}, 9),
        ([DELAY | {"retryDelay": 5}], {}, None),
        ([], {}, None),
    ],
)
def test_the_hint_to_wait_is_read(details: list[Json], headers: dict[str, str], seconds: float | None) -> None:
    error = error_of(429, {"error": {"status": "RESOURCE_EXHAUSTED", "details": details}}, headers)

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds


def test_the_request_is_named() -> None:
    error = error_of(500, b"", {"x-goog-request-id": "abc-1"})

    assert error.metadata == {"provider": "acme", "upstream_status": "500", "upstream_request_id": "abc-1"}


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (Error(code=429, status="RESOURCE_EXHAUSTED"), Reason.UPSTREAM_RATE_LIMITED, "429"),
        (Error(code=503, status="UNAVAILABLE"), Reason.UPSTREAM_UNAVAILABLE, "503"),
        (Error(), Reason.UPSTREAM_INTERRUPTED, None),
        (Error(code=14, message=CANARY), Reason.UPSTREAM_INTERRUPTED, None),
    ],
)
def test_failures_within_answers_are_classified(error: Error, reason: Reason, status: str | None) -> None:
    raised = error_within_answer("acme", error)

    assert raised.reason is reason
    assert raised.metadata == {"provider": "acme"} | ({"upstream_status": status} if status else {})
