"""A store whose database the test plays: when it commits, and whether it answers at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service.errors import StorageUnavailable
from service.storage.record import Record


@dataclass
class Shelf:
    """Keeps records in memory."""

    policy: Literal["required", "best_effort"] = "required"
    is_down: bool = False
    """Whether nothing can be stored; `is_known_to_be_down` tells whether the store knows it before it tries."""
    is_known_to_be_down: bool = False
    may_commit: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, unless the test clears it."""
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a commit is waited for."""
    kept: list[Record] = field(default_factory=list)
    """In the order in which they were given."""
    reads: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_commit.set()

    def check(self) -> None:
        if self.is_known_to_be_down and self.policy == "required":
            raise StorageUnavailable

    async def keep(self, record: Record) -> bool:
        self.is_asked.set()
        if self.is_down:
            if self.policy == "required":
                raise StorageUnavailable
            return False
        self.kept.append(record)  # whoever waits for the commit may leave: it is written all the same
        await self.may_commit.wait()
        return True

    def keep_later(self, record: Record) -> None:
        self.kept.append(record)

    async def summary(self, tenant: str, completion_id: UUID, /) -> Record | None:
        self.reads.append(completion_id)
        if self.is_down:
            raise StorageUnavailable
        found = [record for record in self.kept if record.id == completion_id and record.tenant == tenant]
        return found[0] if found else None

    @property
    def only(self) -> Record:
        """The one record that was kept."""
        (record,) = self.kept
        return record

    def as_store(self) -> Any:
        """In the place of the service's own."""
        return self


def text_of(completion: ChatCompletion) -> str:
    """What its first choice says."""
    return completion.choices[0].message.content
