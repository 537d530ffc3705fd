"""What waits to be written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from service.storage.rows import Rows

_MAX_WAITING: Final = 10_000
_MAX_WAITING_BYTES: Final = 128 * 1024 * 1024
"""A request has up to 32 MiB. Both bounds hold what some seconds bring while the database is slow."""
_MAX_GROUP: Final = 256
_MAX_GROUP_BYTES: Final = 16 * 1024 * 1024


class Outcome(Enum):
    """What became of a record."""

    STORED = auto()
    REFUSED = auto()
    """The database will never take it."""
    DELAYED = auto()
    """It may be stored later, or lost."""
    GIVEN_UP = auto()


class Pending:
    """A record that is to be written.

    Args:
        rows: What to write of it.
        caller: Who waits for the outcome; None: nobody.
    """

    __slots__ = ("_caller", "is_begun", "is_over", "rows")

    def __init__(self, rows: Rows, caller: asyncio.Future[Outcome] | None) -> None:
        self.rows = rows
        self._caller = caller
        self.is_begun = False
        """Whether it may be in the database, although nothing is known of a commit."""
        self.is_over = False
        """Whether nothing is to be done any more."""

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the outcome and will tell of it."""
        return self._caller is not None and not self._caller.done()

    def end(self, outcome: Outcome) -> None:
        """Tell the outcome; with `DELAYED`, the record goes on waiting without its caller."""
        self.is_over = outcome is not Outcome.DELAYED
        if self._caller is not None and not self._caller.done():
            self._caller.set_result(outcome)


class Queue:
    """Records in the order in which they came, up to a number and a size."""

    def __init__(self) -> None:
        self._waiting: deque[Pending] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full_group(self) -> bool:
        """Whether as many wait as go into one transaction."""
        return len(self._waiting) >= _MAX_GROUP or self._bytes >= _MAX_GROUP_BYTES

    def add(self, pending: Pending) -> bool:
        """Take a record in, unless there are too many."""
        size_bytes = self._bytes + pending.rows.size_bytes
        if self._waiting and (len(self._waiting) >= _MAX_WAITING or size_bytes > _MAX_WAITING_BYTES):
            return False
        self._waiting.append(pending)
        self._bytes = size_bytes
        return True

    def take_group(self) -> list[Pending]:
        """The first that go well into one transaction."""
        group: list[Pending] = []
        left_bytes = _MAX_GROUP_BYTES
        while self._waiting and len(group) < _MAX_GROUP:
            if group and self._waiting[0].rows.size_bytes > left_bytes:
                break
            pending = self._waiting.popleft()
            self._bytes -= pending.rows.size_bytes
            if not pending.is_over:
                left_bytes -= pending.rows.size_bytes
                group.append(pending)
        return group

    def withdraw(self, pending: Pending) -> None:
        """Have a record not be written, unless that has begun."""
        pending.is_over = True
        if pending in self._waiting:
            self._waiting.remove(pending)
            self._bytes -= pending.rows.size_bytes

    def put_back(self, group: Sequence[Pending]) -> None:
        """Have those of the group that are not over wait again, as the first."""
        left = [pending for pending in group if not pending.is_over]
        self._waiting.extendleft(reversed(left))
        self._bytes += sum(pending.rows.size_bytes for pending in left)

    def delay(self) -> None:
        """Let all callers go."""
        for pending in self._waiting:
            pending.end(Outcome.DELAYED)
