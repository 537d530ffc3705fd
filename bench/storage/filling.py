"""Fills a store with completions as callers might have had them stored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.ids import completion_name, new_id
from service.rpc.call import OPEN_TENANT
from service.storage.backend import Outage
from service.storage.database import Database
from service.storage.record import CompletionFilter, Record
from service.storage.rows import Rows, rows_of

PAGE: Final = 20
"""What callers get who do not say how much."""
_VALUES: Final = 4
"""Of each filter, evenly spread: each finds a quarter of all, so that of a million there are 12,500 pages."""
_SESSION_LENGTH: Final = 3
"""Completions of an ordinary session. A quarter of all have one session in common, to be listed by it."""
_GROUP: Final = 1000
_TRIES: Final = 10
_WORDS: Final = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so every day. "

BIG_SESSION: Final = UUID("00000000-0000-4000-8000-000000000001")
FILTERS: Final = {
    "none": CompletionFilter(),
    "model": CompletionFilter(model="model-1"),
    "label": CompletionFilter(labels={"topic": "topic-1"}),
    "tag": CompletionFilter(tags=("tag-1",)),
    "user": CompletionFilter(user="user-1"),
    "session": CompletionFilter(session_id=BIG_SESSION),
}


@dataclass
class Filled:
    """What was put in, as far as it is needed to find a page without walking there."""

    records: int = 0
    places: dict[str, list[UUID]] = field(default_factory=lambda: {name: [] for name in (*FILTERS, "sessions")})
    """By filter: the last id of each page."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*FILTERS, "sessions"), 0))

    def add(self, record: Record, *, begins_session: bool) -> None:
        """Note a record."""
        self.records += 1
        for name, wanted in FILTERS.items():
            if _is_found(record, wanted):
                self._count(name, record.id)
        if begins_session:
            self._count("sessions", record.session_id)

    def _count(self, name: str, place: UUID) -> None:
        self.counts[name] += 1
        if self.counts[name] % PAGE == 0:
            self.places[name].append(place)


async def fill(store: Database, records: int) -> Filled:
    """Write that many records, in the order of their time."""
    filled = Filled()
    group = []
    for record, begins_session in _records(records):
        filled.add(record, begins_session=begins_session)
        group.append(rows_of(record))
        if len(group) == _GROUP:
            await _write(store, group)
            group = []
    if group:
        await _write(store, group)
    return filled


async def _write(store: Database, group: list[Rows]) -> None:
    """A busy machine may make a group wait; there is time for it here."""
    for number in range(_TRIES):
        try:
            await store.write(group, is_retry=number > 0)
        except Outage as outage:
            if not outage.is_slow:
                raise
        else:
            return
    raise RuntimeError("the database is too slow to be filled")


def _records(count: int) -> Iterator[tuple[Record, bool]]:
    """Records, and whether each is the first of its session."""
    chance = random.Random(1)  # noqa: S311 - the same for each run, and no secret
    session_id, left, has_big = BIG_SESSION, 0, False
    template = _template()
    for number in range(count):
        values = {name: f"{name}-{chance.randrange(_VALUES)}" for name in ("model", "topic", "tag", "user")}
        is_big = chance.randrange(_VALUES) == 0
        begins_session = not has_big if is_big else left == 0
        if is_big:
            has_big = True
        else:
            if left == 0:
                session_id, left = new_id(), _SESSION_LENGTH
            left -= 1
        record = replace(
            template,
            id=new_id(),
            model=values["model"],
            user=values["user"],
            session_id=BIG_SESSION if is_big else session_id,
            labels={"topic": values["topic"], "ticket": str(number)},
            tags=(values["tag"],),
        )
        record.completion.id = completion_name(record.id)
        yield record, begins_session


def _template() -> Record:
    request = ChatCompletionRequest(model="model", store=True)
    request.messages.add(role="system").content.string_value = _WORDS * 5
    request.messages.add(role="user").content.string_value = _WORDS * 2
    completion = ChatCompletion(created=1_800_000_000, model="model")
    completion.choices.add().message.content = _WORDS * 4
    return Record(
        id=new_id(),
        tenant=OPEN_TENANT,
        created=completion.created,
        model="model",
        session_id=BIG_SESSION,
        request=request,
        completion=completion,
        provider="openai",
        upstream_model="model",
        duration_ms=1200,
    )


def _is_found(record: Record, wanted: CompletionFilter) -> bool:
    return (
        wanted.model in {None, record.model}
        and wanted.labels.items() <= record.labels.items()
        and set(wanted.tags) <= set(record.tags)
        and wanted.user in {None, record.user}
        and wanted.session_id in {None, record.session_id}
    )
