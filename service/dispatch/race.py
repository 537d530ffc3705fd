"""Two attempts at once: the first that answers wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

Answer = TypeVar("Answer")
Start = Callable[[], Coroutine[Any, Any, Answer]]


async def race(
    first: Start[Answer],
    second: Callable[[], Coroutine[Any, Any, Answer] | None],
    after_s: float,
    give_back: Callable[[Answer], Awaitable[None]],
) -> Answer:
    """What `first` returns, or `second`, which is started where `first` is not done after `after_s`.

    A failure counts only once nothing else can still answer; then the one of `first` is raised. Whoever has
    not won is cancelled, and has ended before this returns, unless this is cancelled a second time meanwhile.
    If both answer at once, `first` wins and the other's answer is given back.

    Args:
        first: Starts the first attempt.
        second: Starts the second; None where there is to be none.
        after_s: Seconds, from 0.
        give_back: Closes an answer that nobody wants.
    """
    tasks = [asyncio.ensure_future(first())]
    try:
        await asyncio.wait(tasks, timeout=after_s)
        if not tasks[0].done() and (other := second()) is not None:
            tasks.append(asyncio.ensure_future(other))
        running = set(tasks)
        while running and not any(map(_has_answered, tasks)):
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        winner = next(filter(_has_answered, tasks), tasks[0])
        losers = [task for task in tasks if task is not winner]
        await _end(losers, give_back)
    except BaseException:
        await _end(tasks, give_back)
        raise
    return winner.result()


def _has_answered(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _end(tasks: list[asyncio.Task[Answer]], give_back: Callable[[Answer], Awaitable[None]]) -> None:
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            await asyncio.wait(tasks)
    finally:  # also where the waiting is cancelled: an answer keeps its slot and its connection until it is given back
        async with AsyncExitStack() as answers:
            for task in filter(_has_answered, tasks):
                answers.push_async_callback(give_back, task.result())
