"""How long to wait for a provider, without a timer per chunk."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from service.errors import Timeout


class Watch:
    """Ends the waiting of the running task for a provider that is silent, or busy, for too long.

    Use it as a context around the reading of one answer. Time counts against the provider only between
    `begin` and `end`, not while the caller is slow to take a chunk. One timer looks after the whole answer:
    `asyncio.timeout` around each chunk would set two per chunk.

    Args:
        idle_s: Longest wait for one chunk.
        left_s: What is left of the attempt's time; it goes on while the caller reads.

    Raises:
        Timeout: Out of the context, in place of the CancelledError that ended the waiting.
    """

    __slots__ = ("_ends_at", "_has_fired", "_idle_s", "_is_idle", "_loop", "_since", "_task", "_timer", "_total_s")

    def __init__(self, idle_s: float, left_s: float, total_s: float) -> None:
        self._idle_s = idle_s
        self._total_s = total_s
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + left_s
        self._since: float | None = None
        self._has_fired = False
        self._is_idle = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> None:
        """From here on the provider is waited for."""
        self._since = self._loop.time()

    def end(self) -> None:
        """It has answered."""
        self._since = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._look_again(self._loop.time() + self._idle_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._has_fired or self._task is None:
            return
        # Whoever else cancelled the task meanwhile is to be obeyed.
        if self._task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
            if self._is_idle:
                raise Timeout(f"The provider sent nothing for {self._idle_s:g} s within its answer.") from None
            raise Timeout(f"The provider's answer was not complete after {self._total_s:g} s.") from None

    def _look_again(self, at: float) -> None:
        self._timer = self._loop.call_at(min(at, self._ends_at), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._since is None:
            # The caller is slow. An attempt past its time ends as soon as the provider is waited for again.
            self._timer = self._loop.call_at(now + min(self._idle_s, 1.0), self._look)
            return
        self._is_idle = now >= self._since + self._idle_s
        if not self._is_idle and now < self._ends_at:
            self._look_again(self._since + self._idle_s)
            return
        self._has_fired = True
        if self._task is not None:
            self._task.cancel()
