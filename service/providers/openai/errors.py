"""What a failure that an OpenAI-compatible provider reports means for the caller. Pure.

Nothing that a provider wrote is repeated but identifiers of a safe form (`param`, its request id). Its
text is looked at only where it has no code for what callers have to know.

Source: https://platform.openai.com/docs/guides/error-codes (2026-11-21), and recorded failures of
OpenAI, Groq and OpenRouter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from service.errors import Interrupted, RateLimited, Reason, Rejected, Unavailable, UpstreamError
from service.providers.chat_api import HeaderLookup
from service.providers.failures import error_of_status, metadata_of, retry_after_s
from service.providers.openai import wire
from service.providers.openai.error_body import read_error

Reasons = Mapping[str, Reason]
"""What codes of a dialect mean; see `Dialect.error_reasons`."""

_SAFE_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,99}")
_REQUEST_ID_HEADERS = ("x-request-id", "x-groq-request-id", "apim-request-id", "cf-ray")
_NO_REASONS: Final[Reasons] = {}
_TOO_LONG_STRING: Final = "string_above_max_length"
"""Says that the conversation is too long only where it is said of what a message says: other strings have
limits of their own."""
_SAYINGS: Final = re.compile(r"messages(\[\d+\](\.content.*)?)?")
_REASON_BY_CODE: Final[Reasons] = {
    **dict.fromkeys(("context_length_exceeded", "exceed_context_size_error"), Reason.CONTEXT_LENGTH_EXCEEDED),
    # The last with status 400, of models that reason.
    **dict.fromkeys(("content_filter", "content_policy_violation", "invalid_prompt"), Reason.CONTENT_FILTERED),
    **dict.fromkeys(
        ("insufficient_quota", "billing_hard_limit_reached", "payment_required"), Reason.UPSTREAM_QUOTA_EXHAUSTED
    ),
    # OpenAI's code, also with status 403 or 400; Mistral's type, with 400; Hugging Face's code, likewise.
    **dict.fromkeys(("model_not_found", "invalid_model", "model_not_supported"), Reason.UPSTREAM_MODEL_NOT_FOUND),
}
_REASON_BY_TEXT: Final = (
    # vLLM, DeepSeek, OpenRouter; xAI; vLLM again; Mistral; text-generation-inference and Together.
    (
        re.compile(
            r"maximum (context|prompt) length|longer than the maximum model length of|too large for model with"
            r"|max_new_tokens`? must be <=",
            re.IGNORECASE,
        ),
        Reason.CONTEXT_LENGTH_EXCEEDED,
    ),
    (  # xAI, with status 403; DeepSeek, with status 400
        re.compile(r"violates usage guidelines|content exists risk", re.IGNORECASE),
        Reason.CONTENT_FILTERED,
    ),
    (re.compile(r"incorrect api key", re.IGNORECASE), Reason.UPSTREAM_AUTH_FAILED),  # xAI, with status 400
    (  # DeepSeek; OpenRouter; both with status 400
        re.compile(r"model not exist|is not a valid model id", re.IGNORECASE),
        Reason.UPSTREAM_MODEL_NOT_FOUND,
    ),
)
_MOST_TEXT: Final = 2_000
"""Characters of a provider's text that are looked at."""


def error_of_answer(
    provider: str, status: int, body: bytes, header: HeaderLookup, reasons: Reasons = _NO_REASONS
) -> UpstreamError:
    """The error that an answer with a status other than 200 stands for."""
    error, estimated_s = read_error(body)
    wait_s = retry_after_s(header)
    metadata = metadata_of(provider, status, header, _REQUEST_ID_HEADERS)
    return _classify(status, error, estimated_s if wait_s is None else wait_s, metadata, reasons)


def error_within_answer(provider: str, reported: wire.Error | str, reasons: Reasons = _NO_REASONS) -> UpstreamError:
    """The error that a failure reported within an answer of status 200 stands for."""
    error = reported if isinstance(reported, wire.Error) else wire.Error(message=reported)
    status = error.status_code or (error.code if isinstance(error.code, int) else None)
    metadata = {"provider": provider}
    if status is not None and 400 <= status <= 599:  # noqa: PLR2004 - the HTTP error range
        metadata["upstream_status"] = str(status)
        return _classify(status, error, None, metadata, reasons)
    if _reason_of(400, error, reasons) is not None:
        return _classify(400, error, None, metadata, reasons)
    return Interrupted("The provider reported a failure while it answered.", metadata=metadata)


def _reason_of(status: int, error: wire.Error, reasons: Reasons) -> Reason | None:
    """What the error says beyond its status."""
    inner = error.innererror.get("code") if isinstance(error.innererror, dict) else None
    for name in (str(error.code), str(error.type), str(inner)):
        if name in reasons or name in _REASON_BY_CODE:
            return reasons.get(name) or _REASON_BY_CODE[name]
    if error.code == _TOO_LONG_STRING and isinstance(error.param, str) and _SAYINGS.fullmatch(error.param):
        return Reason.CONTEXT_LENGTH_EXCEEDED
    if isinstance(error.metadata, dict) and error.metadata.get("flagged_input") is not None:
        return Reason.CONTENT_FILTERED  # OpenRouter, with status 403
    if status in {400, 403, 413, 422} and isinstance(error.message, str):
        text = error.message[:_MOST_TEXT]
        return next((reason for pattern, reason in _REASON_BY_TEXT if pattern.search(text)), None)
    return None


def _classify(
    status: int, error: wire.Error, wait_s: float | None, metadata: dict[str, str], reasons: Reasons
) -> UpstreamError:
    param = error.param if isinstance(error.param, str) and _SAFE_PARAM.fullmatch(error.param) else None
    match _reason_of(status, error, reasons):
        case Reason.CONTEXT_LENGTH_EXCEEDED as reason:
            message = "The conversation and the limit of the answer are longer than the model's context."
            return Rejected(reason, message, param="messages", metadata=metadata)
        case Reason.CONTENT_FILTERED as reason:
            message = "The provider's safety system refused the prompt."
            return Rejected(reason, message, param=param, metadata=metadata)
        case Reason.UPSTREAM_QUOTA_EXHAUSTED as reason:
            return RateLimited(reason, "The account at the provider has no credit left.", metadata=metadata)
        case Reason.UPSTREAM_UNAVAILABLE:
            return Unavailable("The provider has no capacity left for now.", retry_after_s=wait_s, metadata=metadata)
        case Reason.UPSTREAM_MODEL_NOT_FOUND:
            status = 404
        case Reason.UPSTREAM_AUTH_FAILED:
            status = 401
    return error_of_status(status, metadata, wait_s=wait_s, param=param)
