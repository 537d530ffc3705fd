"""Asks Parley for every fault, on every face, in one piece and as a stream, with and without a second target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.faults.exchange import Seen
from tests.faults.thread import FaultServer
from tests.reliability.asking import Caller, Told
from tests.support.faces import FACES, Face
from tests.support.stack import Stack, running

LIMITS: Final[dict[str, Any]] = {
    "connect_timeout_s": 1,
    "first_token_timeout_s": 2,
    "idle_timeout_s": 1,
    "total_timeout_s": 4,
    "retries": {"max_attempts": 2, "backoff_s": 0.05, "max_backoff_s": 1},
}
"""Of every model here: short, and so far from each other that the time tells which one has passed."""
SECOND: Final = "healthy"
"""What the second target is asked for."""
READ_TIMEOUT_S: Final = 1
"""Of every provider here: the longest silence within an answer in one piece."""
CLOSED_WITHIN_S: Final = 2.0
"""After the call's end."""
_AT_ONCE: Final = 32
"""Calls under way; more would measure the machine."""

Use = Literal["closed", "kept", "busy"]
"""What became of a connection to the provider: `busy` is one that should have been closed."""


@dataclass(frozen=True)
class Case:
    """One call."""

    fault: str
    stream: bool
    face: Face
    has_second: bool
    """Whether the model has a second target, which is healthy."""

    @property
    def id(self) -> str:
        """The model's id, and the request's user: rows share nothing that one could spoil for another."""
        kind = "stream" if self.stream else "unary"
        return f"{self.fault}/{kind}/{self.face}/{'two targets' if self.has_second else 'one target'}"

    @property
    def body(self) -> dict[str, Any]:
        stream = {"stream": True} if self.stream else {}
        return {"model": self.id, "user": self.id, "messages": [{"role": "user", "content": "Count."}], **stream}


@dataclass(frozen=True)
class Result:
    """What came of a call."""

    told: Told
    seen: list[Seen]
    """The requests that the first target's provider got; where it can't be reached, none."""
    seen_by_second: list[Seen]
    uses: set[Use]
    """Of the connections to the first target's provider, 2 s after the call's end."""


def cases(faults: Iterable[str]) -> list[Case]:
    """All calls."""
    return [
        Case(fault, stream, face, has_second)
        for fault in faults
        for stream in (False, True)
        for has_second in (False, True)
        for face in FACES
    ]


@contextmanager
def stack_for(faults: FaultServer, asked: Iterable[Case], folder: Path) -> Iterator[Stack]:
    """Parley, with a model for each case."""
    urls = {"faults": faults.base_url, "second": faults.base_url, **faults.unreachable}
    providers = {
        name: {"kind": "openai", "base_url": url, "read_timeout_s": READ_TIMEOUT_S} for name, url in urls.items()
    }
    models = {case.id: {"targets": _targets(case, faults), **LIMITS} for case in asked}
    config = {"server": {"grpc_address": "127.0.0.1:0"}, "providers": providers, "models": models}
    with running(config, folder) as stack:
        yield stack


def _targets(case: Case, faults: FaultServer) -> list[dict[str, str]]:
    if case.fault in faults.unreachable:
        first = {"provider": case.fault, "model": "unreachable"}
    else:
        first = {"provider": "faults", "model": case.fault}
    second = {"provider": "second", "model": SECOND}
    return [first, second] if case.has_second else [first]


async def ask_all(stack: Stack, faults: FaultServer, asked: Iterable[Case]) -> dict[Case, Result]:
    """Make the calls, many at once, and wait for what becomes of the connections."""
    caller, slots = Caller(stack), asyncio.Semaphore(_AT_ONCE)

    async def ask(case: Case) -> Result:
        async with slots:
            told = await caller.ask(case.face, case.body)
        await asyncio.sleep(told.ended_s + CLOSED_WITHIN_S - time.monotonic())
        seen = faults.seen(case.id)
        first = [request for request in seen if request.model == case.fault]
        return Result(
            told,
            first,
            [request for request in seen if request.model == SECOND != case.fault],
            {_use(request) for request in first},
        )

    try:
        in_order = list(asked)
        results = await asyncio.gather(*map(ask, in_order))
    finally:
        await caller.close()
    return dict(zip(in_order, results, strict=True))


def _use(request: Seen) -> Use:
    if request.is_connection_kept:
        return "kept"
    return "busy" if request.connection.closed_s is None else "closed"
