"""What is told of a target."""

from __future__ import annotations

import asyncio

from service.dispatch.target import TargetSnapshot
from service.limits import Breaker, Concurrency, Limits
from service.routing import Target
from tests.dispatch.clock import Clock
from tests.dispatch.targets import opened, target_state


def test_each_state_is_told() -> None:
    clock = Clock()
    state = target_state("a", clock=clock, limits=Limits(breaker=Breaker(open_s=10)))
    told = [state.snapshot().state]
    state.cool_down(30)
    told.append(state.snapshot().state)
    opened(state)
    told.append(state.snapshot().state)
    clock.advance(10)
    told.append(state.snapshot().state)
    probe = state.breaker.admit()
    assert probe is not None
    told.append(state.snapshot().state)
    probe.succeeded()
    told.append(state.snapshot().state)
    clock.advance(20)
    told.append(state.snapshot().state)
    state.is_ready = lambda: False
    told.append(state.snapshot().state)
    assert told == [
        "available",
        "rate_limited",
        "unavailable",
        "probing",
        "probing",
        "rate_limited",
        "available",
        "unavailable",
    ]


def test_a_target_that_asks_to_come_later_can_still_be_asked() -> None:
    state = target_state("a")
    state.cool_down(30)
    assert (state.is_cooling, state.is_available) == (True, True)


def test_the_longest_of_several_times_to_come_later_holds() -> None:
    clock = Clock()
    state = target_state("a", clock=clock)
    state.cool_down(30)
    state.cool_down(1)
    clock.advance(29)
    assert state.is_cooling


def test_changes_of_the_circuit_are_told() -> None:
    changes: list[str] = []
    state = target_state("a", on_change=lambda: changes.append(state.breaker.state))
    opened(state)
    assert changes == ["open"]


async def test_running_and_waiting_calls_are_counted() -> None:
    state = target_state("a", limits=Limits(concurrency=Concurrency(limit=1)))
    await state.slots.acquire()
    waiter = asyncio.create_task(state.slots.acquire())
    await asyncio.sleep(0)
    assert state.snapshot() == TargetSnapshot(Target("a", "m"), "available", 1, 1)
    state.slots.release()
    await waiter
    state.slots.release()
    assert state.snapshot() == TargetSnapshot(Target("a", "m"), "available", 0, 0)


def test_without_limits_a_target_is_always_available() -> None:
    state = target_state("a", limits=Limits(breaker=None, concurrency=None))
    for _ in range(100):
        ticket = state.breaker.admit()
        assert ticket is not None
        ticket.failed()
    assert state.snapshot().state == "available"
