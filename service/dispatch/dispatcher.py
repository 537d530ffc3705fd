"""Has one of a model's targets answer: which first, how often, which next, and for how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, Final

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.dispatch.backoff import backoff_s
from service.dispatch.budget import Budget
from service.dispatch.call import Attempt, DispatchCall
from service.dispatch.choice import ordered
from service.dispatch.failures import Failures, is_repeatable, is_switchable
from service.dispatch.opened import Opened, open_stream, open_whole
from service.dispatch.race import race
from service.dispatch.target import TargetState
from service.dispatch.watch import Watch
from service.errors import ParleyError, RateLimited
from service.routing import Model

HEDGED: Final = "HEDGED"
"""The outcome of an attempt that another was faster than."""


class Dispatcher:
    """Answers for one model. Safe for any number of tasks of one event loop.

    Args:
        model: With its limits.
        targets: In the order of the configuration, at least one.
    """

    def __init__(self, model: Model, targets: Sequence[TargetState]) -> None:
        self.model = model
        self.targets = tuple(targets)
        hedge = model.limits.hedge
        self._retry_budget = Budget(model.limits.retries.budget)
        self._hedge_budget = None if hedge is None else Budget(hedge.budget)
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret

    @property
    def is_ready(self) -> bool:
        """Whether any target's provider is ready, whatever its circuit says."""
        return any(state.is_ready() for state in self.targets)

    @property
    def is_available(self) -> bool:
        """Whether any target can be asked now."""
        return any(state.is_available for state in self.targets)

    @property
    def available_at(self) -> float | None:
        """When the first open circuit lets a call through, on the clock of `time.monotonic`; None where none is."""
        times = (state.breaker.available_at for state in self.targets if state.is_ready())
        return min((at for at in times if at is not None), default=None)

    async def complete(self, call: DispatchCall) -> ChatCompletion:
        """Have a target answer in one piece.

        Raises:
            ParleyError: See `Failures.told` for which, where several targets failed.
        """
        opened = await self._opened(call, stream=False)
        assert opened.completion is not None  # noqa: S101 - open_whole sets it
        if opened.attempt.trace is not None:
            opened.attempt.trace.take_whole(opened.completion)
        return opened.completion

    async def stream(self, call: DispatchCall) -> AsyncGenerator[ChatCompletionChunk]:
        """Have a target answer in pieces; iterate in one task, and close the generator when done with it.

        Nothing is yielded before the first token, and nothing is repeated or switched after it.

        Raises:
            ParleyError: As `complete`; also midway.
        """
        opened = await self._opened(call, stream=True)
        timeouts = opened.state.timeouts
        assert opened.closing is not None  # noqa: S101 - open_stream sets both
        assert opened.chunks is not None  # noqa: S101
        trace = opened.attempt.trace
        watch = Watch(timeouts.idle_s, timeouts.total_s, opened.attempt.started)
        call.journal.ends_at = watch.ends_at
        async with opened.closing:
            for chunk in opened.held:
                if trace is not None:
                    trace.take(chunk)
                yield chunk
            opened.held.clear()
            with watch:
                watch.begin()
                async for chunk in opened.chunks:
                    watch.end()
                    if trace is not None:
                        trace.take(chunk)
                    yield chunk
                    watch.begin()

    async def _opened(self, call: DispatchCall, *, stream: bool) -> Opened:
        """The first answer that begins, of the targets in their order, each asked as often as it may be."""
        self._retry_budget.deposit()
        if self._hedge_budget is not None:
            self._hedge_budget.deposit()
        candidates = deque(ordered(self.targets, self.model.limits.policy, stream=stream, random=self._random))
        failures = Failures()
        before = len(call.journal.attempts)  # of turns before this one
        while candidates:
            state = candidates.popleft()
            if len(call.journal.attempts) > before and not _is_worth_it(call, state, 0, stream=stream):
                break
            opened = await self._asked(call, state, candidates, failures, stream=stream)
            if opened is not None:
                call.journal.target = opened.state.target
                call.journal.dropped = opened.dropped
                return opened
        raise failures.told()

    async def _asked(
        self, call: DispatchCall, state: TargetState, others: deque[TargetState], failures: Failures, *, stream: bool
    ) -> Opened | None:
        """What `state` answers, at last; None where another target is to be asked."""
        retries = self.model.limits.retries
        for number in range(1, retries.max_attempts + 1):
            try:
                return await self._hedged(call, state, others, stream=stream)
            except ParleyError as error:
                if not is_switchable(error):
                    raise
                failures.add(error)
                if number == retries.max_attempts or not is_repeatable(error):
                    return None
                if isinstance(error, RateLimited) and any(other.is_promising for other in others):
                    return None  # who asks to come later is not waited for where another can answer now
                wait_s = backoff_s(retries, number, getattr(error, "retry_after_s", None), self._random)
            if wait_s is None or not _is_worth_it(call, state, wait_s, stream=stream):
                return None
            if not state.is_available or not self._retry_budget.withdraw():
                return None
            await asyncio.sleep(wait_s)
            if call.journal.is_abandoned:
                return None
        return None

    async def _hedged(
        self, call: DispatchCall, state: TargetState, others: deque[TargetState], *, stream: bool
    ) -> Opened:
        """One attempt; where its first token is late, another target's beside it."""
        begin = open_stream if stream else open_whole
        first = Attempt(state.target, time.monotonic())
        if call.journal.asked is None:
            call.journal.asked = first.asked
        after_s = self._hedge_after_s(state, stream=stream)
        if after_s is None or not others:
            return await begin(state, call, first)
        asked = [(state, first)]

        def second() -> Coroutine[Any, Any, Opened] | None:
            other = next((each for each in others if each.is_promising), None)
            if other is None or not _is_worth_it(call, other, 0, stream=stream):
                return None
            if self._hedge_budget is None or not self._hedge_budget.withdraw():
                return None
            others.remove(other)
            attempt = Attempt(other.target, time.monotonic(), is_hedge=True)
            asked.append((other, attempt))
            return begin(other, call, attempt)

        opened = await race(lambda: begin(state, call, first), second, after_s, Opened.give_back)
        for loser, attempt in asked:
            if attempt is not opened.attempt and attempt.outcome in {"CANCELLED", "OK"}:
                attempt.outcome = HEDGED
                # It took longer than that; without it, the slow would seem fast, since only the fast are measured.
                loser.latency(stream=stream).record(time.monotonic() - attempt.started)
        return opened

    def _hedge_after_s(self, state: TargetState, *, stream: bool) -> float | None:
        hedge = self.model.limits.hedge
        if hedge is None:
            return None
        return hedge.after_s if hedge.after_s is not None else state.latency(stream=stream).p95


def _is_worth_it(call: DispatchCall, state: TargetState, wait_s: float, *, stream: bool) -> bool:
    """Whether somebody waits for an attempt after `wait_s`, and it can be expected to answer in what is left of their time."""
    if call.journal.is_abandoned:
        return False
    by = call.deadline.first_token_by
    if by is None:
        return True
    return time.monotonic() + wait_s + state.latency(stream=stream).expected_s < by
