"""Reads a provider's answer, for the caller or on without one."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress

from google.protobuf.struct_pb2 import NULL_VALUE

from service.rpc.frames import forget_frames
from service.rpc.ordering import Order
from service.rpc.relay import Relay


class StreamReading:
    """Passes a stream's chunks on to a relay.

    Args:
        order: What is read, and who keeps account of it.
        relay: Is told of the end.
        shows_usage: Whether the caller gets the usage.
    """

    def __init__(self, order: Order, relay: Relay, *, shows_usage: bool) -> None:
        self._chunks = order.answerer.stream(order.dispatched)
        self._passing = order.passing
        self._relay = relay
        self._journal = order.dispatched.journal
        self._is_rest = order.call.is_rest
        self._shows_usage = shows_usage
        self._most_tokens: int | None = None

    def read_on(self, max_tokens: int) -> None:
        """Pass nothing on from here on, and end after about `max_tokens` more."""
        self._most_tokens = self._passing.written_tokens + max_tokens
        self._relay.close()

    async def run(self) -> None:
        """Read to the end. How that was, the relay is told; this raises only what ends the task."""
        try:
            await self._passing.end(is_complete=await self._read())
        except BaseException as error:
            self._passing.fail(error)
            self._relay.end(error)
            if self._most_tokens is not None or _is_cancelled(error):  # else the caller's task does it
                forget_frames(error)
            if isinstance(error, KeyboardInterrupt | SystemExit) or _is_cancelled(error):
                raise
        else:
            self._relay.end(None)

    async def _read(self) -> bool:
        """Whether the answer was read to its end."""
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                self._passing.take(chunk)
                if self._most_tokens is not None:
                    if self._passing.written_tokens >= self._most_tokens:
                        return False
                    continue
                if chunk.HasField("usage") and not self._shows_usage:
                    continue
                if self._is_rest and not chunk.choices:
                    chunk.empty_choices = NULL_VALUE
                if not self._relay.put(chunk):
                    await self._room()
        return True

    async def _room(self) -> None:
        """Wait for room in the relay, or until the attempt has to be over: then the next chunk is not to be had."""
        ends_at = self._journal.ends_at
        with suppress(TimeoutError):
            async with asyncio.timeout(None if ends_at is None else ends_at - time.monotonic()):
                await self._relay.room()


def _is_cancelled(error: BaseException) -> bool:
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
