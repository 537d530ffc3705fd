"""What a failure that the Messages API reports means for the caller. Pure.

Its texts are looked at, where nothing else tells kinds of failure apart, and never repeated.

Source: https://platform.claude.com/docs/en/api/errors (2026-11-22), and recorded failures.
"""

from __future__ import annotations

import re
from typing import Final

from service.errors import Interrupted, RateLimited, Reason, Rejected, UpstreamError
from service.providers.anthropic import wire
from service.providers.chat_api import HeaderLookup
from service.providers.failures import error_of_status, metadata_of, retry_after_s

_REQUEST_ID_HEADERS: Final = ("request-id", "x-request-id", "cf-ray")
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""For events within a stream, which have no status of their own."""

_TOO_LONG: Final = ("prompt is too long", "exceed context limit", "exceeds the context window")
_NO_CREDIT: Final = ("credit balance is too low", "specified api usage limits")
_NOT_FOUND: Final = ("", "not found", "not_found")
"""Texts that don't say what is missing."""
_FILTERED: Final = ("content filtering policy",)

_PARAM: Final = re.compile(r"[\"`]?([a-z_]{1,32})(\.[a-z_]{1,32})?[a-z0-9_.]*[\"`]?:? ")
"""How the text of a refusal begins where it is about one parameter: `messages.0.content: …`."""
_PARAMS: Final = {
    "messages": "messages",
    "system": "messages",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "thinking": "thinking",
    "output_config.effort": "reasoning_effort",
    "output_config.format": "response_format",
    "metadata": "user",
    "service_tier": "service_tier",
}
"""The contract's parameter that stands behind the provider's."""


def error_of_answer(provider: str, status: int, body: bytes, header: HeaderLookup) -> UpstreamError:
    """The error that an answer with a status other than 200 stands for."""
    metadata = metadata_of(provider, status, header, _REQUEST_ID_HEADERS)
    return _classify(status, _reported(body, metadata), metadata, retry_after_s(header))


def error_within_answer(provider: str, data: bytes) -> UpstreamError:
    """The error that a failure reported within an answer of status 200 stands for."""
    metadata = {"provider": provider}
    error = _reported(data, metadata)
    status = _STATUS_OF_TYPE.get(error.type or "")
    if status is None:
        return Interrupted("The provider reported a failure while it answered.", metadata=metadata)
    metadata["upstream_status"] = str(status)
    return _classify(status, error, metadata, None)


def _reported(body: bytes, metadata: dict[str, str]) -> wire.Error:
    try:
        answer = wire.decode_error(body)
    except wire.UNREADABLE:
        return wire.Error()
    if answer.request_id and _SAFE_ID.fullmatch(answer.request_id):
        metadata.setdefault("upstream_request_id", answer.request_id)
    return answer.error or wire.Error()


def _classify(status: int, error: wire.Error, metadata: dict[str, str], wait_s: float | None) -> UpstreamError:
    text = (error.message or "").lower()
    if 400 <= status <= 499:  # noqa: PLR2004 - the client errors
        if any(mark in text for mark in _TOO_LONG):
            message = "The conversation and the limit of the answer are longer than the model's context."
            return Rejected(Reason.CONTEXT_LENGTH_EXCEEDED, message, param="messages", metadata=metadata)
        if any(mark in text for mark in _NO_CREDIT):
            message = "The account at the provider has no credit left."
            return RateLimited(Reason.UPSTREAM_QUOTA_EXHAUSTED, message, metadata=metadata)
        if any(mark in text for mark in _FILTERED):
            message = "The provider's safety system refused to answer."
            return Rejected(Reason.CONTENT_FILTERED, message, metadata=metadata)
    if status == 404 and text.strip(" .") not in _NOT_FOUND and not text.startswith("model"):  # noqa: PLR2004 - Not Found
        # Not the model is missing, but a file or a container that the request names.
        message = "The provider does not know something that the request refers to, such as a file (HTTP 404)."
        return Rejected(Reason.UPSTREAM_REJECTED, message, metadata=metadata)
    if status == 413:  # noqa: PLR2004 - Content Too Large
        message = "The request is larger than the provider takes (HTTP 413)."
        return Rejected(Reason.UPSTREAM_REJECTED, message, param="messages", metadata=metadata)
    param = None
    if match := _PARAM.match(text):
        name, member = match.groups()
        param = _PARAMS.get(name) or _PARAMS.get(f"{name}{member}")
    return error_of_status(status, metadata, wait_s=wait_s, param=param)
