"""The protocol's messages over the standard input and output of a program.

The SDK's own transport keeps lines of any length and joins them in quadratic time (a line of 10 MB took 1.5 s of the
event loop's time, one of 40 MB 21 s; here 0.14 s, and nothing; mcp 2.3.0, 2026-11-22), says nothing when the program
ends, and logs what it can't read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client import Transport
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, jsonrpc_message_adapter

from service.tools.child import ended, spawned
from service.tools.lines import Lines, TooLong

_log = logging.getLogger(__name__)

TOO_LARGE: Final = -32099
"""Code of the error that stands for a message which was too large to be read. Of the range that JSON-RPC leaves to
implementations; the SDK and the protocol use none near it."""
_CHUNK_BYTES: Final = 65_536
"""As much as a pipe holds on Linux."""
_LOOK_EVERY_S: Final = 0.2
"""How soon the end of the program is seen where a process that it left behind keeps its output open."""
_ID_IN_HEAD: Final = re.compile(rb'\A\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,18})\s*,')
_ID_IN_TAIL: Final = re.compile(rb',\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,18})\s*\}\s*\Z')
"""Where the SDKs of Python (head) and TypeScript (tail) write it."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, and how."""

    server: str
    """Its name, for the log."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """Beside PATH, HOME and the like."""
    max_message_bytes: int
    grace_s: float
    """From closing its stdin to SIGTERM, and from there to SIGKILL."""

    def __repr__(self) -> str:
        return f"Program({self.server!r})"


@asynccontextmanager
async def stdio_transport(program: Program, on_end: Callable[[str], None]) -> AsyncIterator[Transport]:
    """A transport, to be used once, to the program; it runs until the context ends.

    Args:
        program: What to run.
        on_end: Told why, as soon as the program can't be spoken to any more.

    Raises:
        OSError: It can't be started.
    """
    environment = {**get_default_environment(), **program.environment}
    async with spawned(program.command, environment, program.grace_s) as process:
        incoming_end, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        # Unbounded, so that nobody waits for a program that does not read: each call has its own time.
        outgoing, outgoing_end = anyio.create_memory_object_stream[SessionMessage](math.inf)
        tasks = [
            asyncio.create_task(_read(process, program, incoming_end, on_end)),
            asyncio.create_task(_write(process, outgoing_end)),
            asyncio.create_task(_tell_end(process, on_end)),
        ]
        try:
            yield _Streams(incoming, outgoing)
        finally:
            for task in tasks:
                task.cancel()
            for stream in (incoming_end, incoming, outgoing, outgoing_end):
                stream.close()  # before a further cancellation can keep it from that
            await asyncio.wait(tasks)


class _Streams:
    """The two streams as the SDK takes them; who made them closes them."""

    def __init__(
        self,
        incoming: MemoryObjectReceiveStream[SessionMessage | Exception],
        outgoing: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        self._streams = (incoming, outgoing)

    async def __aenter__(
        self,
    ) -> tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]:
        return self._streams

    async def __aexit__(self, *_: object) -> None:
        return None


async def _read(
    process: Process,
    program: Program,
    messages: MemoryObjectSendStream[SessionMessage | Exception],
    on_end: Callable[[str], None],
) -> None:
    assert process.stdout is not None  # noqa: S101  for mypy: stdout=PIPE
    lines = Lines(program.max_message_bytes)
    is_told = False
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError), messages:
        while data := await process.stdout.read(_CHUNK_BYTES):
            for line in lines.feed(data):
                message = _message(line)
                if message is not None:
                    await messages.send(message)
                elif isinstance(line, TooLong):
                    on_end(f"it sent a message of more than {program.max_message_bytes} bytes")
                    return
                elif line.strip() and not is_told:
                    is_told = True
                    _log.warning(
                        "tool server %s: it writes lines that are no messages; they are skipped", program.server
                    )
    on_end("its output has ended")


def _message(line: bytes | TooLong) -> SessionMessage | None:
    """The message of a line. For one that is too long, if it can be told whose it is, an error in its place."""
    if isinstance(line, TooLong):
        if (id_ := _ID_IN_HEAD.search(line.head) or _ID_IN_TAIL.search(line.tail)) is None:
            return None
        error = ErrorData(code=TOO_LARGE, message="")
        return SessionMessage(JSONRPCError(jsonrpc="2.0", id=int(id_[1]), error=error))
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None


async def _write(process: Process, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert process.stdin is not None  # noqa: S101  for mypy: stdin=PIPE
    with suppress(OSError, RuntimeError):  # it no longer reads: its end will be told
        async for message in messages:
            process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await process.stdin.drain()


async def _tell_end(process: Process, on_end: Callable[[str], None]) -> None:
    on_end(f"its process has ended with status {await ended(process, _LOOK_EVERY_S)}")
