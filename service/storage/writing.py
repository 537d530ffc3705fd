"""Writes completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Insert, Table, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.rows import Rows, label_rows
from service.storage.tables import COMPLETIONS, LABELS, SESSIONS, TAGS


def _begin_session(insert: Any) -> Insert:
    """Ends with the session's row locked until the commit, so that no other process takes it for an empty one."""
    statement = insert(SESSIONS)
    columns = ("first_id", "created", "end_user")
    result: Insert = statement.on_conflict_do_update(
        index_elements=[SESSIONS.c.tenant, SESSIONS.c.id],
        set_={name: statement.excluded[name] for name in columns},
        where=statement.excluded.first_id < SESSIONS.c.first_id,
    )
    return result


_INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_BEGIN_SESSION: Final = {dialect: _begin_session(insert) for dialect, insert in _INSERTS.items()}
_ADD: Final[dict[tuple[str, Table], Insert]] = {
    (dialect, table): insert(table).on_conflict_do_nothing()
    for dialect, insert in _INSERTS.items()
    for table in (COMPLETIONS, LABELS, TAGS)
}


async def insert_group(connection: AsyncConnection, group: Sequence[Rows], *, is_retry: bool) -> None:
    """Write the rows; with `is_retry`, those that are there already are left out."""
    if is_retry:
        key = tuple_(COMPLETIONS.c.tenant, COMPLETIONS.c.id)
        statement = select(COMPLETIONS.c.tenant, COMPLETIONS.c.id).where(key.in_([rows.key for rows in group]))
        known = {(tenant, completion_id) for tenant, completion_id in await connection.execute(statement)}
        group = [rows for rows in group if rows.key not in known]
        if not group:
            return
    dialect = connection.dialect.name
    await connection.execute(_BEGIN_SESSION[dialect], _sessions_of(group))
    await connection.execute(_ADD[dialect, COMPLETIONS], [rows.completion for rows in group])
    for table, marks in (
        (LABELS, [row for rows in group for row in rows.labels]),
        (TAGS, [row for rows in group for row in rows.tags]),
    ):
        if marks:
            await connection.execute(_ADD[dialect, table], marks)


async def replace_labels(
    connection: AsyncConnection, tenant: str, completion_id: UUID, labels: Mapping[str, str]
) -> bool:
    """Give a completion other labels; whether it is there."""
    mine = select(COMPLETIONS.c.id).where(COMPLETIONS.c.id == completion_id, COMPLETIONS.c.tenant == tenant)
    if await connection.scalar(mine.with_for_update()) is None:
        return False
    old = delete(LABELS).where(LABELS.c.tenant == tenant, LABELS.c.completion_id == completion_id)
    await connection.execute(old)
    if labels:
        await connection.execute(LABELS.insert(), label_rows(tenant, completion_id, labels))
    return True


def _sessions_of(group: Sequence[Rows]) -> list[dict[str, Any]]:
    """Each session once, by its first completion; in the order in which everybody locks them."""
    sessions: dict[tuple[str, UUID], dict[str, Any]] = {}
    for rows in group:
        key = (rows.session["tenant"], rows.session["id"])
        if key not in sessions or rows.session["first_id"] < sessions[key]["first_id"]:
            sessions[key] = rows.session
    return [sessions[key] for key in sorted(sessions)]
