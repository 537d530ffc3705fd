"""The calls that are being answered, so that a shutdown can wait for them, and end the last ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.rpc.call import Call


class InFlight:
    """Counts running calls and can interrupt them."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[object]] = {}
        self._interrupted: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._tasks)

    @contextmanager
    def entered(self, call: Call) -> Iterator[None]:
        """Count `call`, which the running task answers, until the block is left."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is answered within a task")
        self._tasks[id(call)] = task
        self._idle.clear()
        try:
            yield
        finally:
            del self._tasks[id(call)]
            self._interrupted.discard(id(call))
            if not self._tasks:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call is running."""
        await self._idle.wait()

    def interrupt_all(self) -> None:
        """Cancel every running call, as an end that the service wants and can explain to the caller."""
        for key, task in self._tasks.items():
            self._interrupted.add(key)
            task.cancel()

    def take_back_interruption(self, call: Call) -> bool:
        """Whether `call` was cancelled by `interrupt_all`; if so, its task may go on to tell the caller."""
        if id(call) not in self._interrupted:
            return False
        self._interrupted.discard(id(call))
        task = self._tasks[id(call)]
        return task.uncancel() == 0
