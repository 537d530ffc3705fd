"""Where statements become transactions, and exceptions become outages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.storage.backend import Outage
from service.storage.engines import Engines
from service.storage.failures import failure_of

_TIMEOUT_S: Final = 10.0
"""Of a transaction, waiting for a connection included. Pages take milliseconds, and so does a group."""
_CLOSE_TIMEOUT_S: Final = 3.0

_Result = TypeVar("_Result")
Work = Callable[[AsyncConnection], Awaitable[_Result]]


class Transactions:
    """Runs transactions to their end, also where their callers are cancelled.

    After one that was cancelled halfway nobody could write to SQLite for five seconds (aiosqlite 0.22, run here).
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._running: set[asyncio.Task[Any]] = set()

    async def read(self, work: Work[_Result]) -> _Result:
        """Do something that only reads, on one state of the database.

        Raises:
            Outage: The database does not do it, or not in time.
            Refused: It never will.
        """
        return await self._finish(self._transact(self._engines.reading, work))

    async def write(self, work: Work[_Result]) -> _Result:
        """Do something and commit it; where that fails nothing is done. Raises as `read`."""

        async def checked(connection: AsyncConnection) -> _Result:
            self._engines.check()
            return await work(connection)

        return await self._finish(self._transact(self._engines.writing, checked))

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

    async def _finish(self, transaction: Coroutine[Any, Any, _Result]) -> _Result:
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._note_end)
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

    async def _transact(self, engine: AsyncEngine, work: Work[_Result]) -> _Result:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except self._engines.failures as error:
            raise failure_of(error) from None
