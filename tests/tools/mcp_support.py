"""Tool servers for tests, and connections to them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

from service.project_settings import ToolServer
from service.tools.server import Timing, ToolServerConnection

SERVER = Path(__file__).with_name("mcp_server.py")
QUICK = Timing(backoff_min_s=0.05, backoff_max_s=0.2, check_interval_s=0.3)
"""So that tests of restarts need not wait."""
START_S = 60.0
"""The machine may be busy: Python and the SDK take a second to load where it is not."""


def command(folder: Path, *options: str) -> list[str]:
    """What starts the server over standard input and output."""
    return [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal"), *options]


def journal(folder: Path) -> list[str]:
    """What the servers in `folder` have written down."""
    file = folder / "journal"
    return file.read_text().splitlines() if file.exists() else []


@contextmanager
def http_server(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server over HTTP: its URL, and its process."""
    arguments = [sys.executable, str(SERVER), "http", "--journal", str(folder / "journal"), *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp", process
        finally:
            process.kill()


@asynccontextmanager
async def running(
    settings: ToolServer, *, timing: Timing | None = None, is_awaited: bool = True, **options: Any
) -> AsyncIterator[ToolServerConnection]:
    """A connection that runs; with `is_awaited`, to a server that is up."""
    connection = ToolServerConnection("shop", settings, timing=timing or QUICK, **options)
    task = asyncio.create_task(connection.run())
    try:
        if is_awaited:
            async with asyncio.timeout(START_S):
                await connection.wait_up()
        yield connection
    finally:
        await connection.aclose()
        assert task.done()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def becomes(is_true: Callable[[], object], within_s: float = START_S) -> None:
    """Returns as soon as `is_true`."""
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - what is waited for is another process's doing
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether there is a process of that id; one that has ended and waits for its parent is none."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
