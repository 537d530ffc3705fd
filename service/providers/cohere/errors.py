"""What a failure that Cohere reports means for the caller. Pure.

Cohere tells a text alone, which is not repeated, so its status has to do.
Source: https://docs.cohere.com/reference/errors (2026-11-22).
"""

from __future__ import annotations

from service.errors import UpstreamError
from service.providers.chat_api import HeaderLookup
from service.providers.failures import error_of_status, metadata_of, retry_after_s


def error_of_answer(provider: str, status: int, _body: bytes, header: HeaderLookup) -> UpstreamError:
    """The error that an answer with a status other than 200 stands for."""
    metadata = metadata_of(provider, status, header, ("x-debug-trace-id",))
    return error_of_status(_STATUSES.get(status, status), metadata, wait_s=retry_after_s(header))


_STATUSES = {498: 401, 499: 408}
"""Cohere's own: an invalid token, and a request that it was told to end."""
