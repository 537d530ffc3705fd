"""Shares the event loop among the streams that could keep it busy alone: those whose providers never pause."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

_FEW: Final = 8
"""So many writes are not looked at: to notice the end of a turn takes a turn."""
_LONG_S: Final = 0.003
_MOST_PER_TURN: Final = 4
"""Each may write, and read 16 chunks in its place, in 0.4 ms. gRPC takes several turns to accept another call."""


class Pacing:
    """Ends turns of the event loop that get long: who would write in one waits for another, first come, first served."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._writes = 0
        """In this turn, and in those before it that were so short that nobody looked."""
        self._looked_at = 0.0

    def is_late(self) -> bool:
        """Whether to wait for `my_turn` before a write: others do, or this turn has been long."""
        if self._waiting:
            return True
        self._writes += 1
        if self._writes < _FEW:
            return False
        if self._writes == _FEW:
            self._looked_at = time.monotonic()
            self._loop.call_soon(self._forget_turn)
        return time.monotonic() - self._looked_at > _LONG_S

    async def my_turn(self) -> None:
        """Wait for a turn that has room."""
        if not self._waiting:
            self._loop.call_soon(self._begin_turn)
        future = self._loop.create_future()
        self._waiting.append(future)
        await future

    def _forget_turn(self) -> None:
        self._writes = 0

    def _begin_turn(self) -> None:
        left = _MOST_PER_TURN
        while left and self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # cancelled, where whoever waited has ended
                future.set_result(None)
                left -= 1
        if self._waiting:
            self._loop.call_soon(self._begin_turn)
