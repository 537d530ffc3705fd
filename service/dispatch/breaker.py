"""Leaves a broken target alone for a while. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from service.limits import Breaker

State = Literal["closed", "open", "half_open"]
_Event = Literal["began", "succeeded", "failed", "released"]

_BUCKETS = 10
"""Parts of the window of the error rate: it forgets in steps of a tenth."""
_LONGEST_FACTOR = 8
"""`open_s` doubles with each failed probe up to this: a target that is back is noticed within 80 s by default."""
_PROBE_S = 1.0
"""When to come again while a probe is out: the shortest time that `retry-after` can say."""


class Ticket:
    """Leave to ask the target, to be settled by one of `succeeded`, `failed` and `released`.

    Only the first of them counts, so that `released` may stand in a `finally`. A probe that is never settled
    would keep all calls from the target.
    """

    __slots__ = ("_report", "era")

    def __init__(self, report: Callable[[Ticket, _Event], None], era: int) -> None:
        self.era = era
        self._report: Callable[[Ticket, _Event], None] | None = report

    def began(self) -> None:
        """The target has begun to answer. A probe closes the circuit with it: others need not wait for its end."""
        if self._report is not None:
            self._report(self, "began")

    def succeeded(self) -> None:
        """The target has answered, if only that the request is wrong."""
        self._settle("succeeded")

    def failed(self) -> None:
        """The target is to blame."""
        self._settle("failed")

    def released(self) -> None:
        """Nothing was learnt of the target: the call was cancelled, or asked to come later."""
        self._settle("released")

    def _settle(self, event: _Event) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(self, event)


class CircuitBreaker:
    """Closed until a target fails too often, then open; after a time single probes tell whether it works again.

    Args:
        settings: None for a circuit that never opens.
        clock: Seconds, never running backwards.
        on_change: Called when `state` has changed. Time alone changes no state: `available_at` tells when an
            open circuit lets a probe through.
    """

    def __init__(
        self,
        settings: Breaker | None,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._state: State = "closed"
        self._era = 0  # counts the changes of state: what a ticket of an earlier era reports is out of date
        self._failures_in_a_row = 0
        self._window = _Window(settings.window_s, clock) if settings else None
        self._factor = 1
        self._available_at = 0.0
        self._is_probe_out = False

    @property
    def state(self) -> State:
        """As the last call left it."""
        return self._state

    @property
    def available_at(self) -> float | None:
        """When the open circuit lets a probe through, by the clock; None where it is not open."""
        return self._available_at if self._state == "open" else None

    @property
    def is_available(self) -> bool:
        """Whether calls may be let through: false only while the circuit is open and its time is not over."""
        return self._state != "open" or self._clock() >= self._available_at

    @property
    def retry_in_s(self) -> float:
        """In how many seconds a call may be let through; 0 where one would be now."""
        if self._state == "open":
            return max(0.0, self._available_at - self._clock())
        return _PROBE_S if self._is_probe_out else 0.0

    def admit(self) -> Ticket | None:
        """Leave to ask the target now, or None."""
        if not self.is_available or self._is_probe_out:
            return None
        if self._state == "open":
            self._change("half_open")
        self._is_probe_out = self._state == "half_open"
        return Ticket(self._take, self._era)

    def _take(self, ticket: Ticket, event: _Event) -> None:
        if ticket.era != self._era:  # admitted before the circuit opened: it neither closes it nor opens it longer
            return
        if self._state == "half_open":
            self._take_of_probe(event)
            ticket.era = self._era  # where it has only begun, its end counts as any other call's
        elif event == "succeeded":
            self._count(is_failure=False)
        elif event == "failed":
            self._count(is_failure=True)

    def _take_of_probe(self, event: _Event) -> None:
        self._is_probe_out = False
        if event == "failed":
            self._factor = min(2 * self._factor, _LONGEST_FACTOR)
            self._open()
        elif event != "released":
            self._factor = 1
            self._failures_in_a_row = 0
            if self._window is not None:
                self._window.clear()
            self._change("closed")

    def _count(self, *, is_failure: bool) -> None:
        if self._settings is None or self._window is None:
            return
        self._window.add(is_failure=is_failure)
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_failure else 0
        if not is_failure:
            return
        calls, failures = self._window.calls, self._window.failures
        is_rate_high = calls >= self._settings.min_calls and failures >= self._settings.error_rate * calls
        if is_rate_high or self._failures_in_a_row >= self._settings.failures:
            self._open()

    def _open(self) -> None:
        if self._settings is not None:
            self._available_at = self._clock() + self._settings.open_s * self._factor
            self._change("open")

    def _change(self, state: State) -> None:
        self._state = state
        self._era += 1
        self._on_change()


class _Window:
    """Calls and failures of the last seconds, in buckets: a call costs the same however many there were."""

    def __init__(self, span_s: float, clock: Callable[[], float]) -> None:
        self._width_s = span_s / _BUCKETS
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        self._calls = [0] * _BUCKETS
        self._failures = [0] * _BUCKETS
        self._number = self._number_now()
        self.calls = 0
        self.failures = 0

    def add(self, *, is_failure: bool) -> None:
        """Count a call, and forget those that are too old: `calls` and `failures` are right after it."""
        self._forget()
        place = self._number % _BUCKETS
        self._calls[place] += 1
        self._failures[place] += is_failure
        self.calls += 1
        self.failures += is_failure

    def _forget(self) -> None:
        last, self._number = self._number, self._number_now()
        for number in range(max(last, self._number - _BUCKETS) + 1, self._number + 1):
            place = number % _BUCKETS
            self.calls -= self._calls[place]
            self.failures -= self._failures[place]
            self._calls[place] = self._failures[place] = 0

    def _number_now(self) -> int:
        return int(self._clock() // self._width_s)
