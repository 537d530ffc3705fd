"""Connections to an SQLite file, by aiosqlite."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.storage.engines import CONNECT_TIMEOUT_S, READERS
from service.storage.failures import FAILURES

_FILE: Final = "parley.db"
_WRITER: Final = (
    "PRAGMA foreign_keys=ON",
    # A commit is on the disk before it is told. With NORMAL it would survive the end of the process, but not that
    # of the machine. Commits are grouped, so that the disk is waited for once for many.
    "PRAGMA synchronous=FULL",
    # What is deleted is overwritten.
    "PRAGMA secure_delete=ON",
    # The log shrinks to this again, once it has had to grow.
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-32768",
)
_READER: Final = ("PRAGMA query_only=ON",)
_WAL_TIMEOUT_S: Final = 10.0
"""SQLite does not wait by itself where several processes change the journal's mode at once."""


class SqliteEngines:
    """Connections to `parley.db` in a folder. One at a time writes; readers neither wait nor are waited for."""

    failures: tuple[type[Exception], ...] = (*FAILURES, sqlite3.Error)
    may_be_cancelled = False  # locks are waited for with a timeout, and there is no network
    migration_lock: str | None = None  # BEGIN IMMEDIATE is one

    def __init__(self, data_dir: str) -> None:
        self._file = Path(data_dir).absolute() / _FILE
        self._inode: int | None = None
        self.writing = _engine(self._file, "BEGIN IMMEDIATE", _WRITER, 1)
        self.reading = _engine(self._file, "BEGIN", _READER, READERS)

    async def prepare(self) -> None:
        """Make the file where it is missing, for its owner alone, and have it keep its log aside (WAL)."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file that is there must not be opened but by SQLite: to close it would give up the process's locks on it
        # (https://sqlite.org/howtocorrupt.html, section 2.2), and then another process that ends takes the log away.
        with suppress(FileExistsError):
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        inode = self._file.stat().st_ino
        if self._inode not in {None, inode}:
            await self.writing.dispose()
            await self.reading.dispose()
        await self._set_wal()
        self._inode = inode

    def check(self) -> None:
        """See whether the file is still the one that is open: what is written to one that was removed is lost."""
        if self._file.stat().st_ino != self._inode:
            raise FileNotFoundError("another file is in the place of the one that is open")

    async def _set_wal(self) -> None:
        until = time.monotonic() + _WAL_TIMEOUT_S
        while True:
            try:
                # Not by aiosqlite, whose thread outlives the event loop where connecting is cancelled.
                await asyncio.to_thread(_set_wal, self._file)
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


def _set_wal(file: Path) -> None:
    uri = f"{file.as_uri()}?mode=rw"  # without it, connecting makes a file where there is none
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _engine(file: Path, begin: str, pragmas: tuple[str, ...], connections: int) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=file.as_uri(), query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(
        url,
        connect_args={"isolation_level": None, "timeout": CONNECT_TIMEOUT_S},
        pool_size=connections,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(dbapi_connection: Any, _record: object) -> None:
        cursor = dbapi_connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        # The driver, told by `isolation_level` to do nothing by itself, would begin only before it writes.
        connection.exec_driver_sql(begin)

    return engine
