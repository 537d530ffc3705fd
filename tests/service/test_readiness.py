"""Readiness: conversations are NOT_SERVING only while no target of any model can be asked, the replica never for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from service.dispatch.breaker import CircuitBreaker
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Current, Served
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.health import CHAT_SERVICE, MODEL_SERVICE, NOT_SERVING, OVERALL, SERVING, Health
from service.limits import Breaker, Limits
from service.providers.provider import Provider
from service.providers.transport import Timeouts
from service.readiness import Readiness
from service.routing import Model, Target


class Ready:
    """Whether an embedded model is."""

    def __init__(self) -> None:
        self.is_so = True


def targets_of(names: str, open_s: float, on_change: Callable[[], None], ready: Ready) -> list[TargetState]:
    limits = Limits(breaker=Breaker(failures=1, open_s=open_s))
    return [
        TargetState(
            target=Target(name, name),
            provider=cast(Provider, None),  # never asked
            limits=limits,
            timeouts=attempt_timeouts(limits, Timeouts()),
            is_ready=lambda: ready.is_so,
            on_change=on_change,
        )
        for name in names
    ]


class Parts:
    """Two models, of two targets and of one."""

    def __init__(self, open_s: float = 100.0) -> None:
        self.health = Health()
        self.current = Current(Served({}))
        self.readiness = Readiness(self.health, self.current)
        self.ready = Ready()
        self.first, self.second, self.third = targets_of("abc", open_s, self.readiness.refresh, self.ready)
        models = {"m": [self.first, self.second], "n": [self.third]}
        self.current.swap(
            Served(
                {
                    name: Dispatcher(Model(name, tuple(state.target for state in states), 0), states)
                    for name, states in models.items()
                }
            )
        )
        self.readiness.refresh()

    async def state(self, service: str = CHAT_SERVICE) -> int:
        answer = await self.health.Check(HealthCheckRequest(service=service), None)  # type: ignore[arg-type]  # it needs no context
        return answer.status

    async def became(self, state: int) -> None:
        async with asyncio.timeout(10):
            while await self.state() != state:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0.005)


def _break(breaker: CircuitBreaker) -> None:
    ticket = breaker.admit()
    assert ticket is not None
    ticket.failed()


async def test_health_is_serving_while_any_target_of_any_model_can_be_asked() -> None:
    parts = Parts()
    seen = [await parts.state()]
    for state in (parts.first, parts.third, parts.second):
        _break(state.breaker)
        seen.append(await parts.state())
    parts.readiness.close()

    assert seen == [SERVING, SERVING, SERVING, NOT_SERVING]


async def test_open_circuits_keep_no_calls_from_this_replica() -> None:
    parts = Parts()
    for state in (parts.first, parts.second, parts.third):
        _break(state.breaker)
    parts.readiness.close()

    assert [await parts.state(name) for name in (OVERALL, MODEL_SERVICE)] == [SERVING, SERVING]


async def test_a_replica_without_a_ready_model_takes_no_calls() -> None:
    parts = Parts()
    parts.ready.is_so = False
    parts.readiness.refresh()

    assert [await parts.state(name) for name in (OVERALL, MODEL_SERVICE)] == [NOT_SERVING, NOT_SERVING]


async def test_health_is_serving_again_when_the_first_circuits_time_is_over() -> None:
    parts = Parts(open_s=0.2)
    began = time.monotonic()
    for state in (parts.first, parts.second, parts.third):
        _break(state.breaker)
    assert await parts.state() == NOT_SERVING

    await parts.became(SERVING)
    assert time.monotonic() - began >= 0.15
    assert parts.first.breaker.is_available


@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_target_that_is_not_ready_counts_as_none_and_sets_no_timer(is_broken: bool) -> None:  # noqa: FBT001 - a column of the table
    parts = Parts(open_s=0.01)
    if is_broken:
        for state in (parts.first, parts.second, parts.third):
            _break(state.breaker)
    parts.ready.is_so = False
    parts.readiness.refresh()
    assert await parts.state() == NOT_SERVING
    assert parts.readiness._timer is None

    parts.ready.is_so = True
    parts.readiness.refresh()
    await parts.became(SERVING)


async def test_nothing_is_looked_at_after_the_end() -> None:
    parts = Parts(open_s=0.05)
    for state in (parts.first, parts.second, parts.third):
        _break(state.breaker)
    parts.readiness.close()
    async with asyncio.timeout(10):
        while not parts.first.is_available:  # noqa: ASYNC110 - time alone decides
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # for a timer that should not be there

    assert await parts.state() == NOT_SERVING


async def test_another_generation_counts_as_soon_as_it_is_in_force() -> None:
    parts = Parts()
    for state in (parts.first, parts.second, parts.third):
        _break(state.breaker)
    fresh = Parts()
    parts.current.swap(fresh.current.served)
    parts.readiness.refresh()

    assert await parts.state() == SERVING
