"""The fault provider in a thread of its own, so that tests of any kind can use it."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from tests.faults.exchange import Seen
from tests.faults.server import FaultProvider


class FaultServer:
    """Runs a `FaultProvider` until the block is left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self._provider = FaultProvider()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the fault provider did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def base_url(self) -> str:
        """See `FaultProvider`."""
        return self._provider.base_url

    @property
    def unreachable(self) -> dict[str, str]:
        """See `FaultProvider`."""
        return self._provider.unreachable

    @property
    def open_connections(self) -> int:
        """See `FaultProvider`."""
        return self._provider.open_connections

    def seen(self, user: str) -> list[Seen]:
        """See `FaultProvider`."""
        return self._provider.seen(user)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._provider:
            self._ready.set()
            await self._stop.wait()
