"""The store of completions: what callers of it may rely on, whatever the database does."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar
from uuid import UUID

from service.errors import ParleyError, Reason, RequestError, StorageUnavailable
from service.storage.availability import Availability
from service.storage.backend import Backend, Outage, Refused, UnknownPlace
from service.storage.pending import Outcome, Pending, Queue
from service.storage.record import CompletionFilter, Listed, Page, Record, Session, Summary
from service.storage.rows import rows_of
from service.storage.settings import Storage

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S: Final = 5.0
"""For what is pending at the end. After the drain, and within what supervisors grant beyond it."""
_GROUP_EVERY_S: Final = 0.05
"""From the beginning of a group to that of the next. A record takes 1.1 ms of processor time in a transaction of its own
and 0.1 ms in one of ten (PostgreSQL; SQLite 1.6 and 0.3), while 50 ms are little behind a model's answer."""
_PRUNE_EVERY_S: Final = 600.0
_LOG_EVERY_S: Final = 10.0
"""Losses are told as a count, so that an outage does not fill the log."""

_Result = TypeVar("_Result")


class Store:
    """Keeps completions, and finds them again, for each tenant its own.

    Several replicas may have one database. While it is down, whatever is asked of the store fails at once.
    `run` has to run as long as the store is used, and `aclose` to be awaited after it.
    """

    def __init__(self, backend: Backend, settings: Storage) -> None:
        self._backend = backend
        self._settings = settings
        self._availability = Availability()
        self._queue = Queue()
        self._is_closed = False
        self._lost = 0
        self._lost_told = 0
        self._loss_told_at = -_LOG_EVERY_S

    @property
    def policy(self) -> Literal["required", "best_effort"]:
        """What becomes of a call that is to be stored, while the database is down."""
        return self._settings.policy

    @property
    def is_available(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self._availability.is_up

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._queue)

    @property
    def lost(self) -> int:
        """How many records were given up without anybody being told: a counter for operators."""
        return self._lost

    def check(self) -> None:
        """Raise StorageUnavailable if the database is known to be down, unless storing is best effort. No I/O."""
        if self._is_required and (self._is_closed or self._availability.is_down):
            raise StorageUnavailable

    async def run(self) -> None:
        """Connect, write what is to be kept, reconnect, and delete what is too old, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_writing())
            if self._settings.retention_days is not None:
                group.create_task(self._keep_pruning(timedelta(days=self._settings.retention_days)))

    async def aclose(self) -> None:
        """Write what is pending, as long as that takes seconds, and close. `run` must have ended."""
        self._is_closed = True
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                if self._queue and not self.is_available:
                    await self._backend.open()
                await self._write_pending()
        except (Outage, TimeoutError):
            pass  # told below, as a loss
        finally:
            self._availability.set_down()
            while group := self._queue.take_group():
                for pending in group:
                    self._give_up(pending, Outcome.GIVEN_UP)
            self._tell_losses()
            await self._backend.close()

    async def keep(self, record: Record) -> bool:
        """Store a record; return when it is committed. Whether it is.

        One whose caller is cancelled is stored all the same. With the policy `best_effort` this returns in any
        case, as late as `commit_timeout_s`; what could not be stored by then is stored later, or counted as lost.

        Raises:
            StorageUnavailable: It is not stored; or it may be, where the database was silent amid the commit.
            ParleyError: INTERNAL: the database does not take this record.
        """
        caller: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        pending = Pending(rows_of(record), caller)
        if not self._add(pending):
            if self._is_required:
                raise StorageUnavailable
            self._lose()
            return False
        if self._availability.is_down and not self._is_required:
            return False
        try:
            done, _ = await asyncio.wait([caller], timeout=self._settings.commit_timeout_s)
        finally:
            caller.cancel()  # from here on nobody waits; it tells nothing where the outcome is there
        outcome = caller.result() if done else Outcome.DELAYED
        if outcome is Outcome.STORED or not self._is_required:
            return outcome is Outcome.STORED
        if outcome is Outcome.REFUSED:
            raise ParleyError(Reason.INTERNAL, "The completion could not be stored.")
        self._queue.withdraw(pending)
        raise StorageUnavailable

    def keep_later(self, record: Record) -> None:
        """Store a record whose caller has left; one that can't be stored is counted as lost."""
        if not self._add(Pending(rows_of(record), None)):
            self._lose()

    async def get(self, tenant: str, completion_id: UUID) -> Record | None:
        """One completion; None where the tenant has none of that id."""
        return await self._ask(lambda: self._backend.get(tenant, completion_id))

    async def summary(self, tenant: str, completion_id: UUID) -> Summary | None:
        """One completion without its request, which may be large; None where the tenant has none of that id."""
        return await self._ask(lambda: self._backend.summary(tenant, completion_id))

    async def list(self, tenant: str, wanted: CompletionFilter, page: Page) -> Listed[Summary]:
        """A page of the tenant's completions, by the time of their creation."""
        return await self._ask(lambda: self._backend.list(tenant, wanted, page))

    async def update_labels(self, tenant: str, completion_id: UUID, labels: Mapping[str, str]) -> Summary | None:
        """Replace the labels of a completion, and return it; None where the tenant has none of that id."""
        return await self._ask(lambda: self._backend.update_labels(tenant, completion_id, labels))

    async def delete(self, tenant: str, completion_id: UUID) -> bool:
        """Delete a completion; whether the tenant had one of that id. Its session goes with its last one."""
        return await self._ask(lambda: self._backend.delete(tenant, completion_id))

    async def sessions(self, tenant: str, user: str | None, page: Page) -> Listed[Session]:
        """A page of the tenant's sessions, by the time of their first completion.

        Args:
            tenant: Whose.
            user: Only those that began with a completion of this end user.
            page: Which.

        Raises:
            RequestError: SESSION_NOT_FOUND: `page.after` is no session (any more).
        """
        try:
            return await self._ask(lambda: self._backend.sessions(tenant, user, page))
        except UnknownPlace:
            message = "There is no session of the id `after`; begin with the first page."
            raise RequestError(Reason.SESSION_NOT_FOUND, message, param="after") from None

    async def session(self, tenant: str, session_id: UUID) -> Session | None:
        """One session; None where the tenant has none of that id."""
        return await self._ask(lambda: self._backend.session(tenant, session_id))

    async def delete_session(self, tenant: str, session_id: UUID) -> int | None:
        """Delete a session with its completions, and tell their number; None where there is no such session."""
        return await self._ask(lambda: self._backend.delete_session(tenant, session_id))

    @property
    def _is_required(self) -> bool:
        return self._settings.policy == "required"

    def _add(self, pending: Pending) -> bool:
        if self._is_closed or not self._queue.add(pending):
            return False
        self._availability.wake()
        return True

    async def _ask(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """What the database answers; at the service's start this waits for whether there is one."""
        await self._availability.wait_known(self._settings.commit_timeout_s)
        if self._is_closed or not self._availability.is_up:
            raise StorageUnavailable
        try:
            return await work()
        except Outage as outage:
            self._saw(outage)
            raise StorageUnavailable from None

    async def _keep_writing(self) -> None:
        while True:
            try:
                await self._backend.open()
                await self._write_pending()
                self._availability.set_up()
                self._tell_losses()
                while await self._availability.wait_wanted():
                    await self._write_paced()
            except Outage as outage:
                self._saw(outage, is_certain=True)
                await asyncio.sleep(self._availability.next_delay_s())
            except Exception as error:  # noqa: BLE001 - a fault of the service's own, which must not end all calls
                _tell_fault(error)
                self._saw(Outage(type(error).__name__), is_certain=True)
                await asyncio.sleep(self._availability.next_delay_s())

    async def _keep_pruning(self, age: timedelta) -> None:
        while True:
            await self._availability.wait_up()
            try:
                await self._backend.prune(datetime.now(UTC) - age)
            except Outage as outage:
                self._saw(outage)
            except Exception as error:  # noqa: BLE001 - likewise
                _tell_fault(error)
            await asyncio.sleep(_PRUNE_EVERY_S)

    async def _write_paced(self) -> None:
        """Write a group, and have what comes in the next moments be one: what costs is the transaction."""
        begun = time.monotonic()
        await self._write_group()
        if self._queue:
            self._availability.wake()
        if not self._queue.is_full_group:
            await asyncio.sleep(max(0.0, begun + _GROUP_EVERY_S - time.monotonic()))

    async def _write_pending(self) -> None:
        while self._queue:
            await self._write_group()

    async def _write_group(self) -> None:
        group = self._queue.take_group()
        if not group:
            return
        try:
            await self._write(group)
        finally:  # also where it was cancelled: `aclose` goes on with it
            self._queue.put_back(group)
        self._availability.succeeded()

    async def _write(self, group: Sequence[Pending]) -> None:
        """Write a group; where the database refuses it, find out which of its records it refuses."""
        is_retry = any(pending.is_begun for pending in group)
        for pending in group:
            pending.is_begun = True
        try:
            await self._backend.write([pending.rows for pending in group], is_retry=is_retry)
        except Refused as refused:
            if len(group) == 1:
                _log.error("storage: a completion is refused by the database: %s", refused)
                self._give_up(group[0], Outcome.REFUSED)
                return
            middle = len(group) // 2
            await self._write(group[:middle])
            await self._write(group[middle:])
        else:
            for pending in group:
                pending.end(Outcome.STORED)

    def _saw(self, outage: Outage, *, is_certain: bool = False) -> None:
        """Note an outage; after a statement that only took too long, first see whether it is one."""
        if outage.is_slow and not is_certain:
            self._availability.doubt()
            return
        if self._availability.set_down():
            _log.warning("storage: the database is not available: %s", outage.cause)
        if not self._is_required:
            self._queue.delay()

    def _give_up(self, pending: Pending, outcome: Outcome) -> None:
        if not (pending.is_awaited and self._is_required):
            self._lose()
        pending.end(outcome)

    def _lose(self) -> None:
        self._lost += 1
        if time.monotonic() - self._loss_told_at >= _LOG_EVERY_S:
            self._tell_losses()

    def _tell_losses(self) -> None:
        if self._lost > self._lost_told:
            self._lost_told, self._loss_told_at = self._lost, time.monotonic()
            _log.error("storage: %d completions could not be stored since the start", self._lost)


def _tell_fault(error: Exception) -> None:
    where = "".join(traceback.format_tb(error.__traceback__))  # its text may quote what is stored
    _log.error("storage: failed of %s\n%s", type(error).__name__, where)


def open_store(settings: Storage) -> Store:
    """The store that is configured; its `run` connects it."""
    # SQLAlchemy takes long to import, and is needed where something is stored.
    from service.storage.database import open_database  # noqa: PLC0415

    return Store(open_database(settings), settings)
