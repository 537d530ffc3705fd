"""Where statements become transactions, and exceptions become outages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.storage.backend import Outage
from service.storage.engines import READERS, Engines
from service.storage.failures import failure_of

_TIMEOUT_S: Final = 10.0
"""Of a transaction, and of waiting for the turn to have one. Pages take milliseconds, and so does a group."""
_CLOSE_TIMEOUT_S: Final = 3.0

_Result = TypeVar("_Result")
Work = Callable[[AsyncConnection], Awaitable[_Result]]


class Transactions:
    """Runs transactions to their end, also where their callers are cancelled.

    After one that was cancelled halfway nobody could write to SQLite for five seconds (aiosqlite 0.22, run here).

    Who reads or changes something waits for a turn, so that many of them at once keep nobody from storing, and so
    that their waiting for each other is not taken for an outage.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._running: set[asyncio.Task[Any]] = set()
        self._reading_turns = asyncio.Semaphore(READERS)
        self._changing_turns = asyncio.Semaphore(1)

    async def read(self, work: Work[_Result]) -> _Result:
        """Do something that only reads, on one state of the database.

        Raises:
            Outage: The database does not do it, or not in time.
            Refused: It never will.
        """
        await _take(self._reading_turns)
        return await self._finish(self._transact(self._engines.reading, work), self._reading_turns)

    async def change(self, work: Work[_Result]) -> _Result:
        """As `write`, one after another and beside what is stored. Raises as `read`."""
        await _take(self._changing_turns)
        return await self._finish(self._write(work), self._changing_turns)

    async def write(self, work: Work[_Result]) -> _Result:
        """Do something and commit it; where that fails nothing is done. Raises as `read`."""
        return await self._finish(self._write(work))

    async def aclose(self) -> None:
        """Wait for what still runs, but not for long, and close the connections."""
        await self._wait()
        for task in self._running:
            task.cancel()
        await self._wait()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._engines.reading.dispose()
                await self._engines.writing.dispose()
        except self._engines.failures:
            pass  # what can't be closed in order ends with the process

    async def _wait(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_TIMEOUT_S)

    async def _finish(
        self, transaction: Coroutine[Any, Any, _Result], turns: asyncio.Semaphore | None = None
    ) -> _Result:
        """Run the transaction; the turn, if one was taken, is over with it."""
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._note_end)
        if turns is not None:
            task.add_done_callback(lambda _task: turns.release())
        done, _ = await asyncio.wait([task], timeout=_TIMEOUT_S)
        if not done:
            if self._engines.may_be_cancelled:
                task.cancel()
            raise Outage("no answer in time", is_slow=True)
        return task.result()

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be left to ask for it

    async def _write(self, work: Work[_Result]) -> _Result:
        async def checked(connection: AsyncConnection) -> _Result:
            self._engines.check()
            return await work(connection)

        return await self._transact(self._engines.writing, checked)

    async def _transact(self, engine: AsyncEngine, work: Work[_Result]) -> _Result:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except self._engines.failures as error:
            raise failure_of(error) from None


async def _take(turns: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await turns.acquire()
    except TimeoutError:
        raise Outage("too much is asked of it at once", is_slow=True) from None
