"""Real databases that are stopped, held, locked, removed or full: what is asked meanwhile fails, and then no more."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from service.errors import ParleyError, Reason, StorageUnavailable
from service.settings import Secret
from service.storage.backend import Outage
from service.storage.database import open_database
from service.storage.record import CompletionFilter, Page, Record
from service.storage.rows import rows_of
from service.storage.settings import Storage
from service.storage.store import Store, open_store
from tests.storage.records import record, running, until
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that these tests alone stop."""
    with running_postgres() as server:
        yield server


async def test_postgresql_may_be_stopped_and_started(own_postgres: Postgres) -> None:
    async with _store(Storage(url=Secret(own_postgres.new_database()), commit_timeout_s=2)) as store:
        before, after = record(), record()
        await store.keep(before)
        own_postgres.stop()
        with pytest.raises(StorageUnavailable):
            await store.get("acme", before.id)
        with pytest.raises(StorageUnavailable):
            store.check()
        with pytest.raises(StorageUnavailable):
            await store.keep(record())
        store.keep_later(after)
        own_postgres.start()
        await until(lambda: store.is_available)
        assert await _all(store) == [before, after]


async def test_a_restart_of_postgresql_between_two_calls_is_not_noticed(own_postgres: Postgres) -> None:
    async with _store(Storage(url=Secret(own_postgres.new_database()))) as store:
        before, after = record(), record()
        await store.keep(before)
        own_postgres.stop()
        own_postgres.start()
        assert await store.get("acme", before.id) == before
        await store.keep(after)
        assert await _all(store) == [before, after]


async def test_the_store_starts_while_postgresql_is_stopped(own_postgres: Postgres) -> None:
    url = own_postgres.new_database()
    own_postgres.stop()
    async with _store(Storage(url=Secret(url), commit_timeout_s=1)) as store:
        with pytest.raises(StorageUnavailable):
            await store.keep(record())
        own_postgres.start()
        await until(lambda: store.is_available)
        assert await store.keep(record())


async def test_postgresql_that_is_silent_is_an_outage_and_what_was_being_written_is_there_once(
    own_postgres: Postgres,
) -> None:
    async with _store(Storage(url=Secret(own_postgres.new_database()), commit_timeout_s=1)) as store:
        before, amid = record(), record()
        await store.keep(before)
        with own_postgres.held():
            store.keep_later(amid)
            await until(lambda: not store.is_available, within_s=60)
        await until(lambda: store.is_available)
        assert await store.keep(record())
        assert (await _all(store))[:2] == [before, amid]


async def test_a_password_and_a_host_are_in_no_log(own_postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    url = own_postgres.new_database()
    for bad in (
        url.replace("postgres@", "postgres:s3cret@").replace("parley_", "absent_"),
        "postgresql://user:s3cret@127.0.0.1:9/absent",
        "postgresql://user:s3cret@host.invalid:notaport/absent",
    ):
        async with _store(Storage(url=Secret(bad), commit_timeout_s=0.2)) as store:
            await until(lambda: not store.is_available)
            with pytest.raises(StorageUnavailable):
                await store.keep(record())
    assert "s3cret" not in caplog.text
    assert "not available" in caplog.text


async def test_sqlite_that_another_process_holds_is_down_until_it_lets_go(tmp_path: Path) -> None:
    async with _store(Storage(data_dir=str(tmp_path), commit_timeout_s=0.5)) as store:
        before = record()
        await store.keep(before)
        with closing(sqlite3.connect(tmp_path / "parley.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable):
                await store.keep(record())
            assert await store.get("acme", before.id) == before  # readers are not in the way
            await until(lambda: not store.is_available)
        await until(lambda: store.is_available)
        assert await store.keep(record())


async def test_sqlite_whose_folder_is_removed_begins_anew_and_loses_nothing_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    async with _store(Storage(data_dir=str(folder))) as store:
        await store.keep(record())
        shutil.rmtree(folder)
        after = record()
        assert await store.keep(after)
        assert await _all(store) == [after]
    async with _store(Storage(data_dir=str(folder))) as store:
        assert await _all(store) == [after]


@pytest.mark.parametrize("obstacle", ["a file instead of the folder", "no database"])
async def test_sqlite_with_something_in_its_place_is_down_until_that_is_gone(tmp_path: Path, obstacle: str) -> None:
    folder = tmp_path / "data"
    if obstacle == "no database":
        folder.mkdir()
        file = folder / "parley.db"
    else:
        file = folder
    file.write_bytes(b"something else, and long enough to be looked at\n" * 100)
    async with _store(Storage(data_dir=str(folder), commit_timeout_s=0.2)) as store:
        with pytest.raises(StorageUnavailable):
            await store.keep(record())
        assert not store.is_available
        file.unlink()
        await until(lambda: store.is_available)
        assert await store.keep(record())


async def test_a_full_disk_is_an_outage_that_can_end(tmp_path: Path) -> None:
    settings = Storage(data_dir=str(tmp_path))
    database = open_database(settings)
    await database.open()
    engine = database._engines.writing
    async with engine.begin() as connection:
        pages = await connection.scalar(text("PRAGMA page_count"))
        await connection.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(Outage, match="SQLITE_FULL"):
        await database.write([rows_of(record()) for _ in range(500)], is_retry=False)
    async with engine.begin() as connection:
        await connection.execute(text("PRAGMA max_page_count=1073741823"))
    await database.write([rows_of(record())], is_retry=True)
    await database.close()


async def test_text_that_postgresql_cannot_keep_is_refused_alone(own_postgres: Postgres) -> None:
    async with _store(Storage(url=Secret(own_postgres.new_database()))) as store:
        good = [record() for _ in range(4)]
        bad = [record(user="a\0b"), record(labels={"a": "\0"}), record(tags=("\0",)), record(duration_ms=2**40)]
        outcomes = await asyncio.gather(*map(store.keep, good + bad), return_exceptions=True)
        assert outcomes[:4] == [True] * 4
        for outcome in outcomes[4:]:
            assert isinstance(outcome, ParleyError)
            assert outcome.reason is Reason.INTERNAL
        assert store.is_available
        assert await _all(store) == good


async def test_a_failure_tells_nothing_of_what_was_to_be_stored(
    own_postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with _store(Storage(url=Secret(own_postgres.new_database()))) as store:
        with pytest.raises(ParleyError):
            await store.keep(record(user="planted-prompt\0", labels={"planted-prompt": "planted-prompt"}))
    assert "refused" in caplog.text
    assert "planted" not in caplog.text


async def _all(store: Store) -> list[Record]:
    listed = await store.list("acme", CompletionFilter(), Page(limit=100))
    found = [await store.get("acme", each.id) for each in listed.items]
    return [each for each in found if each is not None]


@asynccontextmanager
async def _store(settings: Storage) -> AsyncIterator[Store]:
    async with running(open_store(settings)) as store:
        yield store


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@/absent?host=/tmp&sslmode=perhaps",
        f"postgresql://user:s3cret@{'a' * 70}.invalid/absent",
        "postgresql://user:s3cret@[::1/absent",
        "nonsense",
    ],
)
async def test_a_url_that_nothing_can_be_made_of_is_an_outage(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with _store(Storage(url=Secret(url), commit_timeout_s=0.2)) as store:
        await until(lambda: "not available" in caplog.text)
        with pytest.raises(StorageUnavailable):
            await store.keep(record())
    assert "s3cret" not in caplog.text


async def test_what_is_no_postgresql_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SN\nwhat is this")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _store(Storage(url=Secret(f"postgresql://u@127.0.0.1:{port}/x"), commit_timeout_s=0.2)) as store:
            await until(lambda: "not available" in caplog.text)
            assert not store.is_available


async def test_another_process_does_not_take_the_log_of_sqlite_away(tmp_path: Path) -> None:
    """It does so as the last that has the file open, by the locks of the others."""
    folder = tmp_path / "data"
    settings = Storage(data_dir=str(folder))
    async with _store(settings) as store:
        before, after = record(), record()
        await store.keep(before)
        await store._backend.open()  # as after every outage
        other = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"import sqlite3; sqlite3.connect({str(folder / 'parley.db')!r}).execute('SELECT 1 FROM tags')",
        )
        assert await other.wait() == 0
        await store.keep(after)
        shutil.copytree(folder, tmp_path / "as after a kill")
    async with _store(Storage(data_dir=str(tmp_path / "as after a kill"))) as store:
        assert await _all(store) == [before, after]
