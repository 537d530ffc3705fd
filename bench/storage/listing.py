"""Times pages at the beginning of lists and far behind it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from bench.storage.filling import FILTERS, PAGE, Filled
from service.rpc.call import OPEN_TENANT
from service.storage.database import Database
from service.storage.record import Listed, Page

DEEP_PAGE: Final = 10_000
_PAGES: Final = 20
"""That are read one after another at each place, so that no page is only ever read from a cache."""

_Read = Callable[[Page], Awaitable[Listed[Any]]]


@dataclass(frozen=True)
class Times:
    """Medians of a filter, in milliseconds."""

    name: str
    deep_page: int
    first_ms: float
    deep_ms: float

    @property
    def ratio(self) -> float:
        """What the far page costs more."""
        return self.deep_ms / self.first_ms

    def __str__(self) -> str:
        return (
            f"{self.name:10} page 1: {self.first_ms:6.2f} ms   page {self.deep_page:6}: {self.deep_ms:6.2f} ms"
            f"   ratio {self.ratio:4.2f}"
        )


async def time_lists(store: Database, filled: Filled, rounds: int = 5) -> list[Times]:
    """Every single filter, and the list of sessions; each place is read `rounds` times."""
    times = []
    for name, wanted in FILTERS.items():

        async def read(page: Page, wanted: Any = wanted) -> Listed[Any]:
            return await store.list(OPEN_TENANT, wanted, page)

        times.append(await _time(name, read, filled.places[name], rounds))

    async def read_sessions(page: Page) -> Listed[Any]:
        return await store.sessions(OPEN_TENANT, None, page)

    times.append(await _time("sessions", read_sessions, filled.places["sessions"], rounds))
    return times


async def _time(name: str, read: _Read, places: list[UUID], rounds: int) -> Times:
    """Walk along some pages from the beginning, and along as many up to the far page, in turn."""
    deep = min(DEEP_PAGE, len(places) - 1)
    first_ms: list[float] = []
    deep_ms: list[float] = []
    for _ in range(rounds):
        first_ms += await _walk(read, None)
        deep_ms += await _walk(read, places[deep - _PAGES - 1])
    return Times(name, deep, statistics.median(first_ms), statistics.median(deep_ms))


async def _walk(read: _Read, after: UUID | None) -> list[float]:
    taken_ms = []
    for _ in range(_PAGES):
        began = time.perf_counter()
        listed = await read(Page(after=after, limit=PAGE))
        taken_ms.append((time.perf_counter() - began) * 1000)
        if len(listed.items) != PAGE or not listed.has_more:
            raise RuntimeError("the list is shorter than what was put in")
        after = listed.items[-1].id
    return taken_ms
