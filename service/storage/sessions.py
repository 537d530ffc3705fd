"""Reads sessions. Their rows are written with completions, and deleted with the last of them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.backend import UnknownPlace
from service.storage.record import Listed, Page, Session
from service.storage.tables import COMPLETIONS, SESSIONS

OF_SESSION: Final = (COMPLETIONS.c.tenant == SESSIONS.c.tenant, COMPLETIONS.c.session_id == SESSIONS.c.id)
"""Holds of the completions of a session's row."""
_LAST_USED = (
    select(COMPLETIONS.c.created).where(*OF_SESSION).order_by(COMPLETIONS.c.id.desc()).limit(1).scalar_subquery()
)
_COUNT = select(func.count()).select_from(COMPLETIONS).where(*OF_SESSION).scalar_subquery()
_SESSION = (SESSIONS.c.id, SESSIONS.c.created, SESSIONS.c.end_user.label("user"), _LAST_USED.label("last_used"))


async def read_session(connection: AsyncConnection, tenant: str, session_id: UUID) -> Session | None:
    """One session, and how many completions it has."""
    statement = select(*_SESSION, _COUNT.label("completions"))
    statement = statement.where(SESSIONS.c.tenant == tenant, SESSIONS.c.id == session_id)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _session(row)


async def read_sessions(connection: AsyncConnection, tenant: str, user: str | None, page: Page) -> Listed[Session]:
    """A page of sessions; see `Backend.sessions`."""
    place = None
    if page.after is not None:
        after = select(SESSIONS.c.first_id).where(SESSIONS.c.tenant == tenant, SESSIONS.c.id == page.after)
        place = await connection.scalar(after)
        if place is None:
            raise UnknownPlace
    rows = (await connection.execute(session_places(tenant, user, page, place))).all()
    return Listed([_session(row) for row in rows[: page.limit]], has_more=len(rows) > page.limit)


def session_places(tenant: str, user: str | None, page: Page, place: UUID | None) -> Select[Any]:
    """The sessions of a page behind a place, and one more where more follow."""
    first = SESSIONS.c.first_id
    statement = select(*_SESSION).where(SESSIONS.c.tenant == tenant)
    if user is not None:
        statement = statement.where(SESSIONS.c.end_user == user)
    if place is not None:
        statement = statement.where(first < place if page.descending else first > place)
    return statement.order_by(first.desc() if page.descending else first).limit(page.limit + 1)


def _session(row: Any) -> Session:
    return Session(**row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a row by its columns' names; it is public
