"""What callers may rely on while a database is down, slow or picky; the database is played."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest

from service.errors import ParleyError, Reason, StorageUnavailable
from service.storage import pending
from service.storage.backend import Backend, Outage, Refused
from service.storage.record import CompletionFilter, Page
from service.storage.rows import Rows
from service.storage.settings import Storage
from service.storage.store import Store
from tests.storage.records import record, running, until


@dataclass
class PlayedDatabase:
    """Does what the test says."""

    is_up: bool = True
    is_full: bool = False
    """Whether it can be read, and not be written to."""
    refused_model: str = ""
    fault: Exception | None = None
    """What writing raises."""
    may_open: asyncio.Event = field(default_factory=asyncio.Event)
    may_write: asyncio.Event = field(default_factory=asyncio.Event)
    is_writing: asyncio.Event = field(default_factory=asyncio.Event)
    groups: list[tuple[list[str], bool]] = field(default_factory=list)
    """The models of each group that was to be written, and whether that was a retry."""
    written: list[str] = field(default_factory=list)
    opened: int = 0
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.may_open.set()
        self.may_write.set()

    async def open(self) -> None:
        self.opened += 1
        await self.may_open.wait()
        self._check()

    async def close(self) -> None:
        self.is_closed = True

    async def write(self, group: Sequence[Rows], *, is_retry: bool) -> None:
        models = [rows.completion["model"] for rows in group]
        self.groups.append((models, is_retry))
        self.is_writing.set()
        await self.may_write.wait()
        self._check()
        if self.fault is not None:
            raise self.fault
        if self.is_full:
            raise Outage("full")
        if self.refused_model in models:
            raise Refused("refused")
        self.written += models

    async def get(self, *_: object) -> None:
        self._check()

    async def list(self, *_: object) -> None:
        raise Outage("slow", is_slow=True)

    def _check(self) -> None:
        if not self.is_up:
            raise Outage("down")


def _store(database: PlayedDatabase, policy: Literal["required", "best_effort"] = "required") -> Store:
    backend: Backend = database  # type: ignore[assignment] # tests ask for nothing that it does not play
    return Store(backend, Storage(policy=policy, commit_timeout_s=0.2))


async def test_a_record_is_kept_when_it_is_committed_and_not_before() -> None:
    database = PlayedDatabase()
    database.may_write.clear()
    async with running(_store(database)) as store:
        keeping = asyncio.create_task(store.keep(record()))
        await database.is_writing.wait()
        assert not keeping.done()
        database.may_write.set()
        assert await keeping


async def test_what_comes_during_a_commit_is_written_together_next() -> None:
    database = PlayedDatabase()
    database.may_write.clear()
    async with running(_store(database)) as store:
        store.keep_later(record(model="first"))
        await database.is_writing.wait()
        for number in range(300):
            store.keep_later(record(model=str(number)))
        database.may_write.set()
        await until(lambda: len(database.written) == 301)
    assert [len(models) for models, _ in database.groups] == [1, 256, 44]


async def test_while_the_database_is_down_calls_fail_at_once_and_then_no_more() -> None:
    database = PlayedDatabase(is_up=False)
    async with running(_store(database)) as store:
        await until(lambda: database.opened > 2)
        assert not store.is_available
        with pytest.raises(StorageUnavailable) as caught:
            store.check()
        assert caught.value.retry_after_s
        with pytest.raises(StorageUnavailable):
            await store.get("acme", record().id)
        with pytest.raises(StorageUnavailable):
            await store.keep(record())
        database.is_up = True
        await until(lambda: store.is_available)
        store.check()
        assert await store.keep(record(model="later"))
    assert database.written == ["later"]  # of the one that failed, its caller knows
    assert store.lost == 0


async def test_until_it_is_known_whether_there_is_a_database_calls_wait() -> None:
    database = PlayedDatabase()
    database.may_open.clear()
    async with running(_store(database)) as store:
        store.check()
        asked = [asyncio.create_task(store.get("acme", record().id)), asyncio.create_task(store.keep(record()))]
        await until(lambda: database.opened)
        assert not any(task.done() for task in asked)
        database.may_open.set()
        assert await asyncio.gather(*asked) == [None, True]


async def test_a_broken_connection_is_made_anew_without_a_caller_noticing() -> None:
    database = PlayedDatabase()
    async with running(_store(database)) as store:
        assert await store.keep(record(model="before"))
        database.may_write.clear()
        database.is_writing.clear()
        keeping = asyncio.create_task(store.keep(record(model="amid")))
        await database.is_writing.wait()
        database.is_up = False
        database.may_write.set()
        await until(lambda: not store.is_available)
        database.is_up = True
        assert await keeping
    assert database.groups[1:] == [(["amid"], False), (["amid"], True)]


async def test_a_database_that_can_be_read_and_not_written_to_is_down() -> None:
    database = PlayedDatabase(is_full=True)
    async with running(_store(database)) as store:
        store.keep_later(record(model="waiting"))
        await until(lambda: database.opened > 2)
        with pytest.raises(StorageUnavailable):
            store.check()
        database.is_full = False
        await until(lambda: store.is_available)
    assert database.written == ["waiting"]


async def test_a_silent_commit_is_not_waited_for_longer_than_configured() -> None:
    database = PlayedDatabase()
    database.may_write.clear()
    async with running(_store(database)) as store:
        store.keep_later(record(model="begun"))
        await database.is_writing.wait()
        with pytest.raises(StorageUnavailable):
            await store.keep(record(model="not begun"))
        database.may_write.set()
        await until(lambda: database.written)
    assert database.written == ["begun"]


async def test_a_record_that_is_refused_takes_no_other_with_it() -> None:
    database = PlayedDatabase(refused_model="bad")
    database.may_write.clear()
    async with running(_store(database)) as store:
        store.keep_later(record(model="first"))
        await database.is_writing.wait()
        models = [*(f"good {number}" for number in range(9)), "bad", "good 9"]
        keeping = [asyncio.create_task(store.keep(record(model=model))) for model in models]
        await asyncio.sleep(0)  # they have all been handed over
        database.may_write.set()
        outcomes = await asyncio.gather(*keeping, return_exceptions=True)
        assert [outcome for outcome in outcomes if outcome is not True] == [outcomes[9]]
        assert isinstance(outcomes[9], ParleyError)
        assert outcomes[9].reason is Reason.INTERNAL
        assert store.is_available
        assert store.lost == 0
        store.keep_later(record(model="bad"))
        await until(lambda: store.lost)
    assert sorted(database.written) == sorted(["first", *models[:9], "good 9"])


async def test_best_effort_answers_while_the_database_is_down_and_stores_later() -> None:
    database = PlayedDatabase(is_up=False)
    async with running(_store(database, "best_effort")) as store:
        store.check()
        early = asyncio.create_task(store.keep(record(model="early")))
        await until(lambda: database.opened > 1)
        store.check()
        assert not await asyncio.wait_for(early, 30)
        assert not await store.keep(record(model="late"))
        assert store.lost == 0
        database.is_up = True
        await until(lambda: store.is_available)
        assert await store.keep(record(model="last"))
    assert database.written == ["early", "late", "last"]


async def test_best_effort_counts_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_MAX_WAITING", 2)
    database = PlayedDatabase(is_up=False)
    async with running(_store(database, "best_effort")) as store:
        await until(lambda: database.opened > 1)
        assert [await store.keep(record()) for _ in range(3)] == [False] * 3
        assert store.lost == 1
    assert store.lost == 3  # with the two that still waited at the end


async def test_a_full_queue_refuses_what_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_MAX_WAITING", 2)
    database = PlayedDatabase()
    database.may_write.clear()
    async with running(_store(database)) as store:
        store.keep_later(record(model="0"))
        await database.is_writing.wait()
        store.keep_later(record(model="1"))
        store.keep_later(record(model="2"))
        with pytest.raises(StorageUnavailable):
            await store.keep(record(model="3"))
        store.keep_later(record(model="4"))
        assert store.lost == 1
        database.may_write.set()
        await until(lambda: len(database.written) == 3)
        assert await store.keep(record(model="5"))
    assert database.written == ["0", "1", "2", "5"]


async def test_the_queue_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_MAX_WAITING_BYTES", 1)
    store = _store(PlayedDatabase())
    store.keep_later(record())  # one is always taken, however large
    store.keep_later(record())
    assert store.lost == 1
    await store.aclose()
    assert store.lost == 1


async def test_what_cannot_be_written_at_the_end_is_lost_and_counted() -> None:
    database = PlayedDatabase(is_up=False)
    async with running(_store(database)) as store:
        await until(lambda: database.opened)
        store.keep_later(record())
    assert (store.lost, database.is_closed) == (1, True)
    with pytest.raises(StorageUnavailable):
        store.check()
    with pytest.raises(StorageUnavailable):
        await store.keep(record())
    with pytest.raises(StorageUnavailable):
        await store.get("acme", record().id)


async def test_a_reader_that_takes_too_long_is_no_outage_as_long_as_the_database_answers() -> None:
    database = PlayedDatabase()
    async with running(_store(database)) as store:
        await store.keep(record())
        opened = database.opened
        with pytest.raises(StorageUnavailable):
            await store.list("acme", CompletionFilter(), Page())
        assert store.is_available
        await until(lambda: database.opened > opened)
        assert store.is_available
        database.is_up = False
        with pytest.raises(StorageUnavailable):
            await store.list("acme", CompletionFilter(), Page())
        await until(lambda: not store.is_available)


async def test_a_fault_of_the_service_itself_ends_nothing_and_is_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = PlayedDatabase()
    async with running(_store(database)) as store:
        await store.keep(record(model="1"))
        database.fault = RuntimeError("planted-prompt")
        with pytest.raises(StorageUnavailable):
            await store.keep(record(model="2"))
        assert not store.is_available
        database.fault = None
        await until(lambda: store.is_available)
        assert await store.keep(record(model="3"))
    assert "failed of RuntimeError" in caplog.text
    assert "planted" not in caplog.text


async def test_the_log_tells_all_losses_once_the_database_is_back_and_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "_MAX_WAITING", 1)
    database = PlayedDatabase(is_up=False)
    async with running(_store(database, policy="best_effort")) as store:
        await until(lambda: database.opened)
        for _ in range(5):
            assert not await store.keep(record())
        database.is_up = True
        await until(lambda: store.is_available)
        database.is_up = False
        for _ in range(4):
            await store.keep(record())
    told = [message for message in caplog.messages if "could not be stored" in message]
    assert [message.split()[1] for message in told] == ["1", "4", str(store.lost)]
    assert store.lost > 4
