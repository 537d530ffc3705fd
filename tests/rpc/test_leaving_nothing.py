"""A caller that leaves takes everything with it, whatever the service is doing: tasks, connections, memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
import pytest

from service import config
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.limits import Concurrency, Hedge, Limits, OnDisconnect, Retries
from service.provider_factory import http_provider
from tests.support.asking import SOON_S, stub_of, tasks, until
from tests.support.in_process import PLAIN_LIMITS, InProcess, in_process
from tests.support.json_form import to_proto
from tests.support.upstream import FakeUpstream, Script, chunk

HANGING = Limits(retries=Retries(max_attempts=2, backoff_s=60, max_backoff_s=60), breaker=None)


@dataclass
class Moment:
    """What the service is doing when its caller leaves."""

    script: Callable[[], Script]
    limits: Limits = PLAIN_LIMITS
    models: tuple[str, ...] = ("a",)
    reads: int = 0
    """Chunks that the caller reads before it leaves."""
    calls: int = 1
    asked: int = 1
    """Requests that have reached the provider by then."""


MOMENTS = {
    "waiting for the first token": Moment(lambda: Script(events=[], ending="hang")),
    "waiting for the head": Moment(lambda: Script(body=b"{}", delay_s=60)),
    "amid the stream": Moment(lambda: Script(events=[chunk("a")], ending="hang"), reads=1),
    "blocked writing": Moment(lambda: Script(events=[chunk("x" * 100_000)] * 1000, ending="hang"), reads=1),
    "in the backoff": Moment(lambda: Script(status=503, body=b"{}"), limits=HANGING),
    "amid a stream that is read on": Moment(
        lambda: Script(events=[chunk("a")], ending="hang"),
        limits=Limits(on_disconnect=OnDisconnect(policy="drain", max_s=0.1), breaker=None),
        reads=1,
    ),
    "with a hedge": Moment(
        lambda: Script(events=[], ending="hang"),
        limits=Limits(hedge=Hedge(after_s=0.05, budget=1), breaker=None),
        models=("a", "b"),
        asked=2,
    ),
    "in the queue": Moment(
        lambda: Script(events=[], ending="hang"),
        limits=Limits(concurrency=Concurrency(limit=1, wait_s=60), breaker=None),
        calls=2,
    ),
}
UNARY = ("waiting for the head", "in the backoff", "with a hedge", "in the queue")


@asynccontextmanager
async def serving(upstream: FakeUpstream, moment: Moment) -> AsyncIterator[InProcess]:
    async with AsyncExitStack() as stack:
        section = config.OpenAIProvider(base_url=upstream.base_url)
        providers = {name: http_provider(name, section, stack) for name in moment.models}
        yield await stack.enter_async_context(
            in_process(providers, limits=moment.limits, models={"m": moment.models}, sse_keepalive_s=0.1)
        )


def connections(upstream: FakeUpstream) -> int:
    """From this process to the provider."""
    port = int(upstream.base_url.rpartition(":")[2].partition("/")[0])
    kept = {psutil.CONN_ESTABLISHED, psutil.CONN_SYN_SENT}
    return sum(
        bool(each.raddr) and each.raddr.port == port and each.status in kept
        for each in psutil.Process().net_connections("tcp")
    )


async def _begun(method: Any, moment: Moment, script: Script, is_there: Callable[[], bool]) -> list[Any]:
    """Calls that have come to that moment."""
    request = to_proto({"model": "m", "user": script.user, "messages": [{"role": "user", "content": "x"}]})
    calls = [method(request)]
    await until(lambda: script.received)
    calls += [method(request) for _ in range(moment.calls - 1)]
    for _ in range(moment.reads):
        await calls[0].read()
    await until(lambda: len(script.received) == moment.asked and is_there())
    return calls


@pytest.mark.parametrize(("name", "is_unary"), [(name, False) for name in MOMENTS] + [(name, True) for name in UNARY])
async def test_a_caller_that_leaves_leaves_nothing_behind(upstream: FakeUpstream, name: str, *, is_unary: bool) -> None:
    moment = MOMENTS[name]
    async with serving(upstream, moment) as service, stub_of(service.address) as stub:
        await _warmed_up(stub)
        states = service.served.models["m"].targets
        before, sockets = tasks(), connections(upstream)
        script = moment.script()
        with upstream.scripted(script):
            is_there = {
                "in the queue": lambda: states[0].slots.waiting == 1,
                "in the backoff": lambda: states[0].slots.in_use == 0,
                "blocked writing": lambda: _is_standing(script),
            }.get(name, lambda: True)
            method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
            for call in (calls := await _begun(method, moment, script, is_there)):
                call.cancel()
            async with asyncio.timeout(SOON_S):
                await service.in_flight.wait_idle()
            await until(lambda: tasks() <= before)
            if name != "in the backoff":
                await until(script.left.is_set)
            assert all(call.cancelled() for call in calls)

        await until(lambda: connections(upstream) <= max(sockets, 1))  # one that can be used again may stay
        assert all(state.slots.in_use == state.slots.waiting == 0 for state in states)
        assert len(service.drains) == 0
        assert {line["status"] for line in service.calls()[1:]} == {"CANCELLED"}


async def _warmed_up(stub: Any) -> None:
    request = ChatCompletionRequest(model="m")
    request.messages.add(role="user").content.string_value = "x"
    await stub.CreateChatCompletion(request)


_seen: dict[str, tuple[int, int]] = {}


def _is_standing(script: Script) -> bool:
    """Whether the provider has written nothing more for a while."""
    written, times = _seen.get(script.user, (0, 0))
    _seen[script.user] = (script.bytes_written, times + 1 if written == script.bytes_written else 0)
    return times > 60 and written > 0


@pytest.mark.parametrize("name", MOMENTS)
async def test_a_caller_that_leaves_leaves_no_request_in_memory(upstream: FakeUpstream, name: str) -> None:
    """Not even one that the collector would find: it may run late, and a request may have 32 MiB."""
    moment = MOMENTS[name]
    async with serving(upstream, moment) as service, grpc.aio.insecure_channel(service.address) as channel:
        ask: Any = channel.unary_stream("/parley.v1.ChatService/StreamChatCompletion")

        def method(request: ChatCompletionRequest) -> Any:
            return ask(request.SerializeToString())  # gRPC's client keeps what it is given for a while

        gc.collect()
        gc.disable()
        try:
            before = _requests()
            await _come_and_gone(method, service, upstream, moment)
            await until(lambda: _requests() <= before)
        finally:
            gc.enable()


async def _come_and_gone(method: Any, service: InProcess, upstream: FakeUpstream, moment: Moment) -> None:
    for _ in range(3):
        script = moment.script()
        with upstream.scripted(script):
            for call in (calls := await _begun(method, moment, script, lambda: True)):
                call.cancel()
            async with asyncio.timeout(SOON_S):
                await service.in_flight.wait_idle()
                await service.drains.wait_idle()
            assert all(call.cancelled() for call in calls)


def _requests() -> int:
    return sum(type(each) is ChatCompletionRequest for each in gc.get_objects())
