"""The section `storage` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from service.limits import Seconds
from service.settings import Secret, Section


class Storage(Section, frozen=True):
    """Where completions are stored that callers want to be stored. SQLite, unless a URL is given."""

    data_dir: str = "data"
    """SQLite: the folder of the database, `parley.db`; made where it is missing. PARLEY_DATA_DIR overrides it."""
    url_env: str | None = None
    url_file: str | None = None
    """PostgreSQL: where its URL is, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`."""
    url: Secret | None = None
    """Filled from one of the two above; it can't stand in the file."""
    policy: Literal["required", "best_effort"] = "required"
    """What becomes of a call with `store: true` while the database is down: it fails, or is answered and not stored."""
    retention_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] | None = None
    """After how many days stored completions are deleted; None: never."""
    commit_timeout_s: Seconds = 5.0
    """How long the end of an answer may wait for being stored."""
