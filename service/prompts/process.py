"""The process that renders, as the service has it: started when it is first needed, and anew after its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final

import msgspec

from service.child_processes import kill_and_wait
from service.prompts.messages import (
    LENGTH_BYTES,
    MAX_ANSWER_BYTES,
    Answer,
    Cause,
    Failed,
    Question,
    framed,
    read_answer,
)

_START_TIMEOUT_S: Final = 30.0
"""It takes 0.1 s, and longer on a machine with much to do."""
_ANSWER_TIMEOUT_S: Final = 20.0
"""The process is ended after seconds of computing (child.py). This is for one that does not get a processor,
or that has been taken over by its template."""


class ProcessError(Exception):
    """There is no answer, and that is not because of the question; the message says what happened."""


class _EndedError(Exception):
    """The process has ended instead of answering."""


class RenderingProcess:
    """Answers one question at a time."""

    def __init__(self) -> None:
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while there is one."""
        return None if self._process is None else self._process.pid

    async def ask(self, question: Question) -> Answer:
        """The answer, also where the question was the end of the process.

        A cancellation ends the process: it may be at work for a second more, and nobody waits for it.

        Raises:
            ProcessError: It can't be started, or does not answer in time.
        """
        # It may have ended while nobody asked it anything. A question that ends two is to blame itself.
        for _ in range(2):
            try:
                return await self._asked(question)
            except _EndedError:
                continue
        return Failed(Cause.FAILS)

    async def aclose(self) -> None:
        """End it; to do so again is harmless."""
        process, self._process = self._process, None
        if process is not None:
            await _ended(process)

    async def _asked(self, question: Question) -> Answer:
        if self._process is None:
            self._process = await _started()
        process = self._process
        is_kept = False
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                answer = await _exchanged(process, question)
            is_kept = True
        except TimeoutError:
            raise ProcessError(f"no answer within {_ANSWER_TIMEOUT_S:g} s") from None
        except (OSError, EOFError, msgspec.DecodeError) as error:
            await self.aclose()
            if process.returncode != -signal.SIGPROF:
                raise _EndedError from error
            return Failed(Cause.TOO_SLOW)
        finally:
            if not is_kept:
                await self.aclose()
        return answer


async def _started() -> Process:
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "service.prompts.child"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            # Nothing of the service's own environment, which may hold keys.
            env={"PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)},
            # Signals to the service's group (Ctrl-C, a process manager's SIGTERM) must not end it: calls go on.
            start_new_session=True,
        )
    except OSError as error:  # such as no memory for another process, or no file descriptor
        raise ProcessError(f"it can't be started: {error.strerror}") from None
    is_ready = False
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await _received(process)
        is_ready = True
    except TimeoutError:
        raise ProcessError(f"not ready within {_START_TIMEOUT_S:g} s") from None
    except (EOFError, msgspec.DecodeError):
        raise ProcessError("it ended before it was ready") from None
    finally:
        if not is_ready:
            await _ended(process)
    return process


async def _exchanged(process: Process, question: Question) -> Answer:
    assert process.stdin is not None  # noqa: S101  for mypy: stdin=PIPE
    process.stdin.write(framed(question))
    await process.stdin.drain()
    return await _received(process)


async def _received(process: Process) -> Answer:
    """The next answer; EOFError at the end, or for one that is longer than any can be."""
    assert process.stdout is not None  # noqa: S101  for mypy: stdout=PIPE
    length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
    if length > MAX_ANSWER_BYTES:
        raise EOFError
    return read_answer(await process.stdout.readexactly(length))


async def _ended(process: Process) -> None:
    assert process.stdin is not None  # noqa: S101  for mypy: stdin=PIPE
    process.stdin.close()
    await kill_and_wait(process)
