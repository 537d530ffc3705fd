"""The caller's deadline: gRPC's own, and the one that a header tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from service.errors import invalid

HEADER: Final = "x-request-timeout-ms"
_LONGEST_MS: Final = 86_400_000
"""A day."""
_DIGITS: Final = re.compile(r"[0-9]{1,8}")
_EARLIER_S: Final = 0.02
"""How long before gRPC's own deadline a call ends, so that the caller still gets to know why. On the way
there and back a millisecond passes, or a few on a busy machine,"""
_EARLIER_SHARE: Final = 0.05
"""but no more of the caller's time than this is taken away."""


def requested_timeout_s(metadata: Sequence[tuple[str, str | bytes]]) -> float | None:
    """What the header says; the smallest, where it is given more than once.

    Raises:
        RequestError: PARAMETER_INVALID, param `x-request-timeout-ms`.
    """
    timeout_ms: int | None = None
    for name, value in metadata:
        if name != HEADER:
            continue
        if not isinstance(value, str) or not _DIGITS.fullmatch(value) or not 0 < int(value) <= _LONGEST_MS:
            raise invalid(HEADER, f"a whole number of milliseconds from 1 to {_LONGEST_MS}")
        timeout_ms = int(value) if timeout_ms is None else min(timeout_ms, int(value))
    return None if timeout_ms is None else timeout_ms / 1000


def sooner(requested_at: float | None, remaining_s: float | None, now: float) -> float | None:
    """The one of the two deadlines that counts, on the clock of `now`.

    Args:
        requested_at: As the header says.
        remaining_s: Until gRPC's own, which the call has to be ahead of.
        now: The time.
    """
    if remaining_s is None:
        return requested_at
    ours = now + remaining_s - min(_EARLIER_S, max(remaining_s, 0) * _EARLIER_SHARE)
    return ours if requested_at is None else min(requested_at, ours)
