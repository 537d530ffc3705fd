"""What was even, and what was not: figures from the calls that replicas held."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Final

from bench.balancing.replicas import Held
from bench.balancing.traffic import Scenario

_STEP_S: Final = 1.0
_RUSH_S: Final = 5.0
"""Over which a new replica's arrivals are counted."""
_FILLED: Final = 0.8
"""Of the others' open calls: then a new replica carries its share."""


@dataclass(frozen=True)
class Figures:
    """Of one policy in one scenario. What doesn't apply is None."""

    open_peak: float
    """Open calls of the busiest replica by the mean of all; the average over time. 1 is even."""
    open_peak_p95: float
    """The same, which it stays under for 95 % of the time."""
    open_spread: float
    """The coefficient of variation of the replicas' open calls; the average over time. 0 is even."""
    events_peak: float
    """As `open_peak`, of the events that the open calls send."""
    wait_mean_s: float | None = None
    """Until a call had a slot."""
    wait_p99_s: float | None = None
    filled_s: float | None = None
    """Until a new replica had its share, from when it had become healthy."""
    rush: float | None = None
    """Calls that a new replica was given in its worst five seconds, by its fair share."""
    failed: float | None = None
    """The share of calls that were given to the failing replica."""


def measure(scenario: Scenario, held: Sequence[Sequence[Held]]) -> Figures:
    """From each replica's calls; those that a new replica was given are told apart."""
    joins_at_s = scenario.joins_at_s
    start_s = scenario.warm_up_s if joins_at_s is None else max(scenario.warm_up_s, joins_at_s)
    moments = [start_s + _STEP_S * number for number in range(int((scenario.end_s - start_s) / _STEP_S))]
    open_calls = _over_time(held, moments, lambda _: 1.0)
    events = _over_time(held, moments, lambda call: call.events_per_s)
    peaks = [_peak(loads) for loads in open_calls]
    waits = [] if scenario.slots is None else _waits(held, start_s, scenario.end_s)
    return Figures(
        statistics.fmean(peaks),
        _quantile(peaks, 0.95),
        statistics.fmean(_spread(loads) for loads in open_calls),
        statistics.fmean(_peak(loads) for loads in events),
        wait_mean_s=statistics.fmean(waits) if waits else None,
        wait_p99_s=_quantile(waits, 0.99) if waits else None,
        filled_s=None if joins_at_s is None else _filled_s(moments, open_calls),
        failed=_failed(held, start_s) if scenario.is_failing else None,
        rush=None if joins_at_s is None else _rush(scenario, held[-1], moments),
    )


def average(several: Sequence[Figures]) -> Figures:
    """Of several rounds."""
    values: dict[str, float | None] = {}
    for name in (each.name for each in fields(Figures)):
        known = [value for figures in several if (value := getattr(figures, name)) is not None]
        values[name] = statistics.fmean(known) if known else None
    return Figures(**values)  # type: ignore[arg-type]  # the first four are never None


def _over_time(
    held: Sequence[Sequence[Held]], moments: Sequence[float], weight: Callable[[Held], float]
) -> list[list[float]]:
    """At each moment, each replica's load."""
    columns = []
    for calls in held:
        came = _running_sum([(call.came_s, weight(call)) for call in calls])
        ended = _running_sum([(call.ended_s, weight(call)) for call in calls if call.ended_s is not None])
        columns.append([came(moment) - ended(moment) for moment in moments])
    return [list(row) for row in zip(*columns, strict=True)]


def _running_sum(weights: list[tuple[float, float]]) -> Callable[[float], float]:
    """The sum of what came until a moment."""
    weights.sort()
    times = [time_s for time_s, _ in weights]
    sums = [0.0, *accumulate(weight for _, weight in weights)]
    return lambda moment: sums[bisect_right(times, moment)]


def _peak(loads: Sequence[float]) -> float:
    mean = statistics.fmean(loads)
    return max(loads) / mean if mean > 0 else 1.0


def _spread(loads: Sequence[float]) -> float:
    mean = statistics.fmean(loads)
    return statistics.pstdev(loads) / mean if mean > 0 else 0.0


def _waits(held: Sequence[Sequence[Held]], start_s: float, end_s: float) -> list[float]:
    """A call that was still waiting counts until the end."""
    return [
        (end_s if call.began_s is None else call.began_s) - call.came_s
        for calls in held
        for call in calls
        if start_s <= call.came_s < end_s
    ]


def _filled_s(moments: Sequence[float], open_calls: Sequence[Sequence[float]]) -> float | None:
    for moment, loads in zip(moments, open_calls, strict=True):
        if loads[-1] >= _FILLED * statistics.fmean(loads[:-1]):
            return moment - moments[0]
    return None


def _rush(scenario: Scenario, calls: Sequence[Held], moments: Sequence[float]) -> float:
    came = sorted(call.came_s for call in calls)
    most = max(bisect_right(came, moment + _RUSH_S) - bisect_right(came, moment) for moment in moments)
    return most / (scenario.calls_per_s / scenario.replicas * _RUSH_S)


def _failed(held: Sequence[Sequence[Held]], start_s: float) -> float:
    return statistics.fmean(call.has_failed for calls in held for call in calls if call.came_s >= start_s)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(math.floor(len(values) * share), len(values) - 1)]
