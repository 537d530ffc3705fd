"""How many calls are let through, who waits, and that no slot is ever lost."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dispatch.slots import Slots
from service.errors import ConcurrencyExhausted
from service.limits import Concurrency
from tests.dispatch.clock import Clock

AT_ONCE = 0.01
"""Seconds after which a test wants to see someone give up."""


def limited(limit: int = 1, queue: int = 100, wait_s: float = 60.0) -> Concurrency:
    return Concurrency(limit=limit, queue=queue, wait_s=wait_s)


async def queued(slots: Slots, count: int = 1) -> list[asyncio.Task[None]]:
    """That many tasks which have come to wait, in this order."""
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(slots.acquire()))
        await asyncio.sleep(0)  # it runs, and comes to wait
    assert slots.waiting >= count
    return tasks


async def test_as_many_as_the_limit_are_let_through_at_once() -> None:
    slots = Slots(limited(3))
    for _ in range(3):
        await slots.acquire()
    (waiter,) = await queued(slots)
    assert (slots.in_use, slots.waiting, waiter.done()) == (3, 1, False)
    slots.release()
    await waiter
    assert (slots.in_use, slots.waiting) == (3, 0)


async def test_a_free_slot_is_taken_without_another_task_running() -> None:
    slots = Slots(limited())
    ran: list[str] = []
    asyncio.get_running_loop().call_soon(ran.append, "another")
    await slots.acquire()
    assert (slots.in_use, ran) == (1, [])


async def test_who_has_no_time_to_wait_is_refused_without_another_task_running() -> None:
    slots = Slots(limited())
    await slots.acquire()
    ran: list[str] = []
    asyncio.get_running_loop().call_soon(ran.append, "another")
    with pytest.raises(TimeoutError):
        await slots.acquire(wait_until=0)
    assert ran == []


async def test_who_came_first_is_let_through_first() -> None:
    slots = Slots(limited())
    await slots.acquire()
    tasks = await queued(slots, 5)
    order: list[int] = []
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _task, number=number: order.append(number))  # type: ignore[misc]
    for _ in tasks:
        slots.release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_nobody_overtakes_the_queue() -> None:
    slots = Slots(limited())
    await slots.acquire()
    (first,) = await queued(slots)
    slots.release()  # handed over, though the waiter has not run yet
    with pytest.raises(TimeoutError):
        await slots.acquire(wait_until=0)
    await first
    assert slots.in_use == 1


async def test_a_full_queue_refuses_at_once() -> None:
    slots = Slots(limited(queue=2))
    await slots.acquire()
    tasks = await queued(slots, 2)
    with pytest.raises(ConcurrencyExhausted):
        await slots.acquire()
    assert slots.waiting == 2
    for _ in range(3):
        slots.release()
    await asyncio.gather(*tasks)
    assert slots.in_use == 0


async def test_without_a_queue_there_is_no_waiting() -> None:
    slots = Slots(limited(queue=0))
    await slots.acquire()
    with pytest.raises(ConcurrencyExhausted):
        await slots.acquire()


@pytest.mark.parametrize(
    ("wait_s", "left_s", "error"),
    [
        (AT_ONCE, None, ConcurrencyExhausted),
        (60.0, AT_ONCE, TimeoutError),
        (AT_ONCE, 60.0, ConcurrencyExhausted),
    ],
)
async def test_the_shorter_limit_ends_the_wait_and_is_told(
    wait_s: float, left_s: float | None, error: type[Exception]
) -> None:
    clock = Clock()
    slots = Slots(limited(wait_s=wait_s), clock)
    await slots.acquire()
    async with asyncio.timeout(10):
        with pytest.raises(error):
            await slots.acquire(None if left_s is None else clock.now + left_s)
    assert (slots.in_use, slots.waiting) == (1, 0)
    slots.release()
    assert slots.in_use == 0


async def test_with_no_time_left_a_free_slot_is_still_taken() -> None:
    clock = Clock()
    slots = Slots(limited(), clock)
    await slots.acquire(wait_until=clock.now - 1)
    with pytest.raises(TimeoutError):
        await slots.acquire(wait_until=clock.now - 1)
    assert (slots.in_use, slots.waiting) == (1, 0)


async def test_who_is_cancelled_while_waiting_leaves_nothing() -> None:
    slots = Slots(limited())
    await slots.acquire()
    first, second, third = await queued(slots, 3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (slots.in_use, slots.waiting) == (1, 2)
    slots.release()
    slots.release()
    await asyncio.gather(first, third)
    slots.release()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_a_slot_that_was_handed_to_someone_cancelled_in_the_same_tick_goes_to_the_next() -> None:
    slots = Slots(limited())
    await slots.acquire()
    first, second = await queued(slots, 2)
    slots.release()
    first.cancel()  # its future has the slot, its task has not run
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 10)
    assert (slots.in_use, slots.waiting) == (1, 0)


async def test_a_slot_is_not_handed_to_someone_who_was_cancelled_just_before() -> None:
    slots = Slots(limited())
    await slots.acquire()
    first, second = await queued(slots, 2)
    first.cancel()  # its task has not run, so it still stands in the queue
    slots.release()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 10)
    assert (slots.in_use, slots.waiting) == (1, 0)


async def test_a_slot_that_nobody_is_left_for_is_free() -> None:
    slots = Slots(limited())
    await slots.acquire()
    (waiter,) = await queued(slots)
    slots.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_a_slot_that_was_handed_over_as_the_wait_ended_is_kept() -> None:
    slots = Slots(limited())
    await slots.acquire()
    (waiter,) = await queued(slots)
    (future,) = slots._queue
    slots.release()
    slots._give_up(future)  # what the timer does that fires in the same tick
    await waiter
    assert (slots.in_use, slots.waiting) == (1, 0)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_the_end_of_a_wait_leaves_no_timer(
    monkeypatch: pytest.MonkeyPatch,
    is_cancelled: bool,  # noqa: FBT001 - a column of the table
) -> None:
    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*args, **kwargs))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    slots = Slots(limited())
    await slots.acquire()
    (waiter,) = await queued(slots)
    if is_cancelled:
        waiter.cancel()
    slots.release()
    await asyncio.wait([waiter])
    assert [timer.cancelled() for timer in timers] == [True]


async def test_without_settings_it_counts_and_lets_everything_through() -> None:
    slots = Slots(None)
    for _ in range(5000):
        await slots.acquire()
    assert (slots.in_use, slots.waiting) == (5000, 0)
    slots.release()
    assert slots.in_use == 4999


async def refused(slots: Slots) -> float:
    with pytest.raises(ConcurrencyExhausted) as caught:
        await slots.acquire()
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


@pytest.mark.parametrize(
    ("limit", "hold_s", "in_queue", "retry_after_s"),
    [
        (1, 4.0, 0, 4.0),
        (1, 4.0, 3, 16.0),
        (4, 8.0, 0, 2.0),
        (4, 8.0, 4, 10.0),
        (4, 0.4, 2, 1.0),  # 0.3 s: the header counts whole seconds
        (1, 30.0, 5, 60.0),  # 180 s is too far ahead to know
    ],
)
async def test_retry_after_is_how_long_the_last_of_the_queue_would_wait(
    limit: int, hold_s: float, in_queue: int, retry_after_s: float
) -> None:
    clock = Clock()
    slots = Slots(limited(limit, queue=in_queue), clock)
    for _ in range(limit):
        await slots.acquire()
    tasks = [*await queued(slots, in_queue)]
    for _ in range(20):  # each call lasts `hold_s`, so one of them ends every `hold_s / limit`, and another comes
        clock.advance(hold_s / limit)
        slots.release()
        tasks.append(asyncio.create_task(slots.acquire()))
        await asyncio.sleep(0)
    assert await refused(slots) == pytest.approx(retry_after_s)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_retry_after_grows_while_nothing_becomes_free() -> None:
    clock = Clock()
    slots = Slots(limited(queue=0), clock)
    await slots.acquire()
    assert await refused(slots) == 1.0
    clock.advance(7)
    assert await refused(slots) == 7.0


async def test_idle_time_is_not_taken_for_slowness() -> None:
    clock = Clock()
    slots = Slots(limited(2, queue=0), clock)
    for _ in range(10):
        clock.advance(500)
        await slots.acquire()
        clock.advance(500)  # one of two is free
        await slots.acquire()
        clock.advance(2)
        slots.release()
        slots.release()
    await slots.acquire()
    await slots.acquire()
    assert await refused(slots) == pytest.approx(2.0)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**9), limit=st.integers(1, 3), queue=st.integers(0, 4))
def test_no_slot_is_lost_or_made_by_any_order_of_events(seed: int, limit: int, queue: int) -> None:
    asyncio.run(_shaken(Random(seed), limit, queue))


async def _shaken(random: Random, limit: int, queue: int) -> None:
    slots = Slots(limited(limit, queue))
    holding = 0

    async def call(may_end: asyncio.Event) -> None:
        nonlocal holding
        await slots.acquire()
        holding += 1
        assert holding <= limit
        try:
            await may_end.wait()
        finally:
            holding -= 1
            slots.release()

    calls: list[tuple[asyncio.Task[None], asyncio.Event]] = []
    for _ in range(60):
        match random.randrange(4):
            case 0:
                may_end = asyncio.Event()
                calls.append((asyncio.create_task(call(may_end)), may_end))
            case 1 if calls:
                random.choice(calls)[0].cancel()
            case 2 if calls:
                random.choice(calls)[1].set()
            case _:
                await asyncio.sleep(0)
        assert slots.in_use <= limit
    for _, may_end in calls:
        may_end.set()
    ended = await asyncio.gather(*(task for task, _ in calls), return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError, ConcurrencyExhausted}
    assert (holding, slots.in_use, slots.waiting) == (0, 0, 0)
