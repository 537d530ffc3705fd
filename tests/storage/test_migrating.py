"""Databases of every earlier form become one of the newest."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.storage.backend import Outage
from service.storage.database import Database, open_database
from service.storage.migrating import HEAD, MIGRATIONS, migrate
from service.storage.rows import rows_of
from service.storage.settings import Storage
from service.storage.tables import METADATA
from tests.storage.records import full_record

_SCRIPTS = ScriptDirectory(str(MIGRATIONS))
REVISIONS = [script.revision for script in reversed(list(_SCRIPTS.walk_revisions()))]


def test_the_newest_revision_is_the_one_that_is_looked_for() -> None:
    assert _SCRIPTS.get_heads() == [HEAD]
    assert [str(number).zfill(4) for number in range(1, len(REVISIONS) + 1)] == REVISIONS


@pytest.mark.parametrize("revision", [None, *REVISIONS])
async def test_a_database_of_every_revision_is_brought_to_the_newest(settings: Storage, revision: str | None) -> None:
    database = open_database(settings)
    if revision is not None:
        await database._engines.prepare()
        await migrate(database._engines, revision)
    await database.open()
    await database.open()  # once more changes nothing
    async with database._engines.writing.connect() as connection:
        assert await connection.run_sync(_differences) == []
    kept = full_record()
    await database.write([rows_of(kept)], is_retry=False)
    assert await database.get("acme", kept.id) == kept
    await database.close()


async def test_all_names_of_indexes_and_keys_are_those_of_the_tables(database: Database) -> None:
    async with database._engines.reading.connect() as connection:
        found = await connection.run_sync(_indexes)
    assert found == {
        (table.name, index.name, tuple(column.name for column in index.columns), bool(index.unique))
        for table in METADATA.sorted_tables
        for index in table.indexes
    }


async def test_a_database_of_a_newer_version_is_left_alone(settings: Storage) -> None:
    database = open_database(settings)
    await database.open()
    async with database._engines.writing.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Outage, match="revision"):
        await database.open()
    async with database._engines.reading.connect() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    await database.close()


async def test_a_migration_that_fails_changes_nothing(settings: Storage) -> None:
    database = open_database(settings)
    await database._engines.prepare()
    async with database._engines.writing.begin() as connection:
        await connection.execute(text("CREATE TABLE sessions (something TEXT)"))  # in the way of the last step
    with pytest.raises(Outage):
        await database.open()
    async with database._engines.reading.connect() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["sessions"]
    await database.close()


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, METADATA))


def _indexes(connection: Connection) -> set[tuple[str, str, tuple[str, ...], bool]]:
    inspector = inspect(connection)
    return {
        (name, str(index["name"]), tuple(str(column) for column in index["column_names"]), bool(index["unique"]))
        for name in inspector.get_table_names()
        for index in inspector.get_indexes(name)
        if name in METADATA.tables
    }
