"""Times calls through the service: while others are stored, and where nothing is."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import psutil

from bench.storage.databases import Place
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.support.quick_upstream import Reader
from tests.support.stack import Stack, running

_PROBES_PER_S: Final = 25
"""Plain calls beside the load, whose time is what others notice of it."""
_QUESTION: Final = "What is the capital of France, and which river does it stand at? " * 5


@dataclass
class Load:
    """What was measured while calls came at a fixed rate; in milliseconds, and microseconds of processor time."""

    probes_ms: list[float] = field(default_factory=list)
    calls_ms: list[float] = field(default_factory=list)
    cpu_us_per_call: list[float] = field(default_factory=list)
    failed: int = 0

    def __str__(self) -> str:
        failed = f"{self.failed} failed   " if self.failed else ""
        return failed + (
            f"plain call {_quantiles(self.probes_ms)}   call of the load {_quantiles(self.calls_ms)}"
            f"   processor {statistics.median(self.cpu_us_per_call):4.0f} us per call"
        )


@dataclass(frozen=True)
class Rates:
    """How the load is given."""

    per_s: int = 500
    round_s: float = 5.0
    rounds: int = 6


def request(*, store: bool, number: int = 0) -> ChatCompletionRequest:
    """A small conversation."""
    made = ChatCompletionRequest(model="m", store=store)
    made.messages.add(role="user").content.string_value = _QUESTION
    if store:
        made.user = f"user-{number % 100}"
        made.labels.update({"topic": "geography", "ticket": str(number)})
        made.tags.append("bench")
    return made


async def time_inserts(place: Place, upstream: Reader, folder: Path, rates: Rates) -> tuple[Load, Load]:
    """Calls at a fixed rate that are stored, and that are not, in turn; the second of the two is of those not."""
    stored, plain = Load(), Load()
    async with _service(place, upstream, folder) as (service, stub):
        await _give(stub, service, Load(), rates, store=True)  # warms up
        for _ in range(rates.rounds):
            await _give(stub, service, plain, rates, store=False)
            await _give(stub, service, stored, rates, store=True)
    return stored, plain


async def time_plain_calls(place: Place, upstream: Reader, folder: Path, calls: int) -> tuple[float, float]:
    """Processor time of a call that is not stored, in microseconds: with a database configured, and without."""
    with_store: list[float] = []
    without: list[float] = []
    async with (
        _service(place, upstream, folder) as (service, stub),
        _service(None, upstream, folder) as (other_service, other_stub),
    ):
        for number in range(_PARTS + 1):
            for one, its_stub, taken in ((service, stub, with_store), (other_service, other_stub, without)):
                cpu_us = await _cpu_us(one, its_stub, calls // _PARTS)
                if number:  # the first part warms up
                    taken.append(cpu_us)
    return statistics.median(with_store), statistics.median(without)


_PARTS: Final = 10
"""That the two services are asked in turn."""


async def _cpu_us(service: psutil.Process, stub: Any, calls: int) -> float:
    before_s = _cpu_s(service)
    for _ in range(calls):
        await stub.CreateChatCompletion(request(store=False))
    return (_cpu_s(service) - before_s) / calls * 1e6


async def _give(stub: Any, service: psutil.Process, load: Load, rates: Rates, *, store: bool) -> None:
    """One round, whose calls begin when they are due, however long others take."""
    count = int(rates.per_s * rates.round_s)
    before_s, began = _cpu_s(service), time.perf_counter()
    probes = 0
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = began + number / rates.per_s
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            group.create_task(_call(stub, request(store=store, number=number), load, load.calls_ms))
            if number % (rates.per_s // _PROBES_PER_S) == 0:
                group.create_task(_call(stub, request(store=False), load, load.probes_ms))
                probes += 1
    load.cpu_us_per_call.append((_cpu_s(service) - before_s) / (count + probes) * 1e6)


async def _call(stub: Any, asked: ChatCompletionRequest, load: Load, taken_ms: list[float]) -> None:
    began = time.perf_counter()
    try:
        await stub.CreateChatCompletion(asked)
    except grpc.aio.AioRpcError:
        load.failed += 1
    taken_ms.append((time.perf_counter() - began) * 1000)


@asynccontextmanager
async def _service(place: Place | None, upstream: Reader, folder: Path) -> AsyncIterator[tuple[psutil.Process, Any]]:
    """The service as a process, without the gateway."""
    config: dict[str, Any] = {
        "providers": upstream.providers(),
        "models": {"m": {"targets": [{"provider": "openai", "model": "m"}]}},
    }
    if place is not None:
        config["storage"] = place.section
    started = running(config, folder, gateway=False, environ=place.environ if place else {})
    stack: Stack = await asyncio.to_thread(started.__enter__)
    try:
        async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
            yield psutil.Process(stack.service.process.pid), ChatServiceStub(channel)
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _quantiles(times_ms: list[float]) -> str:
    cuts = statistics.quantiles(times_ms, n=20)
    return f"p50 {cuts[9]:6.2f} ms, p95 {cuts[18]:6.2f} ms"
