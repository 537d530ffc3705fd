"""`python -m service store …`: what operators do with the store, beside the running service or without it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.errors import ConfigError
from service.storage.backend import Outage, Refused
from service.storage.database import Database, open_database
from service.storage.export import line_of
from service.storage.migrating import HEAD
from service.storage.settings import Storage

_FAILED: Final = 1
_MISUSED: Final = 2
"""As argparse's own, and the service's on a wrong configuration."""
_INTERRUPTED: Final = 130
"""As shells tell of SIGINT."""


def main(arguments: Sequence[str], load: Callable[[], Storage | None]) -> int:
    """Do what the arguments say; the exit code is 0, 1 where the database fails, or 2 for what is wrong before.

    Args:
        arguments: Those behind `store`.
        load: Reads the section `storage` of the configuration; None: it has none.
    """
    wanted = _parser().parse_args(arguments)
    try:
        settings = load()
    except ConfigError as error:
        return _fail(f"wrong configuration: {error}", _MISUSED)
    if settings is None:
        return _fail("the configuration has no `storage`", _MISUSED)
    try:
        asyncio.run(_with_database(open_database(settings), wanted))
    except Outage as outage:
        return _fail(f"the database is not available: {outage.cause}", _FAILED)
    except Refused as refused:
        return _fail(f"the database refuses this: {refused}", _FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python writes the rest when it ends
        return _fail("whoever reads the export has closed it", _FAILED)
    except OSError as error:  # of standard output; the database's are outages
        return _fail(f"the export can't be written: {error.strerror}", _FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m service store", description="The store of the configured service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    tenant = argparse.ArgumentParser(add_help=False)
    tenant.add_argument("--tenant", help="only what is this tenant's; default: all")
    user = argparse.ArgumentParser(add_help=False)
    user.add_argument("--user", help="only what is of this end user; default: all")

    def add(name: str, task: _Task, help_: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_, parents=parents)
        command.set_defaults(task=task)
        return command

    add("migrate", _migrate, "bring the database's tables to the form of this version")
    add("export", _export, "print stored completions, one JSON object a line", tenant, user)
    delete = add("delete-user", _delete_user, "delete all stored completions of an end user", tenant)
    delete.add_argument("user", metavar="USER")
    prune = add("prune", _prune, "delete old stored completions", tenant)
    prune.add_argument("--older-than-days", type=_days, required=True, metavar="N")
    return parser


def _days(text: str) -> timedelta:
    try:
        days = timedelta(days=float(text))
    except (ValueError, OverflowError):
        days = timedelta(days=-1)
    if days < timedelta() or days > timedelta(days=36_500):
        raise argparse.ArgumentTypeError("expected a number of days from 0 to 36500")
    return days


_Task = Callable[[Database, argparse.Namespace], Coroutine[Any, Any, None]]


async def _with_database(database: Database, wanted: argparse.Namespace) -> None:
    try:
        await database.open()
        await wanted.task(database, wanted)
    finally:
        await database.close()


async def _migrate(_database: Database, _wanted: argparse.Namespace) -> None:
    _tell(f"the tables are at revision {HEAD}")  # opening has seen to it


async def _export(database: Database, wanted: argparse.Namespace) -> None:
    async for record in database.records(wanted.tenant, wanted.user):
        sys.stdout.buffer.write(line_of(record))
    sys.stdout.buffer.flush()


async def _delete_user(database: Database, wanted: argparse.Namespace) -> None:
    _tell(f"deleted {await database.delete_user(wanted.user, wanted.tenant)} completions")


async def _prune(database: Database, wanted: argparse.Namespace) -> None:
    before = datetime.now(UTC) - wanted.older_than_days
    _tell(f"deleted {await database.prune(before, wanted.tenant)} completions")


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def _fail(text: str, exit_code: int) -> int:
    sys.stderr.write(f"store: {text}\n")
    return exit_code
