"""A cutoff ends the waiting of its own task, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from service.dispatch.cutoff import Cutoff
from service.errors import Timeout

LATE = Timeout("late")


async def test_its_error_comes_out_of_the_context() -> None:
    cutoff = Cutoff()
    asyncio.get_running_loop().call_soon(cutoff.cut, LATE)
    with pytest.raises(Timeout) as caught, cutoff:
        await asyncio.sleep(3600)
    assert caught.value is LATE
    assert caught.value.__suppress_context__
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # the task can go on


async def test_where_nothing_is_cut_nothing_changes() -> None:
    with Cutoff():
        await asyncio.sleep(0)
    with pytest.raises(KeyError), Cutoff():
        raise KeyError


async def test_outside_the_context_it_does_nothing() -> None:
    cutoff = Cutoff()
    cutoff.cut(LATE)
    with cutoff:
        await asyncio.sleep(0)
    cutoff.cut(LATE)
    await asyncio.sleep(0)


async def test_another_error_is_kept_and_the_task_goes_on() -> None:
    cutoff = Cutoff()

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise KeyError from None

    asyncio.get_running_loop().call_soon(cutoff.cut, LATE)
    with pytest.raises(KeyError), cutoff:
        await wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cut_that_comes_with_the_result_counts() -> None:
    """As with `asyncio.timeout`: what was waited for is done, but the task had not run again."""
    cutoff = Cutoff()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish_and_cut() -> None:
        future.set_result(None)
        cutoff.cut(LATE)

    asyncio.get_running_loop().call_soon(finish_and_cut)
    with pytest.raises(Timeout), cutoff:
        await future


async def test_its_timer_ends_with_the_context() -> None:
    cutoff, looks = Cutoff(), []
    with cutoff:
        cutoff.look_in(0.001, lambda: looks.append("within"))
        await asyncio.sleep(0.05)
        cutoff.look_in(0.001, lambda: looks.append("after"))
    await asyncio.sleep(0.05)
    assert looks == ["within"]


async def test_only_the_first_cut_counts() -> None:
    cutoff = Cutoff()

    def cut_twice() -> None:
        cutoff.cut(LATE)
        cutoff.cut(KeyError())

    asyncio.get_running_loop().call_soon(cut_twice)
    with pytest.raises(Timeout), cutoff:
        await asyncio.sleep(3600)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("order", ["cut first", "cut last"])
async def test_whoever_else_cancels_the_task_is_obeyed(order: str) -> None:
    cutoff = Cutoff()

    async def wait() -> None:
        with cutoff:
            await asyncio.sleep(3600)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    if order == "cut first":
        cutoff.cut(LATE)
    task.cancel()
    if order == "cut last":
        cutoff.cut(LATE)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_of_two_the_one_that_cuts_is_told() -> None:
    for cutting in (0, 1):
        outer, inner = cutoffs = Cutoff(), Cutoff()
        asyncio.get_running_loop().call_soon(cutoffs[cutting].cut, LATE)
        reached = []
        try:
            with outer:
                try:
                    with inner:
                        await asyncio.sleep(3600)
                except Timeout:
                    reached.append("within")
        except Timeout:
            reached.append("without")
        assert reached == [("without", "within")[cutting]]


async def test_a_cancellation_that_was_swallowed_before_does_not_count() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    cutoff = Cutoff()
    asyncio.get_running_loop().call_soon(cutoff.cut, LATE)
    with pytest.raises(Timeout), cutoff:
        await asyncio.sleep(3600)
    assert task.uncancel() == 0
