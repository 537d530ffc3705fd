"""Has real Envoys spread long and uneven streams over replicas, by several policies, and counts.

The replicas hold calls open and do nothing else. Time runs faster than the machine's (ten times, in most scenarios),
and so do the periods of reports and weights. A scenario's policies run at the same time and are given the same calls.

open: open calls of the busiest replica by the mean of all, averaged over time, and what it stays under for 95 % of the
time; spread: their coefficient of variation; events: as open, of the events that they send. wait: until a call had a
slot. filled: until a new replica had its share; rush: calls that it was given in its worst five seconds, by its fair
share. failed: the share of calls that went to the failing replica.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence

from bench.balancing.measuring import Figures, average, measure
from bench.balancing.policies import POLICIES, Policy
from bench.balancing.reports import Telling
from bench.balancing.running import Outcome, run
from bench.balancing.traffic import SCENARIOS, Scenario, arrivals

_COLUMNS = ("open", "p95", "spread", "events", "wait, s", "p99, s", "filled, s", "rush", "failed")
_LATE_S = 0.2
"""Of the machine's time: two seconds in most scenarios. Where one call in a hundred begins so late, the machine is too busy for these figures."""


def main() -> int:
    """Read the command line and do it."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m bench.balancing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    policies = [policy.name for policy in POLICIES]
    parser.add_argument(
        "--policies", nargs="+", choices=policies, default=policies, metavar="NAME", help=", ".join(policies)
    )
    parser.add_argument("--rounds", type=int, default=1, help="of each scenario, with other calls; averages are told")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next has the next")
    arguments = parser.parse_args()
    for scenario in SCENARIOS:
        if scenario.name in arguments.scenarios:
            chosen = [policy for policy in POLICIES if policy.name in arguments.policies and _fits(policy, scenario)]
            _compare(scenario, chosen, range(arguments.seed, arguments.seed + arguments.rounds))
    return 0


def _fits(policy: Policy, scenario: Scenario) -> bool:
    """Slow start is nothing but the policy itself, where nothing joins."""
    return scenario.joins_at_s is not None or not policy.name.endswith("_slow")


def _compare(scenario: Scenario, policies: list[Policy], seeds: range) -> None:
    _say(f"\n{scenario.name}: {scenario.told}; {scenario.calls_per_s:.1f} calls/s")
    found: dict[str, list[Figures]] = {policy.name: [] for policy in policies}
    for seed in seeds:
        outcomes = asyncio.run(run(scenario, policies, arrivals(scenario, seed)))
        _warn(outcomes, scenario)
        for outcome in outcomes:
            found[outcome.policy.name].append(measure(scenario, [replica.held for replica in outcome.replicas]))
    _say(f"{'':18}" + "".join(f"{column:>10}" for column in _COLUMNS))
    for name, several in found.items():
        _say(f"{name:18}" + _row(average(several)))


def _row(figures: Figures) -> str:
    values = [getattr(figures, name) for name in Figures.__match_args__]
    return "".join(f"{'-' if value is None else format(value, '.2f'):>10}" for value in values)


def _warn(outcomes: Sequence[Outcome], scenario: Scenario) -> None:
    for outcome in outcomes:
        if outcome.failed and not scenario.is_failing:
            _say(f"{outcome.policy.name}: {outcome.failed} calls failed")
        if outcome.policy.telling is not Telling.NOTHING and not outcome.is_weighted:
            _say(f"{outcome.policy.name}: not every gateway has made weights of the reports")
        if outcome.stream_failures:
            _say(f"{outcome.policy.name}: {outcome.stream_failures} streams of reports failed and began anew")
    late_s = max(statistics.quantiles(outcome.late_s, n=100)[-1] for outcome in outcomes)
    if late_s > _LATE_S * scenario.speed:
        _say(f"one call in a hundred began {late_s:.1f} s late: the machine is too busy for these figures")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
