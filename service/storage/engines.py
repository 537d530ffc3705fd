"""The connections of one database: SQLite's or PostgreSQL's."""

from __future__ import annotations

from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

CONNECT_TIMEOUT_S: Final = 5.0
READERS: Final = 4
"""Connections that read. With the writers', ten replicas hold 60 of the 100 that PostgreSQL allows by default."""


class Engines(Protocol):
    """Connections to read and to write with. Every transaction that is begun on `writing` may write at once."""

    writing: AsyncEngine
    reading: AsyncEngine

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """All that the driver and SQLAlchemy raise."""

    @property
    def migration_lock(self) -> str | None:
        """A statement that keeps other processes from migrating until the transaction ends.

        None where beginning to write does.
        """

    @property
    def may_be_cancelled(self) -> bool:
        """Whether a transaction that takes too long is to be broken off; otherwise it ends by itself."""

    async def prepare(self) -> None:
        """Have the database ready to be connected to. Raises one of the failures."""

    def check(self) -> None:
        """Raise OSError where what is written would be lost."""
