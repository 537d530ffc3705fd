"""Deletes completions with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.reading import count_fitting, read_sizes
from service.storage.sessions import OF_SESSION
from service.storage.tables import COMPLETIONS, SESSIONS

_BATCH: Final = 200
_MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
"""Of a transaction: whoever writes has to wait for it."""

_THIS: Final = (SESSIONS.c.tenant == bindparam("of_tenant"), SESSIONS.c.id == bindparam("of_session"))
_LOCK: Final = update(SESSIONS).where(*_THIS).values(first_id=SESSIONS.c.first_id)
_DROP_EMPTY: Final = delete(SESSIONS).where(*_THIS, ~exists().where(*OF_SESSION))


def _first(column: str) -> ColumnElement[object]:
    first = select(COMPLETIONS.c[column]).where(*OF_SESSION).order_by(COMPLETIONS.c.id).limit(1)
    return first.correlate(SESSIONS).scalar_subquery()


_SETTLE: Final = (
    update(SESSIONS).where(*_THIS).values(first_id=_first("id"), created=_first("created"), end_user=_first("end_user"))
)


async def delete_batch(connection: AsyncConnection, tenant: str, *conditions: ColumnElement[bool]) -> tuple[int, bool]:
    """Delete the first completions of a tenant of which the conditions hold.

    Returns:
        How many were deleted, and whether there were any to delete: another process may have been faster.
    """
    sizes = await read_sizes(connection, tenant, conditions, _BATCH)
    if not sizes:
        return 0, False
    count = count_fitting((size for _, size in sizes), _MAX_BATCH_BYTES)
    return await _delete(connection, tenant, [completion_id for completion_id, _ in sizes[:count]]), True


async def _delete(connection: AsyncConnection, tenant: str, ids: Sequence[UUID]) -> int:
    """Delete completions; a session loses its row with its last one, and else begins with its first that is left.

    Whoever changes a session has its row locked, and locks several in their order: no two wait for each other.
    """
    chosen = (COMPLETIONS.c.tenant == tenant, COMPLETIONS.c.id.in_(ids))
    found = await connection.scalars(select(COMPLETIONS.c.session_id).where(*chosen).distinct())
    sessions = [{"of_tenant": tenant, "of_session": session_id} for session_id in sorted(found)]
    if not sessions:
        return 0
    await connection.execute(_LOCK, sessions)
    deleted = await connection.execute(delete(COMPLETIONS).where(*chosen))
    await connection.execute(_DROP_EMPTY, sessions)
    await connection.execute(_SETTLE, sessions)
    return deleted.rowcount
