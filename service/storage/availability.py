"""Whether a database answers, and who waits for that."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import Final

_log = logging.getLogger(__name__)

_MAX_DELAY_S: Final = 2.0
_FIRST_DELAY_S: Final = 0.1
_STABLE_S: Final = 10.0
"""Who has been up for so long does not go on with the delays of the outage before."""


class Availability:
    """Unknown at first; then up or down, by what was seen last."""

    def __init__(self) -> None:
        self._is_up = asyncio.Event()
        self._is_known = asyncio.Event()
        self._is_wanted = asyncio.Event()
        self._is_doubted = False
        self._failures = 0
        self._up_since = 0.0

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._is_up.is_set()

    @property
    def is_down(self) -> bool:
        """Whether it is known not to answer."""
        return self._is_known.is_set() and not self.is_up

    def set_up(self) -> None:
        """Note that it answers."""
        if not self.is_up:
            _log.info("storage: the database is available")
            self._up_since = time.monotonic()
        self._is_doubted = False
        self._is_up.set()
        self._is_known.set()

    def set_down(self) -> bool:
        """Note that it does not answer; whether that is news."""
        is_news = self.is_up or not self._is_known.is_set()
        if self.is_up and time.monotonic() - self._up_since > _STABLE_S:
            self._failures = 0
        self._is_up.clear()
        self._is_known.set()
        self.doubt()
        return is_news

    def succeeded(self) -> None:
        """Note that something was written."""
        self._failures = 0

    def next_delay_s(self) -> float:
        """How long to wait before the next attempt: at first not at all, then longer and longer."""
        self._failures += 1
        if self._failures == 1:
            return 0.0
        delay_s = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(self._failures - 2, 16))
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - only so that replicas don't come all at once

    def doubt(self) -> None:
        """Have the connection looked at."""
        self._is_doubted = True
        self.wake()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._is_wanted.set()

    async def wait_wanted(self) -> bool:
        """Wait until there is something to do; whether that may be done at once, without a look at the connection."""
        await self._is_wanted.wait()
        self._is_wanted.clear()
        return not self._is_doubted

    async def wait_up(self) -> None:
        """Wait until it answers."""
        await self._is_up.wait()

    async def wait_known(self, timeout_s: float) -> None:
        """Wait until it is known whether it answers, for at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_known.wait()
