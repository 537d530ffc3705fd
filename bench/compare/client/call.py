"""One request and what comes back, whatever carries it."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Final, Protocol

_TIME: Final = re.compile(rb"(\d{16,19}) ")
"""The text of an event. Nothing else in a chunk has so many digits and a space behind them."""
_MOST_BYTES: Final = 20
"""Of that text; so much of a piece can be the beginning of one that goes on in the next."""
_DONE: Final = b"[DONE]"


@dataclass
class Tally:
    """Events of all streams, while they count."""

    is_counting: bool = False
    events: int = 0
    delays_ns: list[int] = field(default_factory=list)
    keeps_delays: bool = True


class Call:
    """A request; a connection feeds it what comes."""

    def __init__(self) -> None:
        self.sent_ns = 0
        self.ended_ns = 0
        self.problem: str | None = None
        """Why it failed, in few words; None: it has not."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def sent(self) -> None:
        """The request is written."""
        self.sent_ns = time.monotonic_ns()

    def read(self, piece: bytes) -> None:
        """A piece of the body has come."""

    def end(self, problem: str | None) -> None:
        """Nothing more comes. Of several reasons the first counts."""
        if not self.over.done():
            self.ended_ns = time.monotonic_ns()
            self.problem = problem
            self.over.set_result(None)


class StreamCall(Call):
    """A request for a stream whose events tell when they were written."""

    def __init__(self, tally: Tally, events: int, *, ends_with_done: bool) -> None:
        super().__init__()
        self.first_ns = 0
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done with the first event, and without one with the end."""
        self._tally = tally
        self._expected = events
        self._ends_with_done = ends_with_done
        self._came = 0
        self._rest = b""
        self._end = b""

    def read(self, piece: bytes) -> None:
        """Count the events in it."""
        text = self._rest + piece
        self._end = text[-4 * _MOST_BYTES :]
        times = _TIME.findall(text)
        if not times:
            self._rest = text[-_MOST_BYTES:]
            return
        self._rest = text[max(text.rfind(times[-1]) + len(times[-1]), len(text) - _MOST_BYTES) :]
        self._came += len(times)
        if not self.first_ns:
            self.first_ns = time.monotonic_ns()
            self.begun.set_result(None)
        tally = self._tally
        if tally.is_counting:
            tally.events += len(times)
            if tally.keeps_delays:
                now_ns = time.monotonic_ns()
                tally.delays_ns.extend(now_ns - int(each) for each in times)

    def end(self, problem: str | None) -> None:
        """A clean end needs all events, and on REST a `[DONE]`."""
        if problem is None and self._expected and self._came != self._expected:
            problem = "not as many events as asked for"
        if problem is None and self._ends_with_done and _DONE not in self._end:
            problem = "no [DONE]"
        if not self.begun.done():
            self.begun.set_result(None)
        super().end(problem)


class Caller(Protocol):
    """What carries requests."""

    async def connect(self, connections: int) -> None:
        """Have so many connections at hand."""

    async def ask(self, body: bytes, call: Call) -> None:
        """Write the request; the call is told what comes. A failure is told to it, too."""

    def close(self) -> None:
        """Cut every connection."""
