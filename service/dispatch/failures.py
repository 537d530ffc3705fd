"""What follows from a failed attempt, and which of several failures a caller is told. Pure."""

from __future__ import annotations

from typing import Final

from service.errors import (
    Auth,
    CircuitOpen,
    ConcurrencyExhausted,
    Interrupted,
    Malformed,
    ParleyError,
    Reason,
    RequestError,
    Timeout,
    Unavailable,
    UpstreamError,
)

_BREAKDOWNS: Final = (Unavailable, Timeout, Malformed, Interrupted)
_ANOTHERS: Final = frozenset({Reason.UPSTREAM_MODEL_NOT_FOUND, Reason.UPSTREAM_QUOTA_EXHAUSTED})
"""What only this target's provider says, of its models and of our account there."""


def is_breakdown(error: BaseException | None) -> bool:
    """Whether it speaks against the target; else it is the caller's fault, or a limit that passes by itself."""
    return isinstance(error, _BREAKDOWNS)


def is_repeatable(error: ParleyError) -> bool:
    """Whether the same target may do better a moment later."""
    return is_breakdown(error) or error.reason is Reason.UPSTREAM_RATE_LIMITED


def is_switchable(error: ParleyError) -> bool:
    """Whether another target may do better.

    So may it where this one's provider can't follow a parameter; what a provider itself finds wrong with
    a request, another would as well.
    """
    if isinstance(error, RequestError):
        return error.reason is Reason.PARAMETER_UNSUPPORTED
    return (
        is_repeatable(error)
        or isinstance(error, Auth | CircuitOpen | ConcurrencyExhausted)
        or error.reason in _ANOTHERS
    )


class Failures:
    """The failures of one call; what the caller is told in the end."""

    def __init__(self) -> None:
        self._asked: ParleyError | None = None
        self._passed_over: UpstreamError | None = None
        self._unfit: ParleyError | None = None

    def add(self, error: ParleyError) -> None:
        """Take note of one."""
        error.__traceback__ = None  # its frames hold this object, and the request with it
        if isinstance(error, CircuitOpen | ConcurrencyExhausted):
            self._passed_over = _sooner(self._passed_over, error)
        elif isinstance(error, UpstreamError):
            self._asked = error
        else:
            self._unfit = self._unfit or error

    def told(self) -> ParleyError:
        """The last that a provider gave; else why none was asked, with the shortest wait; else the request's fault."""
        error = self._asked or self._passed_over or self._unfit
        if error is None:
            raise RuntimeError("no failure was added")
        return error


def _sooner(known: UpstreamError | None, new: UpstreamError) -> UpstreamError:
    if known is None:
        return new
    return min(known, new, key=lambda error: error.retry_after_s or 0.0)
