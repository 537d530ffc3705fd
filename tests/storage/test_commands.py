"""`python -m service store …`, as operators run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from service.answers.ids import completion_name
from service.storage.database import open_database
from service.storage.record import Record
from service.storage.rows import rows_of
from service.storage.settings import Storage
from tests.storage.records import full_record, record

ROOT = Path(__file__).parents[2]
OLD = UUID(int=int((datetime.now(UTC) - timedelta(days=10)).timestamp() * 1000) << 80)


async def _fill(settings: Storage, *records: Record) -> None:
    database = open_database(settings)
    await database.open()
    await database.write([rows_of(each) for each in records], is_retry=False)
    await database.close()


async def test_an_empty_database_is_migrated(settings: Storage, folder: Path) -> None:
    done = _store(settings, folder, "migrate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the tables are at revision 0001\n", "")


async def test_everything_is_exported_a_line_each_or_what_is_asked_for(settings: Storage, folder: Path) -> None:
    kept = [*(record() for _ in range(120)), full_record(), full_record(tenant="other"), record(user="bob")]
    await _fill(settings, *kept)
    for arguments, expected in (
        ((), kept),
        (("--user", "ada"), [kept[120], kept[121]]),
        (("--user", "ada", "--tenant", "acme"), [kept[120]]),
    ):
        done = _store(settings, folder, "export", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert {line["id"] for line in lines} == {completion_name(each.id) for each in expected}
        assert len(lines) == len(expected)


async def test_an_export_that_cannot_be_written_is_told(settings: Storage, folder: Path) -> None:
    await _fill(settings, *(record() for _ in range(50)))
    done = _store(settings, folder, "export", output="/dev/full")
    assert (done.returncode, done.stderr) == (1, "store: the export can't be written: No space left on device\n")


async def test_a_user_is_deleted(settings: Storage, folder: Path) -> None:
    await _fill(settings, full_record(), full_record(tenant="other"), record(user="bob"))
    done = _store(settings, folder, "delete-user", "ada", "--tenant", "other")
    assert (done.returncode, done.stdout) == (0, "deleted 1 completions\n")
    done = _store(settings, folder, "delete-user", "ada")
    assert (done.returncode, done.stdout) == (0, "deleted 1 completions\n")
    assert len(_store(settings, folder, "export").stdout.splitlines()) == 1


async def test_what_is_old_is_pruned(settings: Storage, folder: Path) -> None:
    await _fill(settings, record(id=OLD), record(id=OLD, tenant="other"), record())
    done = _store(settings, folder, "prune", "--older-than-days", "9.5", "--tenant", "other")
    assert (done.returncode, done.stdout) == (0, "deleted 1 completions\n")
    done = _store(settings, folder, "prune", "--older-than-days", "11")
    assert (done.returncode, done.stdout) == (0, "deleted 0 completions\n")
    done = _store(settings, folder, "prune", "--older-than-days", "0")
    assert (done.returncode, done.stdout) == (0, "deleted 2 completions\n")


MISUSES = {
    "no command": ((), "the following arguments are required: COMMAND"),
    "unknown": (("drop",), "invalid choice: 'drop'"),
    "no user": (("delete-user",), "the following arguments are required: USER"),
    "no days": (("prune",), "--older-than-days"),
    "negative days": (("prune", "--older-than-days=-1"), "expected a number of days from 0 to 36500"),
    "days in words": (("prune", "--older-than-days", "two"), "expected a number of days"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_a_misuse_is_told(folder: Path, case: str) -> None:
    arguments, expected = MISUSES[case]
    done = _store(Storage(data_dir=str(folder / "data")), folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert not (folder / "data").exists()


def test_a_database_that_cannot_be_reached_is_told_without_its_password(folder: Path) -> None:
    done = _run(
        _config(folder, {"url_env": "STORE_URL"}), "store", "migrate", STORE_URL="postgresql://a:s3cret@[::1]:9/b"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("store: the database is not available: ")
    assert "s3cret" not in done.stderr


def test_a_configuration_without_storage_is_told(folder: Path) -> None:
    done = _run(_config(folder, None), "store", "export")
    assert (done.returncode, done.stderr) == (2, "store: the configuration has no `storage`\n")


def test_a_wrong_configuration_is_told(folder: Path) -> None:
    done = _run(_config(folder, {"policy": "sometimes"}), "store", "export")
    assert done.returncode == 2
    assert done.stderr.startswith("store: wrong configuration: storage.policy")


def test_an_unknown_subcommand_is_told(folder: Path) -> None:
    done = _run(_config(folder, None), "shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: python -m service" in done.stderr


def _store(
    settings: Storage, folder: Path, *arguments: str, output: str | None = None
) -> subprocess.CompletedProcess[str]:
    if settings.url is None:
        return _run(_config(folder, {"data_dir": settings.data_dir}), "store", *arguments, output=output)
    config = _config(folder, {"url_env": "STORE_URL"})
    return _run(config, "store", *arguments, output=output, STORE_URL=settings.url.reveal())


def _config(folder: Path, storage: dict[str, str] | None) -> Path:
    file = folder / "parley.yaml"
    models = {"m": {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}]}}
    config = {"providers": {"local": {"kind": "embedded"}}, "models": models, "storage": storage}
    file.write_text(json.dumps(config))  # JSON is YAML
    return file


def _run(config: Path, *arguments: str, output: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    with ExitStack() as opened:
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env={**os.environ, "PARLEY_CONFIG": str(config), **environ},
            cwd=ROOT,
            stdout=subprocess.PIPE if output is None else opened.enter_context(Path(output).open("w")),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
