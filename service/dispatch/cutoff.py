"""Ends the waiting of the running task from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Cutoff:
    """A context whose waiting `cut` ends: out of it comes its error, in place of the CancelledError.

    `asyncio.timeout` does as much, but its states and steps took 16 of the 440 µs of a unary call. Whoever else
    cancels the task meanwhile is obeyed.
    """

    __slots__ = ("_cancelling", "_error", "_task", "_timer")

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0

    def cut(self, error: Exception) -> None:
        """End the waiting with `error`. Outside the context, and for the second time, it does nothing."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()

    def look_in(self, seconds: float, look: Callable[[], None]) -> None:
        """Call `look`, which may `cut`, in so many seconds, but not after the context. It has one timer at a time."""
        self._timer = asyncio.get_running_loop().call_later(seconds, look)

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        mine, self._error = self._error, None
        try:
            if mine is None or task is None:
                return
            if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
                raise mine from None
        finally:
            del mine, error  # else this frame and the exceptions hold each other
