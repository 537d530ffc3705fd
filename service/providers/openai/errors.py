"""What a failure that an OpenAI-compatible provider reports means for the caller. Pure.

Nothing that a provider wrote is repeated but identifiers of a safe form (`param`, its request id).

Source: https://platform.openai.com/docs/guides/error-codes (2026-11-21), and recorded failures of
OpenAI, Groq and OpenRouter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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

HeaderLookup = Callable[[str], str | None]

_SAFE_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,99}")
_SAFE_ID = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_CONTEXT_CODES = {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
_FILTER_CODES = {"content_filter", "content_policy_violation"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "payment_required"}
_REQUEST_ID_HEADERS = ("x-request-id", "x-groq-request-id", "apim-request-id", "cf-ray")


def error_of_answer(provider: str, status: int, body: bytes, header: HeaderLookup) -> UpstreamError:
    """The error that an answer with a status other than 200 stands for."""
    try:
        reported = wire.decode_error(body).error
    except wire.UNREADABLE:
        reported = None
    metadata = {"provider": provider, "upstream_status": str(status)}
    for name in _REQUEST_ID_HEADERS:
        if (value := header(name)) and _SAFE_ID.fullmatch(value):
            metadata["upstream_request_id"] = value
            break
    error = reported if isinstance(reported, wire.Error) else wire.Error()
    return _classify(status, error, _retry_after_s(header), metadata)


def error_within_answer(provider: str, reported: wire.Error | str) -> UpstreamError:
    """The error that a failure reported within an answer of status 200 stands for."""
    error = reported if isinstance(reported, wire.Error) else wire.Error()
    status = error.status_code or (error.code if isinstance(error.code, int) else None)
    metadata = {"provider": provider}
    if status is not None and 400 <= status <= 599:  # noqa: PLR2004 - the HTTP error range
        metadata["upstream_status"] = str(status)
        return _classify(status, error, None, metadata)
    if {error.code, error.type} & (_CONTEXT_CODES | _FILTER_CODES | _QUOTA_CODES):
        return _classify(400, error, None, metadata)
    return Interrupted("The provider reported a failure while it answered.", metadata=metadata)


def _classify(status: int, error: wire.Error, retry_after_s: float | None, metadata: dict[str, str]) -> UpstreamError:
    names = {str(error.code), str(error.type)}
    param = error.param if isinstance(error.param, str) and _SAFE_PARAM.fullmatch(error.param) else None
    if names & _CONTEXT_CODES:
        message = "The conversation and the limit of the answer are longer than the model's context."
        return Rejected(Reason.CONTEXT_LENGTH_EXCEEDED, message, param="messages", metadata=metadata)
    if names & _FILTER_CODES:
        message = "The provider's safety system refused the prompt."
        return Rejected(Reason.CONTENT_FILTERED, message, param=param, metadata=metadata)
    if names & _QUOTA_CODES or status == 402:  # noqa: PLR2004 - Payment Required
        message = "The account at the provider has no credit left."
        return RateLimited(Reason.UPSTREAM_QUOTA_EXHAUSTED, message, metadata=metadata)
    match status:
        case 401 | 403:
            return Auth("The provider does not accept the credentials of this service.", metadata=metadata)
        case 404:
            message = "The provider does not know the model, or the path, that is configured for this model id."
            return Rejected(Reason.UPSTREAM_MODEL_NOT_FOUND, message, param="model", metadata=metadata)
        case 408 | 504:
            return Timeout("The provider reports that it could not answer in time.", metadata=metadata)
        case 429:
            message = "The provider's rate limit is reached."
            return RateLimited(Reason.UPSTREAM_RATE_LIMITED, message, retry_after_s=retry_after_s, metadata=metadata)
        case _ if 400 <= status <= 499:  # noqa: PLR2004 - the client errors
            told = f"; it names `{param}`" if param else ""
            message = f"The provider refused the request as wrong (HTTP {status}){told}."
            return Rejected(Reason.UPSTREAM_REJECTED, message, param=param, metadata=metadata)
        case _ if 500 <= status <= 599:  # noqa: PLR2004 - the server errors
            message = f"The provider can't answer now (HTTP {status})."
            return Unavailable(message, retry_after_s=retry_after_s, metadata=metadata)
        case _:
            return Malformed(f"The provider answered with the unexpected status {status}.", metadata=metadata)


def _retry_after_s(header: HeaderLookup) -> float | None:
    """Seconds to wait, of `retry-after-ms` or a `retry-after` in seconds; dates are not read."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(header(name) or "") * unit_s
        except ValueError:
            continue
        if 0 <= seconds < 86_400:  # noqa: PLR2004 - a day; what asks for more is no hint to wait
            return seconds
    return None
