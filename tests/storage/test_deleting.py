"""What is deleted leaves nothing behind; what belongs to others stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from service.answers.ids import new_id
from service.settings import Secret
from service.storage.database import Database, open_database
from service.storage.record import CompletionFilter, Page, Record
from service.storage.rows import rows_of
from service.storage.settings import Storage
from service.storage.store import Store, open_store
from service.storage.tables import METADATA
from tests.storage.records import full_record, record, running
from tests.support.postgres import Postgres

DAY = timedelta(days=1)


async def test_a_deleted_completion_takes_all_that_is_its_own_with_it(database: Database) -> None:
    kept = full_record()
    await _write(database, kept)
    assert await database.delete("acme", kept.id)
    assert await _rows(database) == {"completions": 0, "labels": 0, "tags": 0, "sessions": 0}
    assert not await database.delete("acme", kept.id)


async def test_a_session_goes_on_without_its_first_completion(database: Database) -> None:
    first, second, third = (record(session_id=UUID(int=1), created=n, user=f"u{n}") for n in (1, 2, 3))
    await _write(database, first, second, third)
    assert await database.delete("acme", first.id)
    session = await database.session("acme", UUID(int=1))
    assert session is not None
    assert (session.created, session.last_used, session.user, session.completions) == (2, 3, "u2", 2)
    assert await database.delete("acme", third.id)
    session = await database.session("acme", UUID(int=1))
    assert session is not None
    assert (session.created, session.last_used, session.completions) == (2, 2, 1)
    assert await database.delete("acme", second.id)
    assert await database.session("acme", UUID(int=1)) is None


async def test_a_deleted_session_takes_all_its_completions_with_it(store: Store) -> None:
    session_id, other = new_id(), record()
    kept = [record(session_id=session_id, labels={"a": "b"}) for _ in range(450)]
    for each in (*kept, other):
        store.keep_later(each)
    await store.keep(record(tenant="other", session_id=session_id))
    assert await store.delete_session("acme", session_id) == 450
    assert await store.delete_session("acme", session_id) is None
    listed = await store.list("acme", CompletionFilter(), Page())
    assert [each.id for each in listed.items] == [other.id]
    assert await store.session("other", session_id) is not None


async def test_what_is_old_is_pruned_in_batches(database: Database) -> None:
    now = datetime.now(UTC)
    old = [record(id=_id_at(now - 3 * DAY, number)) for number in range(450)]
    kept = [full_record(id=_id_at(now - DAY, number), tenant=tenant) for number, tenant in enumerate("ab")]
    await _write(database, *old, *kept)
    assert await database.prune(now - 2 * DAY) == 450
    assert await _rows(database) == {"completions": 2, "labels": 4, "tags": 6, "sessions": 2}
    assert await database.prune(now, "a") == 1
    assert await database.get("b", kept[1].id) == kept[1]


async def test_the_running_store_prunes_what_is_older_than_configured(settings: Storage) -> None:
    old, new = record(id=_id_at(datetime.now(UTC) - 3 * DAY)), record()
    database = open_database(settings)
    await database.open()
    await _write(database, old, new)
    limited = Storage(data_dir=settings.data_dir, url=settings.url, retention_days=2)
    async with running(open_store(limited)) as store:
        assert await store.get("acme", new.id) == new
        while await store.get("acme", old.id) is not None:  # noqa: ASYNC110 - it has just begun
            await asyncio.sleep(0.01)
    await database.close()


async def test_nothing_is_pruned_unless_it_is_configured(settings: Storage) -> None:
    old = record(id=_id_at(datetime(2001, 1, 1, tzinfo=UTC)))
    async with running(open_store(settings)) as store:
        await store.keep(old)
    async with running(open_store(settings)) as store:
        await store.keep(record())
        assert await store.get("acme", old.id) == old


async def test_a_deleted_user_leaves_nothing_in_any_tenant(database: Database) -> None:
    session = new_id()
    theirs = [record(tenant=tenant, user="ada", session_id=session, labels={"a": "b"}) for tenant in "xyz"]
    others = [record(tenant=tenant, user="bob", session_id=session) for tenant in "yz"]
    nobodys = record(tenant="z")
    await _write(database, *theirs, *others, nobodys)
    assert await database.delete_user("ada", "x") == 1
    assert await database.delete_user("ada") == 2
    assert await _rows(database) == {"completions": 3, "labels": 0, "tags": 0, "sessions": 3}
    for tenant in "yz":
        left = await database.session(tenant, session)
        assert left is not None
        assert left.user == "bob"
    assert [each async for each in database.records()] == [others[0], others[1], nobodys]


async def test_what_is_deleted_is_overwritten_in_sqlite(tmp_path: Path) -> None:
    settings = Storage(data_dir=str(tmp_path))
    database = open_database(settings)
    await database.open()
    kept = record(user="planted-user-of-sqlite" * 4, labels={"l": "planted-label-of-sqlite" * 4})
    await _write(database, kept)
    assert await database.delete_user(kept.user or "") == 1
    await database.close()  # the last connection empties the log
    assert b"planted-" not in _bytes_in(tmp_path)


async def test_many_replicas_write_and_delete_in_the_same_sessions_without_a_deadlock(postgres: Postgres) -> None:
    settings = Storage(url=Secret(postgres.new_database()))
    replicas = [open_database(settings) for _ in range(5)]
    for each in replicas:
        await each.open()
    sessions = [UUID(int=number) for number in range(1, 6)]

    async def work(replica: Database, number: int) -> None:
        for turn in range(25):
            kept = [record(session_id=sessions[(number + turn + place) % 5]) for place in range(4)]
            await _write(replica, *kept)
            if turn % 3 == 0:
                await replica.delete_session("acme", sessions[(number * turn) % 5])
            for each in kept[::2]:
                await replica.delete("acme", each.id)

    await asyncio.gather(*(work(replica, number) for number, replica in enumerate(replicas)))
    left = [each async for each in replicas[0].records()]
    for session_id in sessions:
        mine = [each for each in left if each.session_id == session_id]
        session = await replicas[0].session("acme", session_id)
        assert (session.completions if session else 0) == len(mine)
    for each in replicas:
        await each.close()


def _bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def _id_at(time: datetime, number: int = 0) -> UUID:
    return UUID(int=(int(time.timestamp() * 1000) << 80) | (new_id().int & (1 << 80) - 1) | number << 8)


async def _write(database: Database, *records: Record) -> None:
    await database.write([rows_of(each) for each in records], is_retry=False)


async def _rows(database: Database) -> dict[str, int]:
    async with database._engines.reading.connect() as connection:
        return {table.name: len((await connection.execute(select(table))).all()) for table in METADATA.sorted_tables}
