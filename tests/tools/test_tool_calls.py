"""Calls of a real MCP server's tools, over both transports and in both eras of the protocol."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.project_settings import ToolServer
from service.settings import Secret
from service.tools.server import ToolServerConnection
from tests.tools.mcp_support import becomes, command, http_server, journal, running

KINDS = {
    "stdio": ("stdio",),
    "stdio-legacy": ("stdio", "--discover", "refuse"),
    "http": ("http",),
    "http-legacy": ("http", "--discover", "refuse"),
    "http-json": ("http", "--json"),
    "http-legacy-json": ("http", "--json", "--discover", "refuse"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Where a server of that kind is, as its section has it."""
    transport, *options = KINDS[kind]
    with ExitStack() as stack:
        if transport == "stdio":
            yield {"command": command(folder, *options)}
        else:
            yield {"url": stack.enter_context(http_server(folder, *options))[0]}


@pytest.fixture
async def shop(settings: dict[str, Any]) -> AsyncIterator[ToolServerConnection]:
    """A connection that is up."""
    async with running(ToolServer(**settings)) as connection:
        yield connection


CONTENTS: dict[str, str] = {
    "blocks": (
        "first\n[image: image/png, 5 bytes]\n[audio: audio/wav, 5 bytes]\n[resource: plan, file:///plan.txt]\n"
        "[resource: file:///note.txt]\na note\n[resource: file:///b.bin, a/b, 5 bytes]"
    ),
    "structured": '{"b":1,"a":["ü"]}',
    "nothing": "(the tool returned nothing)",
}
FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("fail", {}, "Error executing tool fail"),
    ("echo", {"wrong": 1}, "Error executing tool echo"),
    ("absent", {}, "Unknown tool: absent"),
    ("large", {"size": 65_537}, "it has 65537 bytes, and 65536 are allowed"),
    ("large", {"size": 10_000_000}, "it has 10000000 bytes, and 65536 are allowed"),
    ("large", {"size": 20_000_000}, "far too large to be read"),
]


async def test_tools_are_listed_and_called(shop: ToolServerConnection, folder: Path) -> None:
    assert {"shop__echo", "shop__hang"} <= set(shop.tools)
    assert "shop__dotted.name" not in shop.tools
    assert shop.tools["shop__echo"].function.description == "Says what it is told."
    for text in ("hello", "", "ü€🙂\n\u2028\x00", "x" * 60_000):
        outcome = await shop.call("echo", {"text": text}, 30)
        assert (outcome.text, outcome.is_error) == (text or "(the tool returned nothing)", False)
    for tool, text in CONTENTS.items():
        outcome = await shop.call(tool, {}, 30)
        assert (outcome.text, outcome.is_error) == (text, False)
    for tool, arguments, text in FAILURES:
        outcome = await shop.call(tool, arguments, 60)
        assert outcome.is_error
        assert text in outcome.text
    outcomes = await asyncio.gather(*(shop.call("meet", {"count": 20}, 60) for _ in range(20)))
    assert [outcome.text for outcome in outcomes] == ["met"] * 20
    # Whatever went wrong, it was one session all along.
    assert len([line for line in journal(folder) if line.startswith("started")]) == 1


async def test_a_call_that_takes_too_long_or_whose_caller_leaves_is_cancelled(
    shop: ToolServerConnection, folder: Path, kind: str
) -> None:
    outcome = await shop.call("hang", {}, 0.5)
    assert outcome.is_error
    assert "not done within 0.5 s" in outcome.text
    assert outcome.duration_ms >= 500
    await _is_told_of_the_cancellation(folder, kind, times=1)
    calls = [asyncio.create_task(shop.call("hang", {}, 60)) for _ in range(5)]
    await becomes(lambda: journal(folder).count("hang begun") == 6)
    for call in calls[:4]:
        call.cancel()
    await asyncio.wait(calls[:4])
    assert all(call.cancelled() for call in calls[:4])
    await _is_told_of_the_cancellation(folder, kind, times=5)
    assert not calls[4].done()
    assert (await shop.call("echo", {"text": "still here"}, 30)).text == "still here"
    await shop.aclose()
    assert "has ended while the tool was running" in (await calls[4]).text


async def _is_told_of_the_cancellation(folder: Path, kind: str, times: int) -> None:
    if kind == "http-json":
        return  # in this form the SDK's server does not look whether its client is still there
    await becomes(lambda: journal(folder).count("hang cancelled") == times)


async def test_tools_that_come_later_are_seen(shop: ToolServerConnection) -> None:
    assert (await shop.call("grow", {}, 30)).text == "grown"
    await becomes(lambda: "shop__grown" in shop.tools)
    assert (await shop.call("grown", {"text": "here"}, 30)).text == "here"


@pytest.mark.parametrize("kind", ["stdio", "http", "http-legacy"])
async def test_many_calls_leave_nothing_behind(shop: ToolServerConnection) -> None:
    async def many() -> None:
        for _ in range(10):
            hanging = [asyncio.create_task(shop.call("hang", {}, 60)) for _ in range(3)]
            await asyncio.gather(*(shop.call("echo", {"text": "x"}, 30) for _ in range(10)))
            for call in hanging:
                call.cancel()
            await asyncio.wait(hanging)
            await shop.call("hang", {}, 0.01)

    process = psutil.Process()
    await many()
    descriptors, tasks = process.num_fds(), len(asyncio.all_tasks())
    for _ in range(3):
        await many()
    # Connections to an HTTP server come and go by themselves; 120 leaked calls would show.
    await becomes(lambda: len(asyncio.all_tasks()) <= tasks + 3)
    await becomes(lambda: process.num_fds() <= descriptors + 20)


async def test_a_program_gets_its_own_variables_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHERS_KEY", "s3cret")
    settings = ToolServer(
        command=command(folder), env={"PLAIN": "open"}, environment={"TOKEN": Secret("planted-secret-of-shop")}
    )
    async with running(settings) as shop:
        found = {name: (await shop.call("environment", {"name": name}, 30)).text for name in ("PLAIN", "OTHERS_KEY")}
        token = (await shop.call("environment", {"name": "TOKEN"}, 30)).text
        assert token == "planted-secret-of-shop"
        assert found == {"PLAIN": "open", "OTHERS_KEY": "(not set)"}
        assert (await shop.call("environment", {"name": "PATH"}, 30)).text == os.environ["PATH"]
        assert "planted-secret" not in f"{shop!r} {shop.settings!r} {shop._opening()!r}"


async def test_what_does_not_belong_on_standard_output_is_skipped(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "echo CANARY; echo CANARY again; echo CANARY on standard error >&2; exec " + shlex.join(command(folder))
    async with running(ToolServer(command=["sh", "-c", script])) as shop:
        assert (await shop.call("echo", {"text": "x"}, 30)).text == "x"
    assert caplog.text.count("lines that are no messages") == 1
    assert "CANARY" not in caplog.text + "".join(capfd.readouterr())
