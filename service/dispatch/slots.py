"""How many calls a target has at once, and the queue of those that wait."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import ConcurrencyExhausted
from service.limits import Concurrency

_SHORTEST_S = 1.0
"""`retry-after` counts whole seconds."""
_LONGEST_S = 60.0
"""Further ahead than this, an estimate of when calls will end says nothing."""
_WEIGHT = 0.2
"""Of a new interval in the mean: about the last five count."""


class Slots:
    """Lets at most `limit` calls through; up to `queue` more wait, first come, first served.

    Of one event loop. Without settings it counts, and lets everything through.
    """

    def __init__(self, settings: Concurrency | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._in_use = 0
        # Ordered, as a queue that can also be left from its middle at no cost. A slot that becomes free goes to
        # the first who still waits, so that as long as anybody does, all slots are in use.
        self._queue: OrderedDict[asyncio.Future[bool], None] = OrderedDict()
        self._interval_s = 0.0  # mean time until one of the slots becomes free, while all are in use
        self._full_since = 0.0  # or since the last one became free

    @property
    def in_use(self) -> int:
        """Calls that were let through and are not over."""
        return self._in_use

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self._settings is not None and self._in_use >= self._settings.limit

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    async def acquire(self, wait_until: float | None = None) -> None:
        """Take a slot, which `release` gives back; where one is free, without letting another task run.

        Args:
            wait_until: Until when the caller can wait at most, by the clock; `wait_s` bounds it in any case.

        Raises:
            ConcurrencyExhausted: The queue is full, or no slot became free within `wait_s`.
            TimeoutError: No slot became free until `wait_until`, which came first.
        """
        settings = self._settings
        if settings is None or not self.is_full:
            self._in_use += 1
            if self.is_full:
                self._full_since = self._clock()
            return
        left_s = math.inf if wait_until is None else wait_until - self._clock()
        if len(self._queue) >= settings.queue:
            raise ConcurrencyExhausted(self._retry_after_s())
        if left_s <= 0 or not await self._wait(min(settings.wait_s, left_s)):
            raise TimeoutError if left_s < settings.wait_s else ConcurrencyExhausted(self._retry_after_s())

    def release(self) -> None:
        """Give a slot back: to the first of the queue, where there is one."""
        if self._settings is not None and self._in_use == self._settings.limit:
            now = self._clock()
            interval_s, self._full_since = now - self._full_since, now
            self._interval_s += _WEIGHT * (interval_s - self._interval_s) if self._interval_s else interval_s
        while self._queue:
            waiter, _ = self._queue.popitem(last=False)
            if not waiter.done():  # else it was cancelled, and its task has not run since
                waiter.set_result(True)
                return
        self._in_use -= 1

    async def _wait(self, wait_s: float) -> bool:
        """Queue for at most `wait_s`; whether a slot was handed over."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._queue[waiter] = None
        timer = loop.call_later(wait_s, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():  # handed over before the task could run
                self.release()
            raise
        finally:
            timer.cancel()
            self._queue.pop(waiter, None)

    def _give_up(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            del self._queue[waiter]
            waiter.set_result(False)

    def _retry_after_s(self) -> float:
        """When who now comes last in the queue would have a slot, at the pace at which they become free.

        That pace is also what a mean hold time over `limit` gives. Where none has become free for longer than
        usual, the present silence counts.
        """
        interval_s = max(self._interval_s, self._clock() - self._full_since)
        return min(max(_SHORTEST_S, (len(self._queue) + 1) * interval_s), _LONGEST_S)
