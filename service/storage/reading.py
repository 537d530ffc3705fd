"""Reads completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Select, and_, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.record import CompletionFilter, Listed, Page, Record, Summary
from service.storage.rows import pair_of, record_of, summary_of
from service.storage.tables import COMPLETIONS, LABELS, TAGS

_MAX_PAGE_BYTES: Final = 3 * 1024 * 1024
"""Of the answers of a page, so that not much is read for nothing: gRPC clients take 4 MiB unless told otherwise."""
_SUMMARY: Final = [column for column in COMPLETIONS.c if column.name != "request"]
_FEW: Final = {"session_id", "end_user"}
"""What fewer completions have in common than labels, tags and models."""
_Found = TypeVar("_Found", bound=Summary)


async def read_record(connection: AsyncConnection, tenant: str, completion_id: UUID) -> Record | None:
    """One completion."""
    records = await read_records(connection, tenant, [completion_id])
    return records[0] if records else None


async def read_summary(connection: AsyncConnection, tenant: str, completion_id: UUID) -> Summary | None:
    """One completion without its request."""
    summaries = await _read_summaries(connection, tenant, [completion_id])
    return summaries[0] if summaries else None


async def read_page(connection: AsyncConnection, tenant: str, wanted: CompletionFilter, page: Page) -> Listed[Summary]:
    """A page of completions: their ids by one range of an index, then their rows."""
    ids = list(await connection.scalars(places_of(tenant, wanted, page)))
    found = ids[: page.limit]
    statement = select(COMPLETIONS.c.id, _bytes_of("completion")).where(_one_of(tenant, found))
    sizes: dict[UUID, int] = {each: size for each, size in await connection.execute(statement)}  # noqa: C416 - rows
    fitting = found[: count_fitting((sizes.get(each, 0) for each in found), _MAX_PAGE_BYTES)]
    return Listed(await _read_summaries(connection, tenant, fitting), has_more=len(fitting) < len(ids))


def places_of(tenant: str, wanted: CompletionFilter, page: Page) -> Select[UUID]:
    """The ids of a page, and one more where more follow.

    One condition is walked along, that which the fewest completions are likely to meet; of each completion on that
    way the others are looked up, in at most three queries: PostgreSQL takes seconds to plan dozens.
    """
    columns = {"session_id": wanted.session_id, "end_user": wanted.user, "model": wanted.model}
    given: dict[str, object] = {name: value for name, value in columns.items() if value is not None}
    pairs = [pair_of(key, value) for key, value in wanted.labels.items()]
    tags = list(dict.fromkeys(wanted.tags))
    walked = COMPLETIONS.alias()
    first, holds = walked.c.id, [walked.c.tenant == tenant]
    if (pairs or tags) and not given.keys() & _FEW:
        marks, name = (LABELS.alias(), "pair") if pairs else (TAGS.alias(), "tag")
        first, holds = marks.c.completion_id, [marks.c.tenant == tenant, marks.c[name] == (pairs or tags).pop(0)]
    elif given:
        name = next(iter(given))
        holds.append(walked.c[name] == given.pop(name))
    holds += _looked_up(tenant, first, given, pairs, tags)
    if page.after is not None:
        holds.append(first < page.after if page.descending else first > page.after)
    return select(first).where(*holds).order_by(first.desc() if page.descending else first).limit(page.limit + 1)


def _looked_up(
    tenant: str,
    completion_id: ColumnElement[UUID],
    given: Mapping[str, object],
    pairs: Sequence[UUID],
    tags: Sequence[str],
) -> Iterator[ColumnElement[bool]]:
    """What has to hold of the completion that is walked past."""
    if given:
        same = (COMPLETIONS.c.tenant == tenant, COMPLETIONS.c.id == completion_id)
        yield exists().where(*same, *(COMPLETIONS.c[name] == value for name, value in given.items()))
    for table, column, values in ((LABELS, LABELS.c.pair, pairs), (TAGS, TAGS.c.tag, tags)):
        if values:
            same = (table.c.tenant == tenant, table.c.completion_id == completion_id)
            found = select(func.count()).select_from(table).where(*same, column.in_(values))
            yield found.scalar_subquery() == len(values)


async def read_records(connection: AsyncConnection, tenant: str, ids: Sequence[UUID]) -> list[Record]:
    """Completions with their requests, by id; one that is not there is left out."""
    rows = (await connection.execute(select(COMPLETIONS).where(_one_of(tenant, ids)))).mappings()
    labels, tags = await _labels_of(connection, tenant, ids), await _tags_of(connection, tenant, ids)
    return _in_order(ids, (record_of(_plain(row), labels[row["id"]], tuple(tags[row["id"]])) for row in rows))


async def read_sizes(
    connection: AsyncConnection, tenant: str, conditions: Iterable[ColumnElement[bool]], limit: int
) -> Sequence[tuple[UUID, int]]:
    """Ids of a tenant's completions of which the conditions hold, the first of them, with the bytes of each."""
    size = _bytes_of("request") + _bytes_of("completion")
    wanted = (COMPLETIONS.c.tenant == tenant, *conditions)
    statement = select(COMPLETIONS.c.id, size).where(*wanted).order_by(COMPLETIONS.c.id).limit(limit)
    return [(each, bytes_) for each, bytes_ in await connection.execute(statement)]


def count_fitting(sizes_bytes: Iterable[int], most_bytes: int) -> int:
    """How many of them, from the first on, are not too much together; at least one."""
    count, total = 0, 0
    for size in sizes_bytes:
        total += size
        if total > most_bytes and count:
            break
        count += 1
    return count


async def _read_summaries(connection: AsyncConnection, tenant: str, ids: Sequence[UUID]) -> list[Summary]:
    rows = (await connection.execute(select(*_SUMMARY).where(_one_of(tenant, ids)))).mappings()
    labels, tags = await _labels_of(connection, tenant, ids), await _tags_of(connection, tenant, ids)
    return _in_order(ids, (summary_of(_plain(row), labels[row["id"]], tuple(tags[row["id"]])) for row in rows))


async def _labels_of(connection: AsyncConnection, tenant: str, ids: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
    labels: dict[UUID, dict[str, str]] = {each: {} for each in ids}
    statement = select(LABELS.c.completion_id, LABELS.c.key, LABELS.c.value)
    statement = statement.where(LABELS.c.tenant == tenant, LABELS.c.completion_id.in_(ids))
    statement = statement.order_by(LABELS.c.completion_id, LABELS.c.key)
    for completion_id, key, value in await connection.execute(statement):
        labels[completion_id][key] = value
    return labels


async def _tags_of(connection: AsyncConnection, tenant: str, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    tags: dict[UUID, list[str]] = {each: [] for each in ids}
    statement = select(TAGS.c.completion_id, TAGS.c.tag)
    statement = statement.where(TAGS.c.tenant == tenant, TAGS.c.completion_id.in_(ids))
    statement = statement.order_by(TAGS.c.completion_id, TAGS.c.place)
    for completion_id, tag in await connection.execute(statement):
        tags[completion_id].append(tag)
    return tags


def _in_order(ids: Sequence[UUID], found: Iterable[_Found]) -> list[_Found]:
    by_id = {each.id: each for each in found}
    return [by_id[each] for each in ids if each in by_id]


def _one_of(tenant: str, ids: Sequence[UUID]) -> ColumnElement[bool]:
    return and_(COMPLETIONS.c.tenant == tenant, COMPLETIONS.c.id.in_(ids))


def _bytes_of(name: str) -> ColumnElement[int]:
    """Of a column with bytes; neither database reads them for that."""
    column: Column[bytes] = COMPLETIONS.c[name]
    return func.length(column)


def _plain(row: Any) -> Mapping[str, Any]:
    """By names, not by columns."""
    return {str(name): value for name, value in row.items()}
