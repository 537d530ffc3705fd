"""The metrics of requests to providers: how often, how long, and why more than one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from service.dispatch.call import Attempt
from service.dispatch.dispatcher import HEDGED
from service.telemetry import definitions
from service.telemetry.series import Series, counter, histogram

NO_FAULT: Final = frozenset({"OK", HEDGED, "CANCELLED"})
"""Outcomes that speak against nobody."""


class AttemptMetrics:
    """Takes the attempts of one call after another."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._durations = Series(histogram(definitions.ATTEMPT_DURATION, registry))
        self._attempts = Series(counter(definitions.ATTEMPTS, registry))
        self._retries = Series(counter(definitions.RETRIES, registry))
        self._fallbacks = Series(counter(definitions.FALLBACKS, registry))
        self._hedges = Series(counter(definitions.HEDGES, registry))

    def begin_model(self, model: str) -> None:
        """Have the counters of a model begin at 0."""
        self._retries[model,].inc(0)
        self._fallbacks[model,].inc(0)
        for result in ("won", "lost"):
            self._hedges[model, result].inc(0)

    def take(self, model: str, attempts: Sequence[Attempt], call_ended: float) -> None:
        """Take a call's.

        Args:
            model: That was asked for.
            attempts: In the order in which they began.
            call_ended: When the call did; of an attempt whose end is not known.
        """
        for attempt in attempts:
            labels = (model, str(attempt.target), attempt.outcome or "CANCELLED")
            ended = call_ended if attempt.ended is None else attempt.ended
            self._durations[labels].observe(max(ended - attempt.started, 0.0))
            self._attempts[labels].inc()
        if len(attempts) > 1 or (attempts and attempts[0].is_hedge):
            self._take_repetitions(model, attempts)

    def _take_repetitions(self, model: str, attempts: Sequence[Attempt]) -> None:
        """Why there was more than one; an answer of several turns has one for each at least.

        A hedge may be the only one: of a target whose turn never came.
        """
        failed: Attempt | None = None  # the last of the turn
        for attempt in attempts:
            has_won = attempt.outcome == "OK"
            if attempt.is_hedge:
                is_answer = has_won or (attempt.outcome != HEDGED and attempt.first_token is not None)
                self._hedges[model, "won" if is_answer else "lost"].inc()
            elif failed is not None:
                (self._retries if attempt.target is failed.target else self._fallbacks)[model,].inc()
            if has_won:
                failed = None
            elif not attempt.is_hedge:
                failed = attempt
