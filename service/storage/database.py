"""The store's database, by SQLAlchemy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.backend import Outage, Refused
from service.storage.deleting import delete_batch
from service.storage.engines import Engines
from service.storage.failures import failure_of
from service.storage.migrating import HEAD, migrate, revision_of
from service.storage.reading import count_fitting, read_page, read_record, read_records, read_sizes, read_summary
from service.storage.record import CompletionFilter, Listed, Page, Record, Session, Summary
from service.storage.rows import Rows
from service.storage.sessions import read_session, read_sessions
from service.storage.settings import Storage
from service.storage.tables import COMPLETIONS
from service.storage.transactions import Transactions
from service.storage.writing import insert_group, replace_labels

_EXPORT_ROWS: Final = 50
_EXPORT_BYTES: Final = 16 * 1024 * 1024


class Database:
    """A `Backend`, and what operators do beside it."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._transactions = Transactions(engines)

    async def open(self) -> None:
        """See `Backend`. Writes, too, so that a database that can only be read is none."""
        try:
            await self._engines.prepare()
            if await self._transactions.write(_is_newest):
                return
            await migrate(self._engines)  # which may take long
            if not await self._transactions.write(_is_newest):
                raise Outage("its tables are of no revision")
        except self._engines.failures as error:
            raise Outage(str(failure_of(error))) from None
        except Refused as refused:  # such as a part of the URL, which has no value to be refused
            raise Outage(str(refused)) from None

    async def close(self) -> None:
        """See `Backend`."""
        await self._transactions.aclose()

    async def write(self, group: Sequence[Rows], *, is_retry: bool) -> None:
        """See `Backend`."""
        await self._transactions.write(partial(insert_group, group=group, is_retry=is_retry))

    async def get(self, tenant: str, completion_id: UUID) -> Record | None:
        """See `Backend`."""
        return await self._transactions.read(lambda connection: read_record(connection, tenant, completion_id))

    async def summary(self, tenant: str, completion_id: UUID) -> Summary | None:
        """See `Backend`."""
        return await self._transactions.read(lambda connection: read_summary(connection, tenant, completion_id))

    async def list(self, tenant: str, wanted: CompletionFilter, page: Page) -> Listed[Summary]:
        """See `Backend`."""
        return await self._transactions.read(lambda connection: read_page(connection, tenant, wanted, page))

    async def update_labels(self, tenant: str, completion_id: UUID, labels: Mapping[str, str]) -> Summary | None:
        """See `Backend`."""

        async def update(connection: AsyncConnection) -> Summary | None:
            if not await replace_labels(connection, tenant, completion_id, labels):
                return None
            return await read_summary(connection, tenant, completion_id)

        return await self._transactions.change(update)

    async def delete(self, tenant: str, completion_id: UUID) -> bool:
        """See `Backend`."""
        count, _ = await self._transactions.change(
            lambda connection: delete_batch(connection, tenant, COMPLETIONS.c.id == completion_id)
        )
        return count > 0

    async def sessions(self, tenant: str, user: str | None, page: Page) -> Listed[Session]:
        """See `Backend`."""
        return await self._transactions.read(lambda connection: read_sessions(connection, tenant, user, page))

    async def session(self, tenant: str, session_id: UUID) -> Session | None:
        """See `Backend`."""
        return await self._transactions.read(lambda connection: read_session(connection, tenant, session_id))

    async def delete_session(self, tenant: str, session_id: UUID) -> int | None:
        """See `Backend`."""
        count = await self._delete_all(tenant, COMPLETIONS.c.session_id == session_id)
        return count or None

    async def prune(self, before: datetime, tenant: str | None = None) -> int:
        """See `Backend`."""
        first_kept = UUID(int=max(0, int(before.timestamp() * 1000)) << 80)  # ids begin with their milliseconds
        tenants = [tenant] if tenant is not None else await self._tenants()
        return sum([await self._delete_all(each, COMPLETIONS.c.id < first_kept) for each in tenants])

    async def delete_user(self, user: str, tenant: str | None = None) -> int:
        """Delete all completions of an end user, and tell how many that were."""
        tenants = [tenant] if tenant is not None else await self._tenants()
        return sum([await self._delete_all(each, COMPLETIONS.c.end_user == user) for each in tenants])

    async def records(self, tenant: str | None = None, user: str | None = None) -> AsyncGenerator[Record]:
        """All completions of a tenant or of all, by the time of each tenant's, with their requests.

        They are read in small transactions: what is deleted meanwhile may be missing.
        """
        for each in [tenant] if tenant is not None else await self._tenants():
            of_user = [] if user is None else [COMPLETIONS.c.end_user == user]
            after: list[ColumnElement[bool]] = []
            while records := await self._transactions.read(
                partial(_read_some, tenant=each, conditions=[*of_user, *after])
            ):
                for record in records:
                    yield record
                after = [COMPLETIONS.c.id > records[-1].id]

    async def _tenants(self) -> Sequence[str]:
        """All that have completions: each is found by a step along the index, not by reading all rows."""
        tenants: list[str] = []
        while (found := await self._transactions.read(partial(_next_tenant, after=tenants[-1:]))) is not None:
            tenants.append(found)
        return tenants

    async def _delete_all(self, tenant: str, *conditions: ColumnElement[bool]) -> int:
        """Delete in batches, and leave as much time to others in between as each takes."""
        total = 0
        while True:
            begun = time.monotonic()
            count, is_begun = await self._transactions.change(
                lambda connection: delete_batch(connection, tenant, *conditions)
            )
            total += count
            if not is_begun:
                return total
            await asyncio.sleep(time.monotonic() - begun)


def open_database(settings: Storage) -> Database:
    """The database that is configured; nothing is connected yet."""
    if settings.url is None:
        from service.storage.sqlite import SqliteEngines  # noqa: PLC0415 - one of both drivers is imported

        return Database(SqliteEngines(settings.data_dir))
    from service.storage.postgresql import PostgresqlEngines  # noqa: PLC0415 - likewise

    return Database(PostgresqlEngines(settings.url))


async def _is_newest(connection: AsyncConnection) -> bool:
    """Whether the tables are in their newest form; if so, write without changing anything."""
    if await connection.run_sync(revision_of) != HEAD:
        return False
    touched = await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    return touched.rowcount == 1


async def _next_tenant(connection: AsyncConnection, after: Sequence[str]) -> str | None:
    statement = select(func.min(COMPLETIONS.c.tenant))
    for tenant in after:
        statement = statement.where(COMPLETIONS.c.tenant > tenant)
    found: str | None = await connection.scalar(statement)
    return found


async def _read_some(
    connection: AsyncConnection, tenant: str, conditions: Sequence[ColumnElement[bool]]
) -> Sequence[Record]:
    sizes = await read_sizes(connection, tenant, conditions, _EXPORT_ROWS)
    count = count_fitting((size for _, size in sizes), _EXPORT_BYTES)
    return await read_records(connection, tenant, [completion_id for completion_id, _ in sizes[:count]])
