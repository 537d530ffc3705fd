"""Time that runs faster than the machine's: all of the benchmark counts in its seconds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Begins at 0; `speed` of its seconds pass in one of the machine's."""

    speed: float
    _began: float = field(default_factory=time.monotonic)

    def now_s(self) -> float:
        """The time."""
        return (time.monotonic() - self._began) * self.speed

    async def sleep(self, duration_s: float) -> None:
        """Wait; not at all where `duration_s` is over."""
        await asyncio.sleep(max(duration_s, 0) / self.speed)

    async def until(self, moment_s: float) -> None:
        """Wait for a moment."""
        await self.sleep(moment_s - self.now_s())
