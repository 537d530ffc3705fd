"""What the HTTP status of a failed answer means, as far as it is the same for every provider. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from service.errors import (
    Auth,
    Malformed,
    RateLimited,
    Reason,
    Rejected,
    Timeout,
    Unavailable,
    UpstreamError,
)
from service.providers.chat_api import HeaderLookup

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_LONGEST_WAIT_S: Final = 86_400
"""A day; what asks for more is no hint to wait."""


def metadata_of(provider: str, status: int, header: HeaderLookup, request_id_headers: Iterable[str]) -> dict[str, str]:
    """The ErrorInfo metadata of an answer; the first of the headers that has a safe form names the request."""
    metadata = {"provider": provider, "upstream_status": str(status)}
    for name in request_id_headers:
        if (value := header(name)) and _SAFE_ID.fullmatch(value):
            metadata["upstream_request_id"] = value
            break
    return metadata


def retry_after_s(header: HeaderLookup) -> float | None:
    """Seconds to wait, of `retry-after-ms` or a `retry-after` in seconds; dates are not read."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(header(name) or "") * unit_s
        except ValueError:
            continue
        if 0 <= seconds < _LONGEST_WAIT_S:
            return seconds
    return None


def error_of_status(
    status: int, metadata: dict[str, str], *, wait_s: float | None = None, param: str | None = None
) -> UpstreamError:
    """The error that a status by itself stands for.

    Args:
        status: Of the answer, or the one that it reports within.
        metadata: See `ParleyError`.
        wait_s: When to come again, where the provider tells.
        param: Which of the contract's parameters the provider names, where it does.
    """
    match status:
        case 401 | 403:
            return Auth("The provider does not accept the credentials of this service.", metadata=metadata)
        case 402:
            message = "The account at the provider has no credit left."
            return RateLimited(Reason.UPSTREAM_QUOTA_EXHAUSTED, message, metadata=metadata)
        case 404:
            message = "The provider does not know the model, or the path, that is configured for this model id."
            return Rejected(Reason.UPSTREAM_MODEL_NOT_FOUND, message, param="model", metadata=metadata)
        case 408 | 504:
            return Timeout("The provider reports that it could not answer in time.", metadata=metadata)
        case 429:
            message = "The provider's rate limit is reached."
            return RateLimited(Reason.UPSTREAM_RATE_LIMITED, message, retry_after_s=wait_s, metadata=metadata)
        case _ if 400 <= status <= 499:  # noqa: PLR2004 - the client errors
            told = f"; it names `{param}`" if param else ""
            message = f"The provider refused the request as wrong (HTTP {status}){told}."
            return Rejected(Reason.UPSTREAM_REJECTED, message, param=param, metadata=metadata)
        case _ if 500 <= status <= 599:  # noqa: PLR2004 - the server errors
            message = f"The provider can't answer now (HTTP {status})."
            return Unavailable(message, retry_after_s=wait_s, metadata=metadata)
        case _:
            return Malformed(f"The provider answered with the unexpected status {status}.", metadata=metadata)
