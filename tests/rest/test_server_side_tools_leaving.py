"""Callers who leave, deadlines, reloads and shutdowns while a server-side tool runs: nothing goes on for nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import yaml

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY, stack_config
from tests.support.faces import ask
from tests.support.json_form import to_proto
from tests.support.stack import Stack, running
from tests.support.tool_projects import SERVER, TRANSPORTS, Tools, answering, asking, calling, message_in, tool_projects
from tests.support.upstream import FakeUpstream, Script
from tests.support.watching import holds, settled
from tests.tools.mcp_support import becomes, is_running

METADATA = {"x-api-key": KEY}
HANG = calling("shop__hang")
Way = tuple[str, bool]
"""The face, and whether the answer is streamed."""
WAYS: list[Way] = [("grpc", False), ("grpc", True), ("rest", False), ("rest", True)]
every_way = pytest.mark.parametrize("way", WAYS, ids=["grpc-whole", "grpc-stream", "rest-whole", "rest-stream"])
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(scope="module")
def tools(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    with tool_projects(upstream, tmp_path_factory.mktemp("leaving"), is_watched=True) as started:
        yield started


async def _ask(stack: Stack, way: Way, body: dict[str, Any], seen: list[str], **headers: str) -> str:
    """Asks, and notes what has come. Returns how that ended; who cancels it leaves."""
    face, stream = way
    told = {**METADATA, **headers}
    if face == "rest":
        async with (
            httpx.AsyncClient(base_url=stack.url, headers=told, timeout=60) as client,
            client.stream("POST", "/v1/chat/completions", json={**body, "stream": stream}) as response,
        ):
            async for line in response.aiter_lines():
                seen.append(line)  # noqa: PERF401 - to be seen as soon as it is there
        return str(response.status_code)
    async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
        stub: Any = ChatServiceStub(channel)
        request = to_proto(body)
        try:
            if stream:
                async for chunk in stub.StreamChatCompletion(request, metadata=tuple(told.items()), timeout=60):
                    seen.append(str(chunk))  # noqa: PERF401 - as above
            else:
                seen.append(str(await stub.CreateChatCompletion(request, metadata=tuple(told.items()), timeout=60)))
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "OK"


@asynccontextmanager
async def _asking(
    stack: Stack, way: Way, body: dict[str, Any], **headers: str
) -> AsyncIterator[tuple[asyncio.Task[str], list[str]]]:
    """A caller who has left at the end of the block."""
    seen: list[str] = []
    task = asyncio.create_task(_ask(stack, way, body, seen, **headers))
    try:
        yield task, seen
    finally:
        task.cancel()
        await asyncio.wait({task})


def _count(tools: Tools, transport: str, line: str) -> int:
    return tools.journal(transport).count(line)


@every_transport
@every_way
async def test_a_caller_who_leaves_ends_the_tool(
    tools: Tools, upstream: FakeUpstream, transport: str, way: Way
) -> None:
    begun, cancelled = (_count(tools, transport, f"hang {what}") for what in ("begun", "cancelled"))
    request_id = uuid.uuid4().hex
    script = Script(turns=[answering("Wait.", HANG, HANG, stream=way[1]), answering("Never.", stream=way[1])])
    before = await asyncio.to_thread(lambda: holds(tools.stack.service, with_tasks=True).tasks)
    with upstream.scripted(script):
        body = asking(transport, user=script.user)
        async with _asking(tools.stack, way, body, **{"x-request-id": request_id}):
            await becomes(lambda: _count(tools, transport, "hang begun") == begun + 2)

        await becomes(lambda: _count(tools, transport, "hang cancelled") == cancelled + 2)
    [call] = await asyncio.to_thread(tools.stack.calls, request_id)
    assert (call["status"], call["tokens_in"], len(script.received)) == ("CANCELLED", 7, 1)
    left = await asyncio.to_thread(settled, tools.stack.service, lambda now: now.tasks <= before, with_tasks=True)
    assert left.tasks <= before


@every_way
async def test_a_deadline_ends_the_tool(tools: Tools, upstream: FakeUpstream, way: Way) -> None:
    cancelled = _count(tools, "http", "hang cancelled")
    script = Script(turns=[answering("", HANG, stream=way[1]), answering("Never.", stream=way[1])])
    with upstream.scripted(script):
        body = asking("http", user=script.user)
        async with _asking(tools.stack, way, body, **{"x-request-timeout-ms": "700"}) as (task, seen):
            ended = await task

        await becomes(lambda: _count(tools, "http", "hang cancelled") == cancelled + 1)
    assert ended == ("DEADLINE_EXCEEDED" if way[0] == "grpc" else "504"), seen
    assert len(script.received) == 1


@every_way
async def test_an_answer_is_not_read_on_into_a_tool(tools: Tools, upstream: FakeUpstream, way: Way) -> None:
    """`on_disconnect: drain`: the turn under way is read to its end, for its usage, and nothing is begun after it."""
    begun = _count(tools, "http", "hang begun")
    script = Script(turns=[answering("Wait.", HANG, stream=way[1]), answering("Never.", stream=way[1])])
    if way[1]:
        script.gap_s = 0.1
    else:
        script.delay_s = 0.7
    request_id = uuid.uuid4().hex
    with upstream.scripted(script):
        body = asking("read", user=script.user)
        async with _asking(tools.stack, way, body, **{"x-request-id": request_id}) as (_, seen):
            await becomes(lambda: bool(seen) if way[1] else script.began.is_set())
        [call] = await asyncio.to_thread(tools.stack.calls, request_id)
    assert (call["status"], call["tokens_in"], call["drained"]) == ("CANCELLED", 7, True)
    assert not call.get("usage_estimated")
    assert len(script.received) == 1
    assert _count(tools, "http", "hang begun") == begun


@every_way
async def test_a_caller_who_leaves_while_a_tool_runs_is_not_waited_for(
    tools: Tools, upstream: FakeUpstream, way: Way
) -> None:
    """`on_disconnect: drain` again: no provider is at work, so there is nothing to read on."""
    begun, cancelled = (_count(tools, "http", f"hang {what}") for what in ("begun", "cancelled"))
    script = Script(turns=[answering("", HANG, stream=way[1])])
    with upstream.scripted(script):
        async with _asking(tools.stack, way, asking("read", user=script.user)):
            await becomes(lambda: _count(tools, "http", "hang begun") == begun + 1)
        await becomes(lambda: _count(tools, "http", "hang cancelled") == cancelled + 1)


async def test_what_was_told_before_a_caller_left_is_stored_as_partial(tools: Tools, upstream: FakeUpstream) -> None:
    user = uuid.uuid4().hex
    calls = [calling("shop__echo", "call_1", text="known"), {**HANG, "id": "call_2"}]
    script = Script(turns=[answering("Wait.", *calls, stream=True)], user=user)
    with upstream.scripted(script):
        async with _asking(tools.stack, ("rest", True), asking("http", user=user, store=True)) as (_, seen):
            await becomes(lambda: any("known" in line for line in seen))
    url = f"{tools.stack.url}/v1/chat/completions?user={user}"
    found: list[Any] = []

    def is_stored() -> bool:
        found[:] = httpx.get(url, headers=METADATA, timeout=30).json()["data"]
        return bool(found)

    await becomes(is_stored)
    message = found[0]["choices"][0]["message"]
    assert (found[0]["status"], message["content"]) == ("partial", "Wait.")
    assert [event["result"] for event in message["tool_events"]] == ["known"]


AT_ONCE = 40
"""Calls; as many connections to the provider may be kept for the next ones."""


async def test_many_calls_leave_nothing_behind(tools: Tools, upstream: FakeUpstream) -> None:
    service = tools.stack.service

    async def one(number: int) -> None:
        way = WAYS[number % 4]
        call = HANG if number % 3 == 0 else calling("shop__large", size=50_000)
        script = Script(turns=[answering("", call, stream=way[1]), answering("Yes.", stream=way[1])])
        with upstream.scripted(script):
            async with _asking(tools.stack, way, asking(TRANSPORTS[number % 2], user=script.user)) as (task, _):
                await asyncio.wait({task}, timeout=0.5 if number % 3 == 0 else 30)

    before = await asyncio.to_thread(holds, service, with_tasks=True)
    for _ in range(4):
        await asyncio.gather(*map(one, range(AT_ONCE)))
    after = await asyncio.to_thread(settled, service, lambda now: now.tasks <= before.tasks, with_tasks=True)
    assert after.tasks <= before.tasks
    assert after.descriptors <= before.descriptors + AT_ONCE


def _small_config(upstream: FakeUpstream, folder: Path, **server: Any) -> dict[str, Any]:
    config = stack_config(upstream, **server)
    command = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal")]
    config["projects"] = {
        "small": {"default_model": "own", "models": {"own": "echo"}, "tools": {"shop": {"command": command}}}
    }
    return config


def _lines(folder: Path) -> list[str]:
    file = folder / "journal"
    return file.read_text().splitlines() if file.exists() else []


async def _up(stack: Stack) -> None:
    await becomes(lambda: ask(stack, "grpc", asking("small")).failure is None, 60)


async def _reloaded(stack: Stack, folder: Path, config: dict[str, Any]) -> None:
    def count() -> int:
        return sum("took the configuration anew" in each["message"] for each in stack.service.json_lines("log"))

    before = count()
    (folder / "parley.yaml").write_text(yaml.safe_dump(config))
    os.kill(stack.service.process.pid, signal.SIGHUP)
    await becomes(lambda: count() > before, 60)


async def _told(stack: Stack, script: Script) -> list[dict[str, Any]]:
    """The events of a stream that plays the script."""
    outcome = await asyncio.to_thread(ask, stack, "grpc", asking("small", stream=True, user=script.user))
    return list(message_in(outcome)["tool_events"])


def _environment() -> Script:
    return Script(
        turns=[
            answering(
                "",
                {
                    **calling("shop__environment"),
                    "function": {"name": "shop__environment", "arguments": '{"name": "SHOP"}'},
                },
                stream=True,
            ),
            answering("Yes.", stream=True),
        ]
    )


@pytest.mark.parametrize("is_changed", [False, True])
async def test_a_call_keeps_the_tool_server_that_a_reload_takes_away_or_changes(
    upstream: FakeUpstream,
    folder: Path,
    is_changed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    config = _small_config(upstream, folder)
    shop = config["projects"]["small"]["tools"]["shop"]
    shop["env"] = {"SHOP": "old"}
    with running(config, folder, gateway=False) as stack:
        await _up(stack)
        held = _environment()
        held.gates[2] = threading.Event()
        with upstream.scripted(held), upstream.scripted(Script(turns=_environment().turns)) as other:
            task = asyncio.create_task(_told(stack, held))
            await becomes(held.began.is_set)
            if is_changed:
                shop["env"] = {"SHOP": "new"}
            else:
                del config["projects"]["small"]["tools"]["shop"]
            await _reloaded(stack, folder, config)
            if is_changed:  # without a gap: the new one was there before the old one went
                assert [event["result"] for event in await _told(stack, other)] == ["new"]
            else:
                assert ask(stack, "grpc", asking("small", use_tools=True)).failure is not None
            assert "ended" not in _lines(folder)

            held.gates[2].set()
            assert [event["result"] for event in await task] == ["old"]
        await becomes(lambda: "ended" in _lines(folder))


@pytest.mark.parametrize("way", WAYS[:2], ids=["whole", "stream"])
async def test_a_shutdown_ends_a_tool_that_hangs(upstream: FakeUpstream, folder: Path, way: Way) -> None:
    config = _small_config(upstream, folder, drain_grace_s=0.5)
    with running(config, folder, gateway=False) as stack:
        await _up(stack)
        script = Script(turns=[answering("Wait.", HANG, stream=way[1])])
        with upstream.scripted(script):
            async with _asking(stack, way, asking("small", user=script.user)) as (task, _):
                await becomes(lambda: "hang begun" in _lines(folder))
                started = time.monotonic()
                code = await asyncio.to_thread(stack.service.stop)
                assert await task == "UNAVAILABLE"
    assert code == 0
    assert time.monotonic() - started < 15
    assert _lines(folder)[-2:] == ["hang cancelled", "ended"]


async def test_servers_that_do_not_heed_their_end_are_ended_together(upstream: FakeUpstream, folder: Path) -> None:
    """Each takes two to four seconds until it is killed, which must not add up to thirty."""
    config = _small_config(upstream, folder)
    stubborn = ["sh", "-c", 'trap "" TERM; while :; do sleep 1; done']
    config["projects"]["small"]["tools"] = {f"s{number}": {"command": stubborn} for number in range(12)}
    with running(config, folder, gateway=False) as stack:
        await becomes(lambda: len(psutil.Process(stack.service.process.pid).children()) >= 12)
        children = psutil.Process(stack.service.process.pid).children()
        started = time.monotonic()
        await asyncio.to_thread(stack.service.stop, 60)
        took_s = time.monotonic() - started
    assert took_s < 15
    assert not any(is_running(child.pid) for child in children)
