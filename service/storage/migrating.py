"""Brings a database's tables to their newest form; several processes may try at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from service.storage.backend import Outage
from service.storage.engines import Engines

HEAD: Final = "0001"
"""The newest revision in `migrations/versions`; here, so that Alembic is imported only to migrate."""
MIGRATIONS: Final = Path(__file__).with_name("migrations")


async def migrate(engines: Engines, revision: str = HEAD) -> None:
    """Bring the tables to a revision, in one transaction, for which others wait.

    Raises:
        Outage: The tables are of a revision that is not known here, as after a newer version of the service.
    """
    async with engines.writing.begin() as connection:
        if engines.migration_lock is not None:
            await connection.execute(text(engines.migration_lock))
        if await connection.run_sync(revision_of) != revision:  # another process may have been first
            await connection.run_sync(_upgrade, revision)


def revision_of(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - takes long, and at most starts there is nothing to do
    from alembic.config import Config  # noqa: PLC0415 - likewise
    from alembic.util import CommandError  # noqa: PLC0415 - likewise

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # "%" begins a reference there
    try:
        command.upgrade(config, revision)
    except CommandError:
        raise Outage("its tables are of a revision that this version does not know") from None
