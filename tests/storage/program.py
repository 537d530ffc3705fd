"""A process with a store: `python -m tests.storage.program TASK PLACE …`, where a place is a URL or a folder."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from uuid import UUID

import uvloop

from service.settings import Secret
from service.storage.database import open_database
from service.storage.settings import Storage
from service.storage.store import open_store
from tests.storage.records import full_record, running

_AT_ONCE = 20


def storage_at(place: str) -> Storage:
    """The section of the configuration."""
    return Storage(url=Secret(place)) if "://" in place else Storage(data_dir=place)


async def migrate(place: str) -> None:
    """Open the database as soon as standard input has a line."""
    database = open_database(storage_at(place))
    _tell("ready")
    await asyncio.to_thread(sys.stdin.readline)
    await database.open()
    await database.close()
    _tell("open")


async def write(place: str) -> None:
    """Store records without end, and tell the id of each that is stored."""
    async with running(open_store(storage_at(place))) as store, asyncio.TaskGroup() as group:

        async def work(number: int) -> None:
            for turn in count():
                kept = full_record(session_id=UUID(int=number), labels={"turn": str(turn), "worker": str(number)})
                await store.keep(kept)
                _tell(str(kept.id))

        for number in range(_AT_ONCE):
            group.create_task(work(number))


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run({"migrate": migrate, "write": write}[sys.argv[1]](sys.argv[2]))
