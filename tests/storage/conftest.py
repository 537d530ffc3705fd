"""The databases that the store is tested on: SQLite and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.settings import Secret
from service.storage.database import Database, open_database
from service.storage.settings import Storage
from service.storage.store import Store
from tests.storage.records import running_store
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty database."""
    if request.param == "sqlite":
        return Storage(data_dir=str(tmp_path / "data"))
    server: Postgres = request.getfixturevalue("postgres")
    return Storage(url=Secret(server.new_database()))


@pytest.fixture
async def database(settings: Storage) -> AsyncIterator[Database]:
    """The database, open."""
    opened = open_database(settings)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def store(settings: Storage) -> AsyncIterator[Store]:
    """The store, at work."""
    async with running_store(settings) as started:
        yield started
