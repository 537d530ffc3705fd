"""Writes completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Dialect, Insert, Table, delete, select, tuple_
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


class _Statement:
    """An insert whose rows go to the driver as they are.

    SQLAlchemy's own way takes 20 µs for each row, of which a completion has up to 80; this one takes 2.
    """

    def __init__(self, statement: Insert, dialect: Dialect, names: Sequence[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(names))
        self._text = str(compiled)
        columns = statement.table.c
        self._fields = [
            (name, columns[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ]

    async def execute(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows; each has all columns that the statement names."""
        fields = self._fields
        values = [
            tuple(row[name] if process is None else process(row[name]) for name, process in fields) for row in rows
        ]
        await connection.exec_driver_sql(self._text, values)


_STATEMENTS: Final[dict[tuple[str, Table], _Statement]] = {}


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    key = connection.dialect.name, table
    if key not in _STATEMENTS:
        statement = _BEGIN_SESSION[key[0]] if table is SESSIONS else _ADD[key]
        _STATEMENTS[key] = _Statement(statement, connection.dialect, tuple(rows[0]))
    await _STATEMENTS[key].execute(connection, rows)


async def insert_group(connection: AsyncConnection, group: Sequence[Rows], *, is_retry: bool) -> None:
    """Write the rows; with `is_retry`, those that are there already are left out."""
    if is_retry:
        key = tuple_(COMPLETIONS.c.tenant, COMPLETIONS.c.id)
        statement = select(COMPLETIONS.c.tenant, COMPLETIONS.c.id).where(key.in_([rows.key for rows in group]))
        known = {(tenant, completion_id) for tenant, completion_id in await connection.execute(statement)}
        group = [rows for rows in group if rows.key not in known]
        if not group:
            return
    await _insert(connection, SESSIONS, _sessions_of(group))
    await _insert(connection, COMPLETIONS, [rows.completion for rows in group])
    await _insert(connection, LABELS, [row for rows in group for row in rows.labels])
    await _insert(connection, TAGS, [row for rows in group for row in rows.tags])


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
