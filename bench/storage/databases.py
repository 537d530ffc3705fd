"""Databases to measure, started for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from service.settings import Secret
from service.storage.settings import Storage
from tests.support.postgres import running_postgres

Kind = Literal["sqlite", "postgresql"]

_URL_VARIABLE: Final = "PARLEY_BENCH_DATABASE_URL"


@dataclass(frozen=True)
class Place:
    """A database, as the store takes it and as a configuration names it."""

    settings: Storage
    section: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict, repr=False)


@contextmanager
def database(kind: Kind, folder: Path) -> Iterator[Place]:
    """An empty database until the block is left: SQLite's in the folder, PostgreSQL's in one of its own."""
    if kind == "sqlite":
        data_dir = str(folder / "data")
        yield Place(Storage(data_dir=data_dir), {"data_dir": data_dir})
        return
    with running_postgres(syncs=True) as server:
        url = server.new_database()
        yield Place(Storage(url=Secret(url)), {"url_env": _URL_VARIABLE}, {_URL_VARIABLE: url})
