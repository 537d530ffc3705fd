"""How long to wait before a request is repeated. Pure."""

from __future__ import annotations

from random import Random

from service.limits import Retries

_LEAST = 0.7
"""The least part of a wait that chance leaves of it."""
_LONGER_BY = 0.1
"""Callers that a provider told the same `retry-after` come back spread over so much more of it."""


def backoff_s(settings: Retries, repeat_number: int, retry_after_s: float | None, random: Random) -> float | None:
    """Seconds to wait at this target, or None where it wants more than `max_backoff_s`.

    Args:
        settings: The model's.
        repeat_number: 1 for the first repeat.
        retry_after_s: What the provider asks for; 0 and less say nothing.
        random: Spreads the callers.
    """
    if retry_after_s is not None and retry_after_s > 0:
        if retry_after_s > settings.max_backoff_s:
            return None
        return min(retry_after_s * random.uniform(1, 1 + _LONGER_BY), settings.max_backoff_s)
    # Never less than that part: each wait is clearly longer than the one before it, whatever chance says.
    return min(settings.backoff_s * 2.0 ** (repeat_number - 1), settings.max_backoff_s) * random.uniform(_LEAST, 1)
