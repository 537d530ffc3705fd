"""What is kept is found again, by those it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from service.answers.ids import new_id
from service.errors import Reason, RequestError
from service.storage.database import Database
from service.storage.record import CompletionFilter, Page, Record
from service.storage.rows import rows_of
from service.storage.settings import Storage
from service.storage.store import Store, open_store
from tests.storage.records import SESSION, completion, full_record, record, request, running_store


@pytest.mark.parametrize("make", [record, full_record])
async def test_a_record_is_found_as_it_was_kept(store: Store, make: Callable[[], Record]) -> None:
    kept = make()
    assert await store.keep(kept)
    assert await store.get("acme", kept.id) == kept


async def test_what_is_kept_is_there_after_a_restart(settings: Storage) -> None:
    kept = full_record()
    async with running_store(settings) as store:
        assert await store.keep(kept)
    async with running_store(settings) as store:
        assert await store.get("acme", kept.id) == kept


async def test_a_tag_that_occurs_twice_is_kept_once(store: Store) -> None:
    kept = record(tags=("b", "a", "b"))
    await store.keep(kept)
    found = await store.get("acme", kept.id)
    assert found is not None
    assert found.tags == ("b", "a")


async def test_what_is_written_twice_is_there_once_and_as_it_was_first(database: Database) -> None:
    first, other = full_record(), record()
    again = replace(first, labels={"other": "label"}, tags=("other",), model="other")
    await database.write([rows_of(first)], is_retry=False)
    await database.write([rows_of(again), rows_of(other)], is_retry=True)
    await database.write([rows_of(first), rows_of(other)], is_retry=False)
    assert await database.get("acme", first.id) == first
    assert await database.get("acme", other.id) == other
    listed = await database.list("acme", CompletionFilter(), Page())
    assert [each.id for each in listed.items] == [first.id, other.id]


async def test_records_of_many_callers_are_written_together_and_all_are_there(store: Store) -> None:
    kept = [record(labels={"n": str(number)}, session_id=UUID(int=number % 7)) for number in range(300)]
    assert all(await asyncio.gather(*(store.keep(each) for each in kept)))
    for each in kept[::50]:
        assert await store.get("acme", each.id) == each


async def test_a_record_of_a_caller_who_has_left_is_written(store: Store) -> None:
    left, later = record(), record()
    task = asyncio.create_task(store.keep(left))
    await asyncio.sleep(0)  # it has been handed over, and not been written
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.keep_later(later)
    await store.keep(record())  # is written after them
    assert await store.get("acme", left.id) == left
    assert await store.get("acme", later.id) == later
    assert store.lost == 0


async def test_what_is_pending_at_the_end_is_written(settings: Storage) -> None:
    pending = [record() for _ in range(50)]
    async with running_store(settings) as store:
        await store.keep(record())
        for each in pending:
            store.keep_later(each)
    async with running_store(settings) as store:
        assert [await store.get("acme", each.id) for each in pending] == pending


async def test_what_is_pending_at_the_end_is_written_though_the_store_never_ran(settings: Storage) -> None:
    kept = record()
    store = open_store(settings)
    store.keep_later(kept)
    await store.aclose()
    async with running_store(settings) as store:
        assert await store.get("acme", kept.id) == kept


async def test_labels_are_replaced_and_filtered_by(store: Store) -> None:
    kept = full_record()
    await store.keep(kept)
    labels = {"topic": "refund", "new": ""}
    updated = await store.update_labels("acme", kept.id, labels)
    assert updated is not None
    assert updated.labels == labels
    assert await store.get("acme", kept.id) == replace(kept, labels=labels)
    assert await _ids(store, CompletionFilter(labels={"topic": "billing"})) == []
    assert await _ids(store, CompletionFilter(labels=labels)) == [kept.id]
    assert await store.update_labels("acme", kept.id, {}) == replace(updated, labels={})
    assert await _ids(store, CompletionFilter(labels={"new": ""})) == []


async def test_the_longest_labels_users_and_tags_are_kept(store: Store) -> None:
    # Four bytes a character: PostgreSQL's indexes take entries of up to 2,704 bytes.
    labels = {chr(0x1F600 + number) * 64: chr(0x1F600 + number) * 512 for number in range(16)}
    tags = tuple(chr(0x1F600 + number) * 64 for number in range(64))
    kept = record(tenant="😀" * 256, user="🙂" * 256, model="😀" * 256, labels=labels, tags=tags)
    await store.keep(kept)
    assert await store.get(kept.tenant, kept.id) == kept
    wanted = CompletionFilter(labels=labels, tags=tags, user=kept.user, model=kept.model, session_id=kept.session_id)
    listed = await store.list(kept.tenant, wanted, Page())
    assert [each.id for each in listed.items] == [kept.id]


async def test_a_large_record_is_kept_whole(store: Store) -> None:
    kept = record(request=request("?" * 8_000_000), completion=completion(new_id(), "!" * 8_000_000))
    await store.keep(kept)
    assert await store.get("acme", kept.id) == kept


async def test_another_tenant_sees_and_changes_nothing(store: Store) -> None:
    mine, theirs = full_record(), full_record(tenant="other")
    await store.keep(mine)
    await store.keep(theirs)
    for wanted in (
        CompletionFilter(),
        CompletionFilter(model="echo"),
        CompletionFilter(labels={"topic": "billing"}),
        CompletionFilter(tags=("beta",)),
        CompletionFilter(user="ada"),
        CompletionFilter(session_id=SESSION),
        CompletionFilter(model="echo", labels={"topic": "billing"}, tags=("beta",), user="ada", session_id=SESSION),
    ):
        assert await _ids(store, wanted) == [mine.id]
        assert await _ids(store, wanted, tenant="third") == []
    assert await store.get("other", mine.id) is None
    assert await store.summary("other", mine.id) is None
    assert await store.update_labels("other", mine.id, {}) is None
    assert not await store.delete("other", mine.id)
    assert await store.session("third", SESSION) is None
    assert (await store.sessions("third", None, Page())).items == []
    assert await store.delete_session("third", SESSION) is None
    with pytest.raises(RequestError) as caught:
        await store.sessions("third", None, Page(after=SESSION))
    assert caught.value.reason is Reason.SESSION_NOT_FOUND
    assert await store.delete_session("other", SESSION) == 1
    assert await store.get("acme", mine.id) == mine
    assert [each.id for each in (await store.sessions("acme", None, Page())).items] == [SESSION]


async def test_readers_that_are_cancelled_leave_nothing_behind(store: Store) -> None:
    kept = full_record()
    await store.keep(kept)
    for turns in range(60):
        task = asyncio.create_task(store.list("acme", CompletionFilter(), Page()))
        for _ in range(turns):  # so that it is cancelled at many places
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
    assert await asyncio.gather(*(store.get("acme", kept.id) for _ in range(20))) == [kept] * 20


async def test_writers_that_are_cancelled_leave_nothing_behind(store: Store) -> None:
    kept = full_record()
    await store.keep(kept)
    for turns in range(60):
        task = asyncio.create_task(store.update_labels("acme", kept.id, {"turn": str(turns)}))
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
    await store.update_labels("acme", kept.id, kept.labels)
    assert await store.get("acme", kept.id) == kept


def test_the_repr_of_a_record_shows_nothing_of_the_conversation() -> None:
    shown = repr(full_record(labels={"a": "planted-prompt"}, tags=("planted-prompt",), user="planted-prompt"))
    assert "planted" not in shown
    assert "Hello" not in shown


async def _ids(store: Store, wanted: CompletionFilter, tenant: str = "acme") -> list[UUID]:
    return [each.id for each in (await store.list(tenant, wanted, Page())).items]
