"""Lists of completions and of sessions: filters, pages, and what they cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Select, text

from service.answers.ids import new_id
from service.storage.database import Database
from service.storage.reading import places_of
from service.storage.record import CompletionFilter, Listed, Page, Record
from service.storage.rows import rows_of
from service.storage.sessions import session_places
from service.storage.store import Store
from tests.storage.records import completion, record

FILTERS = {
    "none": CompletionFilter(),
    "model": CompletionFilter(model="m1"),
    "user": CompletionFilter(user="u1"),
    "session": CompletionFilter(session_id=UUID(int=1)),
    "label": CompletionFilter(labels={"l": "1"}),
    "tag": CompletionFilter(tags=("t1",)),
    "two labels": CompletionFilter(labels={"l": "1", "k": "0"}),
    "two tags": CompletionFilter(tags=("t1", "s0")),
    "all": CompletionFilter(
        model="m1", user="u1", session_id=UUID(int=1), labels={"l": "1", "k": "0"}, tags=("t1", "s0")
    ),
    "nothing": CompletionFilter(model="m1", labels={"l": "absent"}),
}


def _various(count: int) -> list[Record]:
    """Records whose models, users, sessions, labels and tags differ independently of each other."""
    chance = random.Random(1)
    return [
        record(
            created=7,  # all at the same second
            model=f"m{chance.randrange(3)}",
            user=f"u{chance.randrange(3)}" if chance.random() < 0.8 else None,
            session_id=UUID(int=chance.randrange(3)),
            labels={"l": str(chance.randrange(2)), "k": str(chance.randrange(2))},
            tags=(f"t{chance.randrange(2)}", f"s{chance.randrange(2)}"),
        )
        for _ in range(count)
    ]


def _holds(wanted: CompletionFilter, each: Record) -> bool:
    return (
        wanted.model in {None, each.model}
        and wanted.user in {None, each.user}
        and wanted.session_id in {None, each.session_id}
        and wanted.labels.items() <= each.labels.items()
        and set(wanted.tags) <= set(each.tags)
    )


async def test_every_filter_finds_what_it_says_on_pages_of_every_size_in_both_orders(database: Database) -> None:
    kept = _various(400)
    await database.write([rows_of(each) for each in random.Random(2).sample(kept, len(kept))], is_retry=False)
    for wanted in FILTERS.values():
        expected = [each.id for each in kept if _holds(wanted, each)]
        for limit in (1, 7, 100) if wanted == FILTERS["all"] else (19, 100):
            for descending in (False, True):
                found = await _all_pages(database, wanted, limit, descending=descending)
                assert found == (expected[::-1] if descending else expected), (wanted, limit, descending)


async def test_pages_go_on_after_their_last_completion_was_deleted(store: Store) -> None:
    kept = [record() for _ in range(5)]
    for each in kept:
        await store.keep(each)
    assert await store.delete("acme", kept[1].id)
    page = await store.list("acme", CompletionFilter(), Page(after=kept[1].id, limit=2))
    assert ([each.id for each in page.items], page.has_more) == ([kept[2].id, kept[3].id], True)
    page = await store.list("acme", CompletionFilter(), Page(after=kept[1].id, limit=2, descending=True))
    assert ([each.id for each in page.items], page.has_more) == ([kept[0].id], False)


async def test_large_answers_come_in_smaller_pages(store: Store) -> None:
    kept = [record(completion=completion(new_id(), "!" * 1_200_000)) for _ in range(5)]
    for each in kept:
        await store.keep(each)
    page = await store.list("acme", CompletionFilter(), Page(limit=4))
    assert ([each.id for each in page.items], page.has_more) == ([kept[0].id, kept[1].id], True)
    page = await store.list("acme", CompletionFilter(), Page(limit=4, after=kept[2].id))
    assert ([each.id for each in page.items], page.has_more) == ([kept[3].id, kept[4].id], False)


async def test_sessions_are_listed_by_their_first_completions(database: Database) -> None:
    names = random.Random(3).sample(range(1, 1000), 25)  # their ids are in another order
    kept = [record(session_id=UUID(int=name), user=f"u{name % 2}", created=name) for name in names]
    later = [record(session_id=each.session_id, user="other", created=2000) for each in kept[:10]]
    await database.write([rows_of(each) for each in (*later, *kept)], is_retry=False)
    for user in (None, "u0", "u1", "other"):
        expected = [each.session_id for each in kept if user in {None, each.user}]
        for descending in (False, True):
            found = await _all_sessions(database, user, descending=descending)
            assert found == (expected[::-1] if descending else expected)
    listed = await database.sessions("acme", None, Page(limit=1))
    first = listed.items[0]
    assert (first.created, first.last_used, first.user) == (names[0], 2000, f"u{names[0] % 2}")
    assert first.completions is None
    session = await database.session("acme", kept[0].session_id)
    assert session is not None
    assert (session.completions, session.last_used) == (2, 2000)


async def test_a_session_begins_with_its_first_completion_whichever_is_written_first(database: Database) -> None:
    first, second = record(session_id=UUID(int=5), created=1, user="a"), record(session_id=UUID(int=5), created=2)
    await database.write([rows_of(second)], is_retry=False)
    await database.write([rows_of(first)], is_retry=False)
    session = await database.session("acme", UUID(int=5))
    assert session is not None
    assert (session.created, session.last_used, session.user, session.completions) == (1, 2, "a", 2)


INDEXES = {
    "none": "completions_pkey",
    "model": "completions_of_model",
    "user": "completions_of_user",
    "session": "completions_of_session",
    "label": "labels_by_pair",
    "tag": "tags_by_tag",
}
SESSION_INDEXES = {None: "sessions_of_tenant", "u1": "sessions_of_user"}


@pytest.fixture
async def full_database(database: Database) -> Database:
    """A database with so many rows that it pays to use an index; PostgreSQL has its statistics, as after a while."""
    kept = _various(4000)
    kept += [record(session_id=UUID(int=number + 10), user=f"u{number % 3}") for number in range(2000)]
    for begin in range(0, len(kept), 500):
        await database.write([rows_of(each) for each in kept[begin : begin + 500]], is_retry=False)
    if database._engines.writing.dialect.name == "postgresql":
        async with database._engines.writing.begin() as connection:
            await connection.execute(text("ANALYZE"))
    return database


async def test_a_page_by_one_filter_is_one_range_of_an_index(full_database: Database) -> None:
    middle = new_id().int - 1
    for name, index in INDEXES.items():
        for after in (None, UUID(int=middle)):
            for descending in (False, True):
                page = Page(after=after, descending=descending)
                await _check_plan(full_database, places_of("acme", FILTERS[name], page), index)


async def test_a_page_of_sessions_is_one_range_of_an_index(full_database: Database) -> None:
    for user, index in SESSION_INDEXES.items():
        for place in (None, new_id()):
            for descending in (False, True):
                statement = session_places("acme", user, Page(descending=descending), place)
                await _check_plan(full_database, statement, index)


async def _check_plan(database: Database, statement: Select[Any], index: str) -> None:
    engine = database._engines.reading
    sql = str(statement.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    async with engine.connect() as connection:
        rows: Sequence[Any] = (await connection.exec_driver_sql(f"{explain} {sql}")).all()
    plan = "\n".join(str(row[-1]) for row in rows)
    if engine.dialect.name == "sqlite":
        index = index.replace("completions_pkey", "sqlite_autoindex_completions_1")
    assert f" {index} " in plan, plan
    for bad in ("TEMP B-TREE", "Sort", "Seq Scan", "Bitmap", "Filter", "SCAN "):
        assert bad not in plan, plan


async def _all_pages(database: Database, wanted: CompletionFilter, limit: int, *, descending: bool) -> list[UUID]:
    ids: list[UUID] = []
    while True:
        page = Page(after=ids[-1] if ids else None, limit=limit, descending=descending)
        listed = await database.list("acme", wanted, page)
        ids += [each.id for each in listed.items]
        _check_page(listed, limit)
        if not listed.has_more:
            return ids


async def _all_sessions(database: Database, user: str | None, *, descending: bool) -> list[UUID]:
    ids: list[UUID] = []
    while True:
        page = Page(after=ids[-1] if ids else None, limit=4, descending=descending)
        listed = await database.sessions("acme", user, page)
        ids += [each.id for each in listed.items]
        _check_page(listed, 4)
        if not listed.has_more:
            return ids


def _check_page(listed: Listed[Any], limit: int) -> None:
    assert len(listed.items) == limit or (len(listed.items) < limit and not listed.has_more)
