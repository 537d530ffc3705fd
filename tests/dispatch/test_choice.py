"""In which order the targets of a model are turned to."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from service.dispatch.choice import ordered
from service.dispatch.target import TargetState
from service.limits import Concurrency, Limits, Policy
from tests.dispatch.clock import Clock
from tests.dispatch.targets import opened, target_state

POLICIES: tuple[Policy, ...] = ("order", "weighted", "least_latency", "least_busy")


class Fleet:
    """Targets named a, b, c…, which share a clock."""

    def __init__(self, *weights: float) -> None:
        self.clock = Clock()
        self.random = Random(7)
        self.states = [
            target_state(name, clock=self.clock, weight=weight)
            for name, weight in zip("abcdef", weights or (1.0, 1.0, 1.0), strict=False)
        ]

    def __getitem__(self, name: str) -> TargetState:
        return next(state for state in self.states if state.target.provider == name)

    def names(self, policy: Policy, *, stream: bool = True) -> str:
        return "".join(
            state.target.provider for state in ordered(self.states, policy, stream=stream, random=self.random)
        )

    def measured(self, **means_s: float) -> Fleet:
        for name, seconds in means_s.items():
            self[name].first_token.record(seconds)
        return self


def test_by_order_is_the_order_of_the_configuration() -> None:
    assert {Fleet().names("order") for _ in range(20)} == {"abc"}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_only_target_is_the_choice(policy: Policy) -> None:
    assert Fleet(0.0).names(policy) == "a"


@pytest.mark.parametrize("policy", POLICIES)
def test_targets_that_cannot_be_asked_come_last_and_are_not_dropped(policy: Policy) -> None:
    fleet = Fleet(1, 1, 1, 1)
    opened(fleet["a"])
    fleet["b"].cool_down(5)
    fleet["d"].is_ready = lambda: False
    for _ in range(50):
        names = fleet.names(policy)
        assert names[:2] == "cb"
        assert sorted(names[2:]) == ["a", "d"]


def test_a_target_counts_again_when_its_time_is_over() -> None:
    fleet = Fleet()
    opened(fleet["a"])
    fleet["b"].cool_down(5)
    assert fleet.names("order") == "cba"
    fleet.clock.advance(5)
    assert fleet.names("order") == "bca"
    fleet.clock.advance(5)
    assert fleet.names("order") == "abc"


def test_by_weight_each_target_is_first_as_often_as_its_weight_says() -> None:
    fleet = Fleet(6, 3, 1)
    seen = Counter(fleet.names("weighted") for _ in range(20_000))
    first = Counter[str]()
    for names, count in seen.items():
        first[names[0]] += count
    # Five standard deviations of 20,000 draws are below 350.
    assert {name: pytest.approx(count, abs=350) for name, count in first.items()} == {
        "a": 12_000,
        "b": 6_000,
        "c": 2000,
    }
    assert seen["abc"] == pytest.approx(20_000 * 0.6 * 0.75, abs=350), "and so are those that are left"


def test_a_target_without_weight_only_stands_in() -> None:
    fleet = Fleet(0, 1, 0, 1)
    assert {fleet.names("weighted") for _ in range(50)} == {"bdac", "dbac"}
    fleet["b"].is_ready = fleet["d"].is_ready = lambda: False
    assert {fleet.names("weighted")[:2] for _ in range(50)} == {"ac"}


async def test_by_load_the_one_with_the_fewest_calls_is_first() -> None:
    fleet = Fleet()
    for name, calls in (("a", 3), ("b", 1), ("c", 2)):
        for _ in range(calls):
            await fleet[name].slots.acquire()
    assert {fleet.names("least_busy") for _ in range(20)} == {"bca"}


async def test_those_that_wait_are_load_too() -> None:
    fleet = Fleet(1, 1)
    fleet.states = [target_state(name, limits=Limits(concurrency=Concurrency(limit=1))) for name in "ab"]
    waiters = [asyncio.create_task(fleet["a"].slots.acquire()) for _ in range(3)]
    await fleet["b"].slots.acquire()
    await asyncio.sleep(0)
    assert (fleet["a"].slots.in_use, fleet["a"].slots.waiting) == (1, 2)
    assert {fleet.names("least_busy") for _ in range(20)} == {"ba"}
    for _ in waiters:
        fleet["a"].slots.release()
    await asyncio.gather(*waiters)


@pytest.mark.parametrize("policy", ["least_busy", "least_latency"])
def test_equal_targets_are_taken_by_chance(policy: Policy) -> None:
    assert len({_names_with(seed, policy) for seed in range(60)}) == 6


def _names_with(seed: int, policy: Policy) -> str:
    fleet = Fleet()
    fleet.random = Random(seed)
    return fleet.names(policy)


def test_by_latency_the_fastest_is_first() -> None:
    fleet = Fleet().measured(a=0.3, b=0.1, c=0.2)
    assert {fleet.names("least_latency") for _ in range(200)} == {"bca"}


def test_streams_and_whole_answers_are_measured_apart() -> None:
    fleet = Fleet(1, 1).measured(a=0.1, b=0.2)
    fleet["a"].whole.record(9)
    fleet["b"].whole.record(5)
    assert (fleet.names("least_latency"), fleet.names("least_latency", stream=False)) == ("ab", "ba")


def test_each_target_is_tried_once_before_any_is_preferred() -> None:
    fleet = Fleet()
    assert {fleet.names("least_latency")[0] for _ in range(3)} == {"a", "b", "c"}


def test_while_a_target_is_tried_first_the_measured_ones_are_preferred() -> None:
    fleet = Fleet().measured(a=0.3, b=0.1)
    assert fleet.names("least_latency") == "cba"
    assert {fleet.names("least_latency") for _ in range(200)} == {"bac"}
    fleet.measured(c=0.05)
    assert fleet.names("least_latency") == "cba"


async def test_while_all_are_tried_first_the_calls_are_spread() -> None:
    fleet = Fleet()
    for _ in range(30):
        first = ordered(fleet.states, "least_latency", stream=True, random=fleet.random)[0]
        await first.slots.acquire()
    assert [state.slots.in_use for state in fleet.states] == [10, 10, 10]


def tries(fleet: Fleet, calls: int, every_s: float) -> int:
    """How many of the calls go first to "b", which was slow and still is."""
    count = 0
    for _ in range(calls):
        fleet.clock.advance(every_s)
        fleet.measured(a=0.1)
        if fleet.names("least_latency")[0] == "b":
            count += 1
            fleet.measured(b=5.0)
    return count


def test_a_slow_target_is_tried_again_now_and_then() -> None:
    # An hour with 10 calls a second: after 30 s it is due, and soon found.
    assert 100 < tries(Fleet(1, 1).measured(a=0.1, b=5.0), 36_000, 0.1) <= 120


def test_a_slow_target_gets_few_of_few_calls() -> None:
    # A call a minute: it is always due, and gets one of twenty.
    assert 60 < tries(Fleet(1, 1).measured(a=0.1, b=5.0), 2000, 60) < 150


def test_only_one_call_tries_a_slow_target_however_many_come_meanwhile() -> None:
    fleet = Fleet(1, 1).measured(a=0.1, b=5.0)
    fleet.clock.advance(31)
    fleet.measured(a=0.1)
    assert Counter(fleet.names("least_latency") for _ in range(10_000)) == {"ab": 9999, "ba": 1}


def test_a_target_that_has_become_fast_is_found() -> None:
    fleet = Fleet(1, 1).measured(a=0.3, b=5.0)
    for _ in range(5000):  # ten minutes
        fleet.clock.advance(0.12)
        first = fleet.names("least_latency")[0]
        fleet.measured(**{first: 0.3 if first == "a" else 0.1})
    assert fleet.names("least_latency") == "ba"


def test_a_target_that_cannot_be_asked_is_not_tried() -> None:
    fleet = Fleet(1, 1).measured(a=0.1)
    opened(fleet["b"])
    assert {fleet.names("least_latency") for _ in range(500)} == {"ab"}
