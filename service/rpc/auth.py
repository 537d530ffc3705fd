"""API keys of callers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from service.errors import Reason, RequestError

_MOST_KEYS = 4


class Keys:
    """The configured keys, by the SHA-256 of each."""

    def __init__(self, digests: Iterable[tuple[str, str]]) -> None:
        """Take pairs of name and digest in hexadecimal."""
        self._digests = [(name, digest.lower()) for name, digest in digests]

    def authenticate(self, metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
        """The name of the key that the call's metadata carries; None where no keys are configured.

        `authorization: Bearer KEY` (any case of "Bearer") and `x-api-key: KEY` are read; where several
        keys are given, the first that is known counts: OpenAI's SDKs always send a bearer. Every
        configured key is compared with each, in constant time, so that timing tells nothing.

        Raises:
            RequestError: API_KEY_INVALID: the key is missing or unknown.
        """
        if not self._digests:
            return None
        given = [hashlib.sha256(key.encode()).hexdigest() for key in _keys_of(metadata)]
        if not given:
            raise RequestError(
                Reason.API_KEY_INVALID,
                "No API key was given: send `authorization: Bearer KEY` or `x-api-key: KEY`.",
            )
        found = None
        for each in given:
            for name, digest in self._digests:
                if hmac.compare_digest(each, digest):
                    found = found or name
        if found is None:
            raise RequestError(Reason.API_KEY_INVALID, "The API key is not known here.")
        return found


def _keys_of(metadata: Sequence[tuple[str, str | bytes]]) -> list[str]:
    keys = []
    for name, value in metadata:
        if not isinstance(value, str):
            continue
        if name == "authorization":
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                keys.append(token.strip())
        elif name == "x-api-key":
            keys.append(value.strip())
    return [key for key in keys if key][:_MOST_KEYS]
