"""More is asked of a database than it can do: whoever stores is not held up, and nothing takes it for an outage."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import StorageUnavailable
from service.storage import transactions
from service.storage.store import Store
from tests.storage.records import record, request

AT_ONCE = 60


async def test_many_readers_of_large_requests_are_no_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_TIMEOUT_S", 0.5)
    kept = record(request=request("x" * 2**24))
    await store.keep(kept)
    reading = [asyncio.create_task(store.get("acme", kept.id)) for _ in range(AT_ONCE)]
    outcomes = await asyncio.gather(*reading, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, StorageUnavailable)]
    assert {type(outcome) for outcome in outcomes} <= {type(kept), StorageUnavailable}
    store.check()
    assert await store.keep(record())


async def test_who_stores_does_not_wait_behind_those_who_delete(store: Store) -> None:
    kept = [record() for _ in range(AT_ONCE)]
    await asyncio.gather(*map(store.keep, kept))
    deleting = [asyncio.create_task(store.delete("acme", each.id)) for each in kept]
    await asyncio.wait(deleting, return_when=asyncio.FIRST_COMPLETED)
    assert await store.keep(record())
    assert not all(task.done() for task in deleting)
    assert await asyncio.gather(*deleting) == [True] * AT_ONCE


async def test_a_change_whose_caller_left_before_its_turn_is_not_made(store: Store) -> None:
    kept = [record() for _ in range(10)]
    await asyncio.gather(*map(store.keep, kept))
    deleting = [asyncio.create_task(store.delete("acme", each.id)) for each in kept]
    await asyncio.wait(deleting, return_when=asyncio.FIRST_COMPLETED)
    deleting[-1].cancel()
    await asyncio.wait(deleting)
    assert await store.get("acme", kept[-1].id) == kept[-1]
    assert await store.delete("acme", kept[-1].id)
