"""Several processes at one database, and processes that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from service.storage.database import Database, open_database
from service.storage.settings import Storage

ROOT = Path(__file__).parents[2]


async def test_ten_processes_may_open_an_empty_database_at_once(settings: Storage) -> None:
    processes = [_start("migrate", settings) for _ in range(10)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "open\n"), errors
    database = open_database(settings)
    await database.open()
    async with database._engines.reading.connect() as connection:
        assert (await connection.scalars(text("SELECT version_num FROM alembic_version"))).all() == ["0001"]
    await database.close()


async def test_what_was_acknowledged_survives_the_death_of_the_process_and_is_there_once(settings: Storage) -> None:
    chance = random.Random(5)
    acknowledged: list[UUID] = []
    for _ in range(4):
        acknowledged += _write_and_kill(settings, chance.uniform(0.05, 0.8))
    assert len(acknowledged) > 50
    database = open_database(settings)
    await database.open()
    await _check_whole(database, acknowledged)
    await database.close()


async def _check_whole(database: Database, acknowledged: Sequence[UUID]) -> None:
    records = [each async for each in database.records()]
    ids = [each.id for each in records]
    assert set(acknowledged) <= set(ids)
    assert len(set(ids)) == len(ids)
    for each in records:  # a record is there with all that belongs to it, acknowledged or not
        assert set(each.labels) == {"turn", "worker"}
        assert each.tags == ("beta", "Äpfel", "a b")
        session = await database.session("acme", each.session_id)
        assert session is not None


def _write_and_kill(settings: Storage, after_s: float) -> list[UUID]:
    process = _start("write", settings)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(after_s)  # the moment is to be a random one
    process.send_signal(signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    whole = (first + output).rpartition("\n")[0]  # the last line may have been cut
    return [UUID(line) for line in whole.splitlines()]


def _start(task: str, settings: Storage) -> subprocess.Popen[str]:
    place = settings.url.reveal() if settings.url is not None else settings.data_dir
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.program", task, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
