"""Connections to PostgreSQL, by asyncpg."""

from __future__ import annotations

from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.settings import Secret
from service.storage.engines import CONNECT_TIMEOUT_S, READERS
from service.storage.failures import FAILURES

_WRITERS: Final = 2
"""One that stores, and one for all that deletes or changes."""


class PostgresqlEngines:
    """Connections to the database of a URL, which asyncpg reads as libpq does (`sslmode` and the like)."""

    failures: tuple[type[Exception], ...] = (
        *FAILURES,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )
    may_be_cancelled = True  # the connection is closed with it
    # Any number will do, as long as it stays the same: "parley" in ASCII.
    migration_lock: str | None = "SELECT pg_advisory_xact_lock(0x7061726c6579)"

    def __init__(self, url: Secret) -> None:
        self._url = url
        self.writing = self._engine(_WRITERS, "READ COMMITTED")
        self.reading = self._engine(READERS, "REPEATABLE READ")  # several statements see one state

    async def prepare(self) -> None:
        """Nothing: the operator makes the database."""

    def check(self) -> None:
        """Nothing: the server sees to it."""

    def _engine(self, connections: int, isolation_level: str) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            isolation_level=isolation_level,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT_S,
            pool_pre_ping=True,  # the server may have been restarted since
            hide_parameters=True,
        )

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._url.reveal(), timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": "parley"}
        )
