"""Two attempts at once: who wins, and what becomes of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from service.dispatch.race import race


class Runner:
    """Starts attempts that end as the test says, and notes what came of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.given_back: list[str] = []

    async def run(self, name: str, after_s: float | None, error: Exception | None = None) -> str:
        self.started.append(name)
        try:
            if after_s is None:
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(after_s)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error is not None:
            raise error
        return name

    async def stubborn(self, name: str) -> str:
        """Answers although it is cancelled, as one that was just done."""
        self.started.append(name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return name
        raise AssertionError

    async def give_back(self, answer: str) -> None:
        self.given_back.append(answer)

    async def race(
        self, first: Coroutine[Any, Any, str], second: Coroutine[Any, Any, str] | None, after_s: float = 0.01
    ) -> str:
        try:
            return await race(lambda: first, lambda: second, after_s, self.give_back)
        finally:
            if second is not None:
                second.close()  # where it was not started


async def test_the_first_alone_answers_in_time() -> None:
    runner = Runner()

    assert await runner.race(runner.run("a", 0), runner.run("b", 0), after_s=5) == "a"

    assert runner.started == ["a"]


async def test_the_second_wins_and_the_first_is_cancelled() -> None:
    runner = Runner()

    assert await runner.race(runner.run("a", None), runner.run("b", 0)) == "b"

    assert runner.cancelled == ["a"]


async def test_without_a_second_the_first_is_waited_for() -> None:
    runner = Runner()

    assert await runner.race(runner.run("a", 0.05), None) == "a"


async def test_a_loser_that_has_answered_all_the_same_is_given_back() -> None:
    runner = Runner()

    assert await runner.race(runner.stubborn("a"), runner.run("b", 0)) == "b"

    assert runner.given_back == ["a"]


async def test_the_firsts_failure_is_told_where_both_fail() -> None:
    runner = Runner()
    first, second = runner.run("a", 0.03, ValueError("a")), runner.run("b", 0, ValueError("b"))

    with pytest.raises(ValueError, match="a"):
        await runner.race(first, second)

    assert runner.started == ["a", "b"]


async def test_a_failure_before_the_second_is_due_is_told_at_once() -> None:
    runner = Runner()

    with pytest.raises(ValueError, match="a"):
        await runner.race(runner.run("a", 0, ValueError("a")), runner.run("b", 0), after_s=5)

    assert runner.started == ["a"]


async def test_a_cancelled_race_ends_both_and_gives_back_what_was_won() -> None:
    runner = Runner()
    racing = asyncio.create_task(runner.race(runner.run("a", None), runner.stubborn("b")))
    while runner.started != ["a", "b"]:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0.001)

    racing.cancel()
    await asyncio.wait({racing})

    assert racing.cancelled()
    assert runner.cancelled == ["a"]
    assert runner.given_back == ["b"]


async def test_a_race_that_is_cancelled_twice_gives_back_what_was_won_all_the_same() -> None:
    runner = Runner()
    racing = asyncio.create_task(runner.race(runner.run("a", None), runner.stubborn("b")))
    while runner.started != ["a", "b"]:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0.001)

    racing.cancel()
    await asyncio.sleep(0)  # it waits for both to end
    racing.cancel()
    await asyncio.wait({racing})

    assert racing.cancelled()
    assert (runner.cancelled, runner.given_back) == (["a"], ["b"])
