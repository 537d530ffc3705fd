"""One run of the child process: spawned, asked for its address, stopped and reaped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from service.child_processes import kill_and_wait
from service.providers.embedded.options import API_KEY_VARIABLE, Options

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d{1,5})")


class ChildError(Exception):
    """The child does not serve; the message says what happened, and names no part of a request."""


@asynccontextmanager
async def spawned(options: Options, api_key: str, *, stop_grace_s: float) -> AsyncIterator[Process]:
    """A child that is gone when the context ends, however it ends.

    Leaving closes its stdin, the polite request; after `stop_grace_s` comes SIGTERM, after as long
    again SIGKILL. When a cancellation arrives while it waits, SIGKILL comes at once.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "service.providers.embedded.child", options.to_json()),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        # Nothing of the parent's environment: it may hold the keys of other providers.
        env={API_KEY_VARIABLE: api_key, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)},
        # Signals to the parent's group (Ctrl-C, a process manager's SIGTERM) must not end running streams.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            await _ask_to_stop(process, stop_grace_s)
        finally:
            await kill_and_wait(process)


async def read_address(process: Process, timeout_s: float) -> int:
    """The port on 127.0.0.1 at which the child serves, once it has loaded the model.

    Raises:
        ChildError: It can't load it, died, or said nothing for `timeout_s` seconds.
    """
    assert process.stdout is not None  # noqa: S101  for mypy: stdout=PIPE
    try:
        async with asyncio.timeout(timeout_s):
            line = await process.stdout.readline()
    except TimeoutError:
        raise ChildError(f"not ready after {timeout_s:g} s") from None
    if not line:
        raise ChildError(f"it ended before it was ready, status {await process.wait()}")
    try:
        message: dict[str, str] = json.loads(line)
    except ValueError:
        raise ChildError("it told no address") from None
    match = _ADDRESS.fullmatch(message.get("address", ""))
    if match is None:
        raise ChildError(message.get("error", "it told no address"))
    return int(match[1])


async def is_healthy(port: int, timeout_s: float) -> bool:
    """Whether `GET /health` on 127.0.0.1 answers 200 within `timeout_s` seconds. It needs no key."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
                await writer.wait_closed()
    except (TimeoutError, OSError):
        return False


async def _ask_to_stop(process: Process, grace_s: float) -> None:
    assert process.stdin is not None  # noqa: S101  for mypy: stdin=PIPE
    process.stdin.close()
    for ask in (None, process.terminate):
        with suppress(ProcessLookupError):
            if ask is not None:
                ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await process.wait()
                return
