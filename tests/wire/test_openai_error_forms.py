"""The forms in which single APIs report failures, and what their words mean for the caller."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import Auth, RateLimited, Reason, Rejected, Unavailable
from service.providers.openai.dialects import DIALECTS
from service.providers.openai.errors import error_of_answer

CANARY = "c4n4ry"
TOO_LONG = Reason.CONTEXT_LENGTH_EXCEEDED
REJECTED = Reason.UPSTREAM_REJECTED
NO_MODEL = Reason.UPSTREAM_MODEL_NOT_FOUND
FILTERED = Reason.CONTENT_FILTERED


def no_header(_name: str) -> str | None:
    return None


def in_three_seconds(name: str) -> str | None:
    return "3" if name == "retry-after" else None


FORMS: list[tuple[str, str, int, Any, Reason, str | None]] = [
    (
        "Azure, code and inner code",
        "azure",
        400,
        {
            "error": {
                "message": CANARY,
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {}}},
            }
        },
        FILTERED,
        "prompt",
    ),
    ("Azure, inner code alone", "azure", 400, {"error": {"message": CANARY, "code": "BadRequest", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, FILTERED, None),
    ("Azure, no deployment", "azure", 404, {"error": {"code": "DeploymentNotFound", "message": CANARY}}, NO_MODEL, "model"),
    ("Mistral, at the top", "mistral", 400, {"object": "error", "message": CANARY, "type": "invalid_request_error", "param": "top_k", "code": "1500"}, REJECTED, "top_k"),
    ("Mistral, no model", "mistral", 400, {"object": "error", "message": f"Invalid model: {CANARY}", "type": "invalid_model", "code": "1500"}, NO_MODEL, "model"),
    ("Mistral, too long", "mistral", 400, {"object": "error", "message": f"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum {CANARY}", "type": "invalid_request_error", "code": "3051"}, TOO_LONG, "messages"),
    ("Mistral, a member too many", "mistral", 422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "foo"], "msg": CANARY}]}, "type": "invalid_request_error", "code": None}, REJECTED, "messages[0].foo"),
    ("FastAPI, detail", "generic", 422, {"detail": [{"loc": ["body", "temperature"], "msg": CANARY, "type": "less_than_equal"}]}, REJECTED, "temperature"),
    ("FastAPI, text", "generic", 400, {"detail": f"This model's maximum context length is 4096 tokens, {CANARY}"}, TOO_LONG, "messages"),
    ("FastAPI, unsafe place", "generic", 422, {"detail": [{"loc": ["body", f"{CANARY} !"], "msg": CANARY}]}, REJECTED, None),
    ("FastAPI, endless place", "generic", 422, {"detail": [{"loc": ["body", *["x"] * 99], "msg": CANARY}]}, REJECTED, None),
    ("vLLM, at the top", "vllm", 400, {"object": "error", "message": f"This model's maximum context length is 4096 tokens. {CANARY}", "type": "BadRequestError", "param": None, "code": 400}, TOO_LONG, "messages"),
    ("vLLM, within error", "vllm", 404, {"error": {"message": CANARY, "type": "NotFoundError", "param": "model", "code": 404}}, NO_MODEL, "model"),
    ("Cerebras, too long", "cerebras", 400, {"message": CANARY, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}, TOO_LONG, "messages"),
    ("Cerebras, wrong", "cerebras", 422, {"message": CANARY, "type": "invalid_request_error", "param": "tools", "code": "wrong_api_format"}, REJECTED, "tools"),
    ("DeepSeek, too long", "deepseek", 400, {"error": {"message": f"This model's maximum context length is 65536 tokens. {CANARY}", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, TOO_LONG, "messages"),
    ("DeepSeek, no model", "deepseek", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, NO_MODEL, "model"),
    ("OpenRouter, no model", "openrouter", 400, {"error": {"message": f"{CANARY} is not a valid model ID", "code": 400}}, NO_MODEL, "model"),
    ("OpenRouter, flagged", "openrouter", 403, {"error": {"message": CANARY, "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": CANARY, "provider_name": "x"}}}, FILTERED, None),
    ("OpenRouter, too long", "openrouter", 400, {"error": {"message": f"This endpoint's maximum context length is 8192 tokens. {CANARY}", "code": 400}}, TOO_LONG, "messages"),
    ("Together, too long", "together", 422, {"error": {"message": f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. {CANARY}", "type": "invalid_request_error", "param": None, "code": None}}, TOO_LONG, "messages"),
    ("Hugging Face, text", "huggingface", 422, {"error": f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. {CANARY}", "error_type": "validation"}, TOO_LONG, "messages"),
    ("Hugging Face, no model", "huggingface", 400, {"error": {"message": CANARY, "type": "invalid_request_error", "param": "model", "code": "model_not_supported"}}, NO_MODEL, "model"),
    ("xAI, too long", "xai", 400, {"code": "Client specified an invalid argument", "error": f"This model's maximum prompt length is 131072 but {CANARY}"}, TOO_LONG, "messages"),
    ("xAI, wrong", "xai", 400, {"code": "Client specified an invalid argument", "error": CANARY}, REJECTED, None),
    ("xAI, unsafe", "xai", 403, {"code": "The caller does not have permission", "error": f"Content violates usage guidelines. Team: {CANARY}"}, FILTERED, None),
    ("Ollama, no model", "ollama", 404, {"error": {"message": CANARY, "type": "not_found_error", "param": None, "code": None}}, NO_MODEL, "model"),
    ("Ollama, text", "ollama", 400, {"error": CANARY}, REJECTED, None),
    ("vLLM, too long a prompt", "vllm", 400, {"error": {"message": f"The decoder prompt (length 9000) is longer than the maximum model length of 4096. {CANARY}", "code": 400}}, TOO_LONG, "messages"),
    ("DeepSeek, unsafe", "deepseek", 400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, FILTERED, None),
    ("Groq, no room", "groq", 498, {"error": {"message": CANARY, "type": "server_error", "code": "capacity_exceeded"}}, Reason.UPSTREAM_UNAVAILABLE, None),
    ("Z.ai, too long", "zai", 400, {"error": {"code": "1261", "message": CANARY}}, TOO_LONG, "messages"),
    ("Z.ai, unsafe", "zai", 400, {"error": {"code": "1301", "message": CANARY}}, FILTERED, None),
    ("Z.ai, no credit", "zai", 429, {"error": {"code": "1113", "message": CANARY}}, Reason.UPSTREAM_QUOTA_EXHAUSTED, None),
    ("Z.ai, no model", "zai", 400, {"error": {"code": "1211", "message": CANARY}}, NO_MODEL, "model"),
    ("Z.ai, too many", "zai", 429, {"error": {"code": "1302", "message": CANARY}}, Reason.UPSTREAM_RATE_LIMITED, None),
    ("another's code", "generic", 400, {"error": {"code": "1261", "message": CANARY}}, REJECTED, None),
    ("words with a status that tells enough", "generic", 500, {"error": {"message": "maximum context length"}}, Reason.UPSTREAM_UNAVAILABLE, None),
    ("members of wrong types", "generic", 400, {"message": [CANARY], "type": {}, "code": [1], "param": [CANARY], "detail": {"x": CANARY}}, REJECTED, None),
    ("detail of a wrong type", "generic", 400, {"detail": [{"loc": "body", "msg": 5}, CANARY]}, REJECTED, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "body", "reason", "param"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS])  # fmt: skip
def test_a_failure_is_understood_in_each_form(
    name: str, status: int, body: Any, reason: Reason, param: str | None
) -> None:
    error = error_of_answer("acme", status, json.dumps(body).encode(), no_header, DIALECTS[name].error_reasons)

    assert (error.reason, error.param) == (reason, param)
    assert error.metadata == {"provider": "acme", "upstream_status": str(status)}
    assert CANARY not in f"{error!s} {error!r} {error.message} {error.metadata} {error.param} {error.args}"


def test_a_wrong_key_is_the_gateways_problem_whatever_the_status() -> None:
    body = {"code": "Client specified an invalid argument", "error": f"Incorrect API key provided: {CANARY}."}
    error = error_of_answer("acme", 400, json.dumps(body).encode(), no_header)

    assert isinstance(error, Auth)
    assert CANARY not in f"{error!r} {error.metadata}"


def test_a_model_that_is_being_loaded_tells_when_to_come_again() -> None:
    body = json.dumps({"error": f"Model {CANARY} is currently loading", "estimated_time": 20.5}).encode()

    loading = error_of_answer("acme", 503, body, no_header)
    told_twice = error_of_answer("acme", 503, body, in_three_seconds)

    assert isinstance(loading, Unavailable)
    assert (loading.retry_after_s, told_twice.retry_after_s) == (20.5, 3.0)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("86399", 86_399.0),
        ("0.5", 0.5),
        ("86400", None),
        ("1e300", None),
        ("1" + "0" * 400, None),
        ("0", None),
        ("-1", None),
        ("true", None),
        ('"20"', None),
    ],
)
def test_a_time_to_come_again_that_is_none_is_not_told(told: str, seconds: float | None) -> None:
    body = b'{"error":"x","estimated_time":' + told.encode() + b"}"
    error = error_of_answer("acme", 503, body, no_header)

    assert isinstance(error, Unavailable)
    assert error.retry_after_s == seconds


def test_words_far_behind_are_not_looked_for() -> None:
    body = json.dumps({"error": {"message": "x" * 100_000 + "maximum context length"}}).encode()

    assert error_of_answer("acme", 400, body, no_header).reason is REJECTED


def test_the_classes_are_those_of_the_reasons() -> None:
    for status, code, kind in ((400, "1261", Rejected), (400, "1301", Rejected), (400, "1113", RateLimited)):
        body = json.dumps({"error": {"code": code}}).encode()
        assert type(error_of_answer("acme", status, body, no_header, DIALECTS["zai"].error_reasons)) is kind
