"""Which target answers, after how many attempts, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from service.dispatch.call import Deadline
from service.errors import (
    Auth,
    Interrupted,
    Malformed,
    ParleyError,
    RateLimited,
    Reason,
    Rejected,
    Timeout,
    Unavailable,
)
from service.limits import Breaker, Concurrency, Hedge, Limits, Retries
from service.providers.provider import ProviderCall
from tests.dispatch.stage import ONCE, SOON, Actor, limited, quota, refused, rejected, stage, unavailable

BOTH = pytest.mark.parametrize("stream", [False, True])


@BOTH
@pytest.mark.parametrize(
    "error",
    [
        unavailable,
        lambda: Timeout("slow"),
        lambda: Malformed("odd"),
        lambda: Interrupted("cut"),
    ],
)
async def test_what_may_pass_is_asked_again_at_the_same_target(
    stream: bool,  # noqa: FBT001 - a column of the table
    error: Callable[[], Exception],
) -> None:
    scene = stage([error, "well"], ["never"])

    assert await scene.ask(stream=stream) == "well"

    assert scene.asked == [2, 0]
    assert [outcome for _, outcome in scene.tried][1] == "OK"
    assert str(scene.journal.target) == "a/m"
    assert scene.actors[0].closed == 2


@BOTH
@pytest.mark.parametrize(
    "error",
    [
        lambda: Auth("no"),
        quota,
        lambda: Rejected(Reason.UPSTREAM_MODEL_NOT_FOUND, "which?"),
        refused,
        limited(),
        limited(0.01),
        limited(3600),
    ],
)
async def test_what_only_this_target_refuses_goes_to_the_next_at_once(
    stream: bool,  # noqa: FBT001 - a column of the table
    error: Callable[[], Exception],
) -> None:
    scene = stage([error], ["well"])

    assert await scene.ask(stream=stream) == "well"

    assert scene.asked == [1, 1]
    assert str(scene.journal.target) == "b/m"


@BOTH
@pytest.mark.parametrize("error", [rejected, lambda: Rejected(Reason.CONTENT_FILTERED, "no")])
async def test_what_is_wrong_with_the_request_is_told_at_once(
    stream: bool,  # noqa: FBT001 - a column of the table
    error: Callable[[], Exception],
) -> None:
    scene = stage([error], ["never"])

    with pytest.raises(Rejected):
        await scene.ask(stream=stream)

    assert scene.asked == [1, 0]


@BOTH
@pytest.mark.parametrize("retry_after_s", [None, 0.05])
async def test_a_provider_that_asks_to_come_later_is_waited_for_where_there_is_no_other(
    stream: bool,  # noqa: FBT001 - a column of the table
    retry_after_s: float | None,
) -> None:
    scene = stage([limited(retry_after_s), "well"])

    assert await scene.ask(stream=stream) == "well"

    first, second = scene.actors[0].asked_at
    assert second - first >= (retry_after_s or 0)
    assert [outcome for _, outcome in scene.tried] == ["UPSTREAM_RATE_LIMITED", "OK"]


@BOTH
async def test_the_next_target_answers_where_the_first_fails_for_good(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([unavailable], [unavailable, "well"])

    assert await scene.ask(stream=stream) == "well"

    down = "UPSTREAM_UNAVAILABLE"
    assert scene.tried == [("a", down), ("a", down), ("b", down), ("b", "OK")]


@BOTH
async def test_the_last_failure_is_told_where_nobody_answers(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([unavailable], [limited(3600)])

    with pytest.raises(RateLimited) as caught:
        await scene.ask(stream=stream)

    assert caught.value.retry_after_s == 3600
    assert scene.asked == [2, 1]


async def test_nothing_is_repeated_after_the_first_token() -> None:
    scene = stage(["one two CUT"], ["never"])
    said_so_far = []

    with pytest.raises(Interrupted):
        async with aclosing(scene.dispatcher.stream(scene.call())) as chunks:
            said_so_far.extend([chunk.choices[0].delta.content async for chunk in chunks])

    assert scene.asked == [1, 0]
    assert scene.tried == [("a", "UPSTREAM_INTERRUPTED")]


async def test_an_opening_chunk_is_held_back_and_does_not_keep_a_failure_from_being_repeated() -> None:
    scene = stage([lambda: Interrupted("cut"), "well"])

    async with aclosing(scene.dispatcher.stream(scene.call())) as chunks:
        seen = [chunk async for chunk in chunks]

    assert [chunk.choices[0].delta.role for chunk in seen] == ["assistant", "", ""]
    assert scene.asked == [2]


async def test_the_retry_budget_bounds_repeats_but_not_turning_to_the_next_target() -> None:
    limits = Limits(retries=Retries(max_attempts=2, backoff_s=0.001, budget=0.1), breaker=None)
    scene = stage([unavailable], ["well"], limits=limits)

    for _ in range(100):
        assert await scene.ask(stream=False) == "well"

    assert scene.asked[1] == 100
    assert 100 + 10 <= scene.asked[0] <= 100 + 10 + 10  # a reserve of 10, and a tenth of the calls


async def test_a_broken_target_is_left_alone_and_tried_again_after_a_while() -> None:
    limits = Limits(retries=ONCE, breaker=Breaker(failures=3, open_s=0.2))
    scene = stage([unavailable, unavailable, unavailable, "back"], ["well"], limits=limits)

    for _ in range(10):
        assert await scene.ask(stream=True) == "well"
    assert scene.asked == [3, 10]
    assert scene.dispatcher.is_available

    await asyncio.sleep(0.21)
    assert await scene.ask(stream=True) == "back"


@BOTH
async def test_an_open_circuit_without_another_target_is_told_with_when_to_come_again(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(retries=ONCE, breaker=Breaker(failures=1, open_s=60))
    scene = stage([unavailable], limits=limits)
    with pytest.raises(Unavailable):
        await scene.ask(stream=stream)

    with pytest.raises(ParleyError) as caught:
        await scene.ask(stream=stream)

    assert caught.value.reason is Reason.CIRCUIT_OPEN
    assert 50 < getattr(caught.value, "retry_after_s", 0) <= 60
    assert not scene.dispatcher.is_available
    assert scene.asked == [1]


@BOTH
async def test_a_full_target_passes_calls_on_and_at_last_refuses_them(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(concurrency=Concurrency(limit=1, queue=0), retries=ONCE)
    scene = stage([None], [None], limits=limits)
    held = [asyncio.create_task(scene.ask(stream=stream)) for _ in range(2)]
    while scene.asked != [1, 1]:  # noqa: ASYNC110 - the actors set no event
        await asyncio.sleep(0.001)

    with pytest.raises(ParleyError) as caught:
        await scene.ask(stream=stream)

    assert caught.value.reason is Reason.CONCURRENCY_EXHAUSTED
    for task in held:
        task.cancel()
    await asyncio.wait(held)
    assert [state.slots.in_use for state in scene.dispatcher.targets] == [0, 0]
    assert [actor.closed for actor in scene.actors] == [1, 1]


async def test_a_slow_first_token_is_bounded_per_attempt() -> None:
    scene = stage([None, "well"], limits=Limits(first_token_timeout_s=0.05, retries=SOON))

    assert await scene.ask(stream=True) == "well"

    assert scene.tried == [("a", "UPSTREAM_TIMEOUT"), ("a", "OK")]


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(idle_timeout_s=0.05), "nothing for 0.05 s"),
        (Limits(total_timeout_s=0.1), "not complete after 0.1 s"),
    ],
)
async def test_a_stall_within_an_answer_is_bounded(limits: Limits, told: str) -> None:
    scene = stage(["one STALL"], limits=limits)

    with pytest.raises(Timeout, match=told):
        await scene.ask(stream=True)

    assert scene.actors[0].closed == 1
    assert scene.tried == [("a", "UPSTREAM_TIMEOUT")]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_slow_reader_is_not_taken_for_a_silent_provider() -> None:
    scene = stage(["one SLOW two"], limits=Limits(idle_timeout_s=0.5))
    words = []

    async with aclosing(scene.dispatcher.stream(scene.call())) as chunks:
        async for chunk in chunks:
            words.append(chunk.choices[0].delta.content)
            if words[-1] == "one":
                await asyncio.sleep(0.8)

    assert words == ["", "one", "two", ""]


async def test_a_total_timeout_bounds_a_unary_answer() -> None:
    scene = stage([None], limits=Limits(total_timeout_s=0.05, retries=ONCE))

    with pytest.raises(Timeout, match=r"No answer from the provider within 0\.05 s"):
        await scene.ask(stream=False)


@BOTH
async def test_max_ttft_bounds_all_attempts_together(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    deadline = Deadline(first_token_at=time.monotonic() + 0.15)
    scene = stage([unavailable, None], ["never"], deadline=deadline)

    with pytest.raises(ParleyError) as caught:
        await scene.ask(stream=stream)

    assert caught.value.reason is Reason.MAX_TTFT_EXCEEDED
    assert caught.value.param == "max_ttft_ms"
    assert scene.asked == [2, 0]
    assert scene.dispatcher.targets[0].breaker.state == "closed"


async def test_max_ttft_does_not_bound_what_follows_the_first_token() -> None:
    deadline = Deadline(first_token_at=time.monotonic() + 0.05)
    scene = stage(["one SLOW two"], deadline=deadline)

    assert await scene.ask(stream=True) == "one two"


@BOTH
async def test_a_retry_that_cannot_finish_in_time_is_not_started(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(retries=Retries(max_attempts=5, backoff_s=5, budget=1))
    scene = stage([unavailable], limits=limits, deadline=Deadline(at=time.monotonic() + 1))
    began = time.monotonic()

    with pytest.raises(Unavailable):
        await scene.ask(stream=stream)

    assert time.monotonic() - began < 0.9
    assert scene.asked == [1]


async def test_a_target_that_is_usually_too_slow_is_not_turned_to_in_the_last_moment() -> None:
    scene = stage([unavailable], ["never"], deadline=Deadline(at=time.monotonic() + 5))
    scene.dispatcher.targets[1].whole.record(20)

    with pytest.raises(Unavailable):
        await scene.ask(stream=False)

    assert scene.asked == [2, 0]


@BOTH
async def test_a_hedge_is_asked_when_the_first_is_late_and_the_loser_is_closed(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([None], ["quick"], limits=Limits(hedge=Hedge(after_s=0.02)))

    assert await scene.ask(stream=stream) == "quick"

    assert scene.tried == [("a", "HEDGED"), ("b", "OK")]
    assert [attempt.is_hedge for attempt in scene.journal.attempts] == [False, True]
    assert scene.actors[0].closed == 1
    assert str(scene.journal.target) == "b/m"
    assert [state.slots.in_use for state in scene.dispatcher.targets] == [0, 0]


@BOTH
async def test_a_first_that_is_still_faster_than_its_hedge_wins(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([0.05], [None], limits=Limits(hedge=Hedge(after_s=0.01)))

    assert await scene.ask(stream=stream) == "late"

    assert scene.tried == [("a", "OK"), ("b", "HEDGED")]
    assert str(scene.journal.target) == "a/m"
    assert scene.actors[1].closed == 1


async def test_a_hedge_waits_for_the_targets_own_p95() -> None:
    scene = stage([0.01], ["never"], limits=Limits(hedge=Hedge(budget=1)))
    for _ in range(20):
        scene.dispatcher.targets[0].first_token.record(5)

    assert await scene.ask(stream=True) == "late"

    assert scene.asked == [1, 0]


async def test_nothing_is_hedged_before_enough_is_known() -> None:
    scene = stage([0.05], ["never"], limits=Limits(hedge=Hedge(budget=1)))

    assert await scene.ask(stream=True) == "late"

    assert scene.asked == [1, 0]


async def test_a_failure_while_hedged_leaves_the_other_to_answer() -> None:
    slow_failure = 0.05

    class Failing(Actor):
        async def _play(self, call: ProviderCall) -> str:
            await super()._play(call)
            raise Unavailable("down")

    scene = stage([slow_failure], [0.2], limits=Limits(hedge=Hedge(after_s=0.01), retries=ONCE))
    scene.dispatcher.targets[0].provider = Failing([slow_failure])

    assert await scene.ask(stream=True) == "late"

    assert scene.tried == [("a", "UPSTREAM_UNAVAILABLE"), ("b", "OK")]


async def test_the_hedge_budget_bounds_second_requests() -> None:
    limits = Limits(hedge=Hedge(after_s=0.001, budget=0.1), concurrency=None)
    scene = stage([0.02], [None], limits=limits)

    for _ in range(60):
        assert await scene.ask(stream=True) == "late"

    assert 10 <= scene.asked[1] <= 10 + 6


@BOTH
async def test_whoever_leaves_amid_a_hedge_takes_both_along(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([None], [None], limits=Limits(hedge=Hedge(after_s=0.001)))
    before = asyncio.all_tasks()
    call = asyncio.create_task(scene.ask(stream=stream))
    while scene.asked != [1, 1]:  # noqa: ASYNC110 - the actors set no event
        await asyncio.sleep(0.001)

    call.cancel()
    await asyncio.wait({call})

    assert call.cancelled()
    assert [actor.closed for actor in scene.actors] == [1, 1]
    assert [state.slots.in_use for state in scene.dispatcher.targets] == [0, 0]
    assert asyncio.all_tasks() == before
    assert [state.breaker.state for state in scene.dispatcher.targets] == ["closed", "closed"]


@BOTH
async def test_nothing_is_begun_for_a_caller_who_has_gone(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    scene = stage([unavailable], ["never"])
    scene.journal.is_abandoned = True

    with pytest.raises(Unavailable):
        await scene.ask(stream=stream)

    assert scene.asked == [1, 0]


async def test_whoever_leaves_during_the_backoff_is_not_asked_for_again() -> None:
    scene = stage([unavailable], limits=Limits(retries=Retries(backoff_s=8)))
    call = asyncio.create_task(scene.ask(stream=True))
    while not scene.tried or scene.tried[0][1] is None:  # noqa: ASYNC110 - the actors set no event
        await asyncio.sleep(0.001)

    call.cancel()
    await asyncio.wait({call})

    assert call.cancelled()
    assert scene.asked == [1]


async def test_whoever_leaves_the_queue_leaves_nothing() -> None:
    scene = stage([None], limits=Limits(concurrency=Concurrency(limit=1, wait_s=60)))
    first = asyncio.create_task(scene.ask(stream=True))
    second = asyncio.create_task(scene.ask(stream=True))
    slots = scene.dispatcher.targets[0].slots
    while slots.waiting != 1:  # noqa: ASYNC110 - the queue sets no event
        await asyncio.sleep(0.001)

    second.cancel()
    await asyncio.wait({second})

    assert second.cancelled()
    assert (slots.waiting, slots.in_use) == (0, 1)
    first.cancel()
    await asyncio.wait({first})
    assert slots.in_use == 0


async def test_a_stream_that_is_closed_early_gives_its_slot_back_and_is_no_failure() -> None:
    scene = stage(["one two three"], limits=Limits(breaker=Breaker(failures=1), concurrency=Concurrency(limit=1)))

    async with aclosing(scene.dispatcher.stream(scene.call())) as chunks:
        async for _ in chunks:
            break

    assert scene.dispatcher.targets[0].slots.in_use == 0
    assert scene.actors[0].closed == 1
    assert scene.tried == [("a", "CANCELLED")]
    assert scene.dispatcher.targets[0].breaker.state == "closed"


async def test_a_provider_that_asks_for_time_is_asked_last_for_that_long() -> None:
    scene = stage([limited(3600)], ["well"], limits=Limits(retries=ONCE))

    for _ in range(3):
        assert await scene.ask(stream=True) == "well"

    assert scene.asked == [1, 3]
    assert scene.dispatcher.targets[0].snapshot().state == "rate_limited"


@pytest.mark.parametrize("error", [lambda: Auth("no"), quota])
async def test_a_target_without_credit_or_credentials_is_asked_last_for_a_while(
    error: Callable[[], Exception],
) -> None:
    scene = stage([error], ["well"])

    for _ in range(3):
        assert await scene.ask(stream=True) == "well"

    assert scene.asked == [1, 3]


@BOTH
async def test_a_target_that_times_out_is_no_longer_taken_for_fast(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(policy="least_latency", first_token_timeout_s=0.1, total_timeout_s=0.1, retries=ONCE, breaker=None)
    scene = stage([None], ["well"], limits=limits)
    fast, slow = (state.latency(stream=stream) for state in scene.dispatcher.targets)
    fast.record(0.001)
    slow.record(0.02)

    for _ in range(30):
        await scene.ask(stream=stream)

    assert scene.asked[0] < 10


async def test_an_answer_that_the_request_is_wrong_proves_that_a_target_is_back() -> None:
    limits = Limits(retries=ONCE, breaker=Breaker(failures=1, open_s=0.01))
    scene = stage([unavailable, rejected], limits=limits)
    with pytest.raises(Unavailable):
        await scene.ask(stream=True)
    await asyncio.sleep(0.02)

    with pytest.raises(Rejected):
        await scene.ask(stream=True)

    assert scene.dispatcher.targets[0].breaker.state == "closed"


async def test_what_was_left_out_for_the_answering_target_is_told_and_nothing_else() -> None:
    class Dropping(Actor):
        async def _play(self, call: ProviderCall) -> str:
            call.omissions.dropped.append(f"for_{len(self.acts)}")
            return await super()._play(call)

    scene = stage([unavailable], ["well"], limits=Limits(retries=ONCE))
    scene.dispatcher.targets[0].provider = Dropping([unavailable])
    scene.dispatcher.targets[1].provider = Dropping(["x", "well"])

    await scene.ask(stream=True)

    assert scene.journal.dropped == ["for_2"]
