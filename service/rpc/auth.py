"""API keys of callers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.errors import Reason, RequestError
from service.limits import LeavingPolicy

_MOST_KEYS = 4


@dataclass(frozen=True, slots=True)
class CallerKey:
    """What is configured for the key that a caller showed; not the key itself."""

    name: str
    on_disconnect: LeavingPolicy | None = None
    """What becomes of the provider's answer when the caller goes away; None: as the model has it."""
    tenant: str = ""
    """Whose stored completions the caller sees, and adds to; where none is given, `name`."""
    projects: frozenset[str] | None = None
    """The projects that the caller may ask, and nothing else; None: all projects and models."""

    def __post_init__(self) -> None:
        if not self.tenant:
            object.__setattr__(self, "tenant", self.name)


class Keys:
    """The configured keys, by the SHA-256 of each."""

    def __init__(self, digests: Iterable[tuple[CallerKey | str, str]]) -> None:
        """As `replace`."""
        self._digests: tuple[tuple[CallerKey, str], ...] = ()
        self.replace(digests)

    def replace(self, digests: Iterable[tuple[CallerKey | str, str]]) -> None:
        """Have these keys hold for all calls from now on.

        Args:
            digests: Pairs of a key, or its name where nothing else is configured for it, and its digest in
                hexadecimal.
        """
        self._digests = tuple(
            (CallerKey(key) if isinstance(key, str) else key, digest.lower()) for key, digest in digests
        )

    def authenticate(self, metadata: Sequence[tuple[str, str | bytes]]) -> CallerKey | None:
        """The key that the call's metadata carries; None where no keys are configured.

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
            for key, digest in self._digests:
                if hmac.compare_digest(each, digest):
                    found = found or key
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
