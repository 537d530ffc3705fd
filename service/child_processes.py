"""How the service's child processes end."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from contextlib import suppress


async def kill_and_wait(process: Process) -> None:
    """Kill a process, and wait until it is gone. A cancellation waits as well, then goes on its way."""
    cancelled: asyncio.CancelledError | None = None
    while process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        try:
            await process.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
