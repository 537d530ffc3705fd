"""API keys of callers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from service.errors import Reason, RequestError


class Keys:
    """The configured keys, by the SHA-256 of each."""

    def __init__(self, digests: Iterable[tuple[str, str]]) -> None:
        """Take pairs of name and digest in hexadecimal."""
        self._digests = [(name, digest.lower()) for name, digest in digests]

    def authenticate(self, metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
        """The name of the key that the call's metadata carries; None where no keys are configured.

        `authorization: Bearer KEY` (any case of "Bearer") and `x-api-key: KEY` are read; where both
        are given, the first that is not empty counts. Every configured key is compared, each in
        constant time, so that timing tells nothing.

        Raises:
            RequestError: API_KEY_INVALID: the key is missing or unknown.
        """
        if not self._digests:
            return None
        key = _key_of(metadata)
        if not key:
            raise RequestError(
                Reason.API_KEY_INVALID,
                "No API key was given: send `authorization: Bearer KEY` or `x-api-key: KEY`.",
            )
        given = hashlib.sha256(key.encode()).hexdigest()
        found = None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = name
        if found is None:
            raise RequestError(Reason.API_KEY_INVALID, "The API key is not known here.")
        return found


def _key_of(metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    for name, value in metadata:
        if not isinstance(value, str):
            continue
        if name == "authorization":
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
        elif name == "x-api-key" and value.strip():
            return value.strip()
    return None
