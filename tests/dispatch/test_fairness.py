"""What a target is not blamed or left out for, and which limit is told where several end a wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from service.dispatch.call import Deadline
from service.dispatch.latency import LatencyWindow
from service.errors import ParleyError, Reason, Unavailable, UpstreamError
from service.limits import Breaker, Concurrency, Hedge, Limits, Policy, Retries
from service.providers.provider import ProviderCall
from tests.dispatch.clock import Clock
from tests.dispatch.stage import ONCE, Actor, Stage, limited, refused, stage, unavailable
from tests.dispatch.targets import opened

BOTH = pytest.mark.parametrize("stream", [False, True])


@BOTH
async def test_max_ttft_bounds_the_wait_in_the_queue_by_its_own_name(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(retries=ONCE, concurrency=Concurrency(limit=1, queue=5, wait_s=60))
    scene = stage(["never"], limits=limits, deadline=Deadline(first_token_at=time.monotonic() + 0.05))
    await scene.dispatcher.targets[0].slots.acquire()

    with pytest.raises(ParleyError) as caught:
        await scene.ask(stream=stream)

    assert caught.value.reason is Reason.MAX_TTFT_EXCEEDED
    assert scene.asked == [0]
    assert scene.dispatcher.targets[0].slots.waiting == 0


async def test_a_callers_deadline_is_left_to_whoever_has_set_it() -> None:
    limits = Limits(retries=ONCE, concurrency=Concurrency(limit=1, queue=5, wait_s=60))
    scene = stage(["never"], limits=limits, deadline=Deadline(at=time.monotonic() + 0.02))
    await scene.dispatcher.targets[0].slots.acquire()

    with pytest.raises(TimeoutError):  # and not ConcurrencyExhausted
        async with asyncio.timeout(0.2):
            await scene.ask(stream=False)


async def read_slowly(scene: Stage, pause_s: float) -> None:
    async with aclosing(scene.dispatcher.stream(scene.call())) as chunks:
        async for chunk in chunks:
            if chunk.choices[0].delta.content == "one":
                await asyncio.sleep(pause_s)


BRITTLE = Breaker(failures=1)


async def test_an_answer_that_is_read_too_slowly_ends_and_is_not_its_targets_fault() -> None:
    scene = stage(["one two three"], limits=Limits(total_timeout_s=0.2, breaker=BRITTLE, retries=ONCE))

    with pytest.raises(UpstreamError, match="read too slowly") as caught:
        await read_slowly(scene, 0.3)

    assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
    assert scene.actors[0].closed == 1
    assert scene.dispatcher.targets[0].breaker.state == "closed"


async def test_a_total_timeout_that_passes_without_its_readers_doing_is_the_targets_fault() -> None:
    scene = stage(["one " + "SLOW " * 50], limits=Limits(total_timeout_s=0.3, breaker=BRITTLE, retries=ONCE))

    with pytest.raises(UpstreamError, match=r"not complete after 0\.3 s"):
        await read_slowly(scene, 0.01)

    assert scene.dispatcher.targets[0].breaker.state == "open"


HEDGED = Limits(hedge=Hedge(after_s=0.01), retries=ONCE, breaker=Breaker(failures=1, open_s=0.001))


async def test_no_hedge_is_asked_of_a_target_that_asked_to_come_later() -> None:
    scene = stage([0.1], ["never"], limits=HEDGED)
    scene.dispatcher.targets[1].cool_down(60)

    assert await scene.ask(stream=True) == "late"

    assert scene.asked == [1, 0]


async def test_a_target_that_another_call_is_trying_is_kept_for_when_the_first_has_failed() -> None:
    class Failing(Actor):
        async def _play(self, call: ProviderCall) -> str:
            await super()._play(call)
            raise Unavailable("down")

    scene = stage([0.2], ["well"], limits=HEDGED)
    scene.dispatcher.targets[0].provider = Failing([0.2])
    tried = opened(scene.dispatcher.targets[1]).breaker
    while (probe := tried.admit()) is None:  # noqa: ASYNC110 - time lets it through
        await asyncio.sleep(0.001)
    asyncio.get_running_loop().call_later(0.05, probe.succeeded)

    assert await scene.ask(stream=True) == "well"

    assert scene.tried == [("a", "UPSTREAM_UNAVAILABLE"), ("b", "OK")]


async def test_who_asks_to_come_later_is_waited_for_where_the_others_ask_for_longer() -> None:
    scene = stage([limited(0.02), "well"], ["never"], limits=Limits(retries=Retries(budget=1)))
    scene.dispatcher.targets[1].cool_down(60)

    assert await scene.ask(stream=False) == "well"

    assert scene.asked == [2, 0]


async def test_a_target_that_was_slow_long_ago_is_turned_to_again() -> None:
    scene = stage([unavailable], ["well"], limits=Limits(retries=ONCE, breaker=None))
    clock = Clock()
    scene.dispatcher.targets[1].first_token = window = LatencyWindow(clock=clock)
    window.record(60)
    scene.deadline = Deadline(at=time.monotonic() + 5)

    with pytest.raises(Unavailable):
        await scene.ask(stream=True)
    clock.advance(61)
    assert await scene.ask(stream=True) == "well"


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (None, Limits(first_token_timeout_s=0.01, retries=ONCE)),
        ("one STALL", Limits(idle_timeout_s=0.01, retries=ONCE)),
        ("one SLOW SLOW", Limits(total_timeout_s=0.05, retries=ONCE)),
    ],
)
async def test_a_timeout_names_the_provider_that_was_waited_for(said: str | None, limits: Limits) -> None:
    with pytest.raises(ParleyError) as caught:
        await stage([said], limits=limits).ask(stream=True)

    assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
    assert caught.value.metadata["provider"] == "a"


@BOTH
@pytest.mark.parametrize("policy", ["order", "weighted", "least_latency", "least_busy"])
async def test_nobody_waits_in_a_queue_where_another_target_is_free(
    stream: bool,  # noqa: FBT001 - a column of the table
    policy: Policy,
) -> None:
    limits = Limits(policy=policy, retries=ONCE, concurrency=Concurrency(limit=1, queue=5, wait_s=60))
    scene = stage(["never"], ["well"], limits=limits)
    await scene.dispatcher.targets[0].slots.acquire()

    assert await scene.ask(stream=stream) == "well"

    assert scene.asked == [0, 1]


async def test_no_hedge_waits_in_a_queue() -> None:
    limits = Limits(hedge=Hedge(after_s=0.01, budget=1), concurrency=Concurrency(limit=1))
    scene = stage([0.05], ["never"], limits=limits)
    await scene.dispatcher.targets[1].slots.acquire()

    assert await scene.ask(stream=True) == "late"

    assert scene.tried == [("a", "OK")]


async def test_a_target_that_hangs_is_found_out_though_callers_give_up_before_its_timeout() -> None:
    limits = Limits(retries=ONCE, first_token_timeout_s=60, breaker=Breaker(failures=3, open_s=60))
    scene = stage([None], limits=limits)
    target = scene.dispatcher.targets[0]
    for _ in range(20):
        target.first_token.record(0.01)

    for _ in range(3):
        scene.deadline = Deadline(first_token_at=time.monotonic() + 1.1)
        with pytest.raises(ParleyError, match="max_ttft_ms"):
            await scene.ask(stream=True)

    assert target.breaker.state == "open"


async def test_impatient_callers_do_not_make_a_target_hang() -> None:
    scene = stage([None], limits=Limits(retries=ONCE, breaker=BRITTLE))
    target = scene.dispatcher.targets[0]
    for _ in range(20):
        target.first_token.record(0.01)

    for _ in range(3):
        scene.deadline = Deadline(first_token_at=time.monotonic() + 0.05)
        with pytest.raises(ParleyError, match="max_ttft_ms"):
            await scene.ask(stream=True)

    assert target.breaker.state == "closed"


async def test_what_an_adapter_refuses_is_no_request() -> None:
    scene = stage([refused], ["well"])

    assert await scene.ask(stream=False) == "well"

    assert scene.tried == [("b", "OK")]
