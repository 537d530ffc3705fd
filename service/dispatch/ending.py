"""What an attempt is learnt from: its target's circuit, latency and rest, and the call's journal."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Self

from service.dispatch.call import Attempt, DispatchCall
from service.dispatch.failures import is_breakdown
from service.dispatch.target import TargetState
from service.errors import (
    Auth,
    CircuitOpen,
    ParleyError,
    RateLimited,
    Reason,
    Rejected,
    RequestError,
    Timeout,
    UpstreamError,
)

_OVERDUE: Final = 10
"""A first token is overdue after so many times what half of the calls needed at most,"""
_OVERDUE_S: Final = 1.0
"""but not before this: a fast target may stumble."""
_UNPAID_S: Final = 30.0
"""How long a target whose provider takes no credentials, or no more requests on our account, comes after others."""


class Ending:
    """Begins an attempt, and ends it with what became of it.

    Raises:
        CircuitOpen: It has opened while the slot was waited for.
    """

    __slots__ = ("_attempt", "_call", "_has_begun", "_latency", "_state", "_stream", "_ticket")

    def __init__(self, state: TargetState, call: DispatchCall, attempt: Attempt, *, stream: bool) -> None:
        ticket = state.breaker.admit()
        if ticket is None:
            raise CircuitOpen(state.breaker.retry_in_s)
        self._ticket = ticket
        self._state = state
        self._call = call
        self._attempt = attempt
        self._stream = stream
        self._latency = state.latency(stream=stream)
        self._has_begun = False
        attempt.started = time.monotonic()
        if call.trace is not None:
            attempt.trace = call.trace.attempt(call.request)
        call.journal.attempts.append(attempt)
        call.journal.target = state.target

    def begun(self) -> None:
        """The first token is there."""
        self._has_begun = True
        self._attempt.first_token = now = time.monotonic()
        self._ticket.began()
        self._latency.record(now - self._attempt.started)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        attempt = self._attempt
        attempt.ended = time.monotonic()
        if isinstance(error, ParleyError):
            attempt.outcome = error.reason.value
            self._learn_from(error)
        elif error is None or _is_leaving(error):
            attempt.outcome = "OK" if error is None else "CANCELLED"
        else:
            attempt.outcome = "INTERNAL"
        if is_breakdown(error) or self._was_hanging(error):
            self._ticket.failed()
        elif self._has_begun or isinstance(error, Rejected):
            self._ticket.succeeded()
        else:
            self._ticket.released()

    def _was_hanging(self, error: BaseException | None) -> bool:
        """Whether the caller gave up on a stream that was long overdue: a target that hangs is not kept by that.

        An answer in one piece may take long because it is long.
        """
        usual_s = self._latency.median
        if error is None or self._has_begun or not self._stream or usual_s is None:
            return False
        if not _is_leaving(error) and getattr(error, "reason", None) is not Reason.MAX_TTFT_EXCEEDED:
            return False
        return time.monotonic() - self._attempt.started > max(_OVERDUE * usual_s, _OVERDUE_S)

    def _learn_from(self, error: ParleyError) -> None:
        if isinstance(error, UpstreamError):
            error.metadata.setdefault("provider", self._state.target.provider)
            if self._attempt.trace is not None:
                self._attempt.trace.upstream_status = error.metadata.get("upstream_status")
        elif isinstance(error, RequestError):
            self._call.journal.attempts.remove(self._attempt)  # the adapter refused it: nothing was sent
        is_late = isinstance(error, Timeout) or error.reason is Reason.MAX_TTFT_EXCEEDED
        if is_late and not self._has_begun:
            # It would have taken longer; else a target that always times out would keep the fame of better days.
            self._latency.record(time.monotonic() - self._attempt.started)
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            self._state.cool_down(error.retry_after_s)
        elif isinstance(error, Auth) or error.reason is Reason.UPSTREAM_QUOTA_EXHAUSTED:
            self._state.cool_down(_UNPAID_S)


def _is_leaving(error: BaseException) -> bool:
    """Whether nobody wants the answer any more."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit)
