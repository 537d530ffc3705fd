"""The process of a tool server that is a program: started, and stopped with all that it has started."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

_POLL_S: Final = 0.02
"""Between two looks whether a process has ended. `Process.wait` would wait for the ends of its pipes too, which
a process that it left behind may hold open."""


@asynccontextmanager
async def spawned(command: Sequence[str], environment: Mapping[str, str], grace_s: float) -> AsyncIterator[Process]:
    """A program that is gone when the context ends, however it ends, and its process group with it.

    Leaving closes its stdin, as the protocol has it; after `grace_s` comes SIGTERM, after as long again SIGKILL.
    When a cancellation arrives while it waits, SIGKILL comes at once.

    Raises:
        OSError: It can't be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,  # it may hold prompts
        env=dict(environment),
        start_new_session=True,  # so that its group can be told to end, and Ctrl-C does not reach it
    )
    try:
        yield process
    finally:
        try:
            await _ask_to_stop(process, grace_s)
        finally:
            _signal_group(process, signal.SIGKILL)
            await _reap(process)


async def ended(process: Process, interval_s: float) -> int:
    """The status of the process once it has ended, looked for every `interval_s`."""
    while process.returncode is None:  # noqa: ASYNC110 - nothing public tells it; see _POLL_S
        await asyncio.sleep(interval_s)
    return process.returncode


async def _ask_to_stop(process: Process, grace_s: float) -> None:
    assert process.stdin is not None  # noqa: S101  for mypy: stdin=PIPE
    process.stdin.close()
    if await _comes_true(lambda: process.returncode is not None, grace_s) and not _has_group(process):
        return
    _signal_group(process, signal.SIGTERM)
    await _comes_true(lambda: process.returncode is not None and not _has_group(process), grace_s)


async def _reap(process: Process) -> None:
    """Waits for the end of a process that was killed; a cancellation waits as well, then goes on its way."""
    cancelled: asyncio.CancelledError | None = None
    while process.returncode is None:
        try:
            await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError as error:
            cancelled = error
    # Something that left the group may hold the pipes open, and with them the transport. Nothing public closes it.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    if cancelled is not None:
        raise cancelled


async def _comes_true(is_true: Callable[[], bool], within_s: float) -> bool:
    end = asyncio.get_running_loop().time() + within_s
    while not is_true():
        if asyncio.get_running_loop().time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _has_group(process: Process) -> bool:
    """Whether anything of the process's group, whose id is its own, is still there."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
