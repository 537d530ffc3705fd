"""What the store needs of a database, and how databases fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from service.storage.record import CompletionFilter, Listed, Page, Record, Session, Summary
from service.storage.rows import Rows


class Outage(Exception):
    """The database does not do what it is asked; later it may.

    Args:
        cause: For the log; without any text of the database, which may quote what is stored.
        is_slow: Whether all that is known is that it took too long.
    """

    def __init__(self, cause: str, *, is_slow: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_slow = is_slow


class Refused(Exception):
    """The database does not take what it was given, and never will."""


class UnknownPlace(Exception):
    """A page was asked for behind something that is not there."""


class Backend(Protocol):
    """A database.

    Every method raises `Outage` where the database does not answer, and leaves nothing half done, but for the two that
    delete in batches: `delete_session` and `prune`. What has another tenant is as what is not there.
    """

    async def open(self) -> None:
        """Connect, or see whether the connection stands; bring the tables to their newest form."""

    async def close(self) -> None:
        """Close all connections; raises nothing."""

    async def write(self, group: Sequence[Rows], *, is_retry: bool) -> None:
        """Commit the rows in one transaction; of ids that are there already nothing changes.

        Args:
            group: Of any tenants and sessions.
            is_retry: Whether some of them may have been committed before.

        Raises:
            Refused: One of the rows can't be stored; none is.
        """

    async def get(self, tenant: str, completion_id: UUID) -> Record | None:
        """One completion."""

    async def summary(self, tenant: str, completion_id: UUID) -> Summary | None:
        """One completion without its request."""

    async def list(self, tenant: str, wanted: CompletionFilter, page: Page) -> Listed[Summary]:
        """A page of completions, by their ids."""

    async def update_labels(self, tenant: str, completion_id: UUID, labels: Mapping[str, str]) -> Summary | None:
        """Replace the labels of a completion."""

    async def delete(self, tenant: str, completion_id: UUID) -> bool:
        """Delete a completion, and its session with the last one; whether it was there."""

    async def sessions(self, tenant: str, user: str | None, page: Page) -> Listed[Session]:
        """A page of sessions, by their first completions.

        Raises:
            UnknownPlace: `page.after` is no session.
        """

    async def session(self, tenant: str, session_id: UUID) -> Session | None:
        """One session."""

    async def delete_session(self, tenant: str, session_id: UUID) -> int | None:
        """Delete a session with its completions, and tell their number; None where there is no such session."""

    async def prune(self, before: datetime, tenant: str | None = None) -> int:
        """Delete what was made before a time, and tell how many completions that were."""
