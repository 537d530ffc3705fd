"""Writes a stream to its caller, and signs of life into a silence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.rpc.call import Call
from service.rpc.pacing import Pacing
from service.rpc.relay import Relay
from service.rpc.told import initial_metadata

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_KEEPALIVE = ChatCompletionChunk(keepalive=True)
_END = ChatCompletionChunk()


class ChunkWriter:
    """Writes what a relay gives. All writes are the calling task's: gRPC allows one at a time.

    Where the event loop is late, it writes less often: what has come meanwhile is merged, since to write a chunk takes three
    times as long as to read one.
    """

    def __init__(self, context: Context, call: Call, relay: Relay, pacing: Pacing, sse_keepalive_s: float) -> None:
        self._context = context
        self._call = call
        self._relay = relay
        self._pacing = pacing
        self._keepalive_s = sse_keepalive_s
        self._loop = asyncio.get_running_loop()
        self._last_write = self._loop.time()
        self._is_silent = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Write to the end; waits while the caller reads slower than the provider writes.

        Raises:
            BaseException: What the reading has ended with.
            ParleyError: The call was interrupted.
        """
        relay = self._relay
        with self._listening():
            while True:
                if not relay.is_empty and self._pacing.is_late():
                    relay.hold()
                    await self._pacing.my_turn()
                chunk = relay.take()
                if chunk is not None:
                    await self._write(chunk)
                elif relay.is_over:
                    break
                elif self._is_silent:
                    self._is_silent = False
                    await self._write(_KEEPALIVE)
                else:
                    await relay.wait()
        relay.raise_error()
        if self._call.is_rest:
            await self._write(_END)

    async def _write(self, chunk: ChatCompletionChunk) -> None:
        call = self._call
        call.is_writing = True
        try:
            if not call.has_written:
                call.has_written = True
                await self._context.send_initial_metadata(initial_metadata(call))
            await self._context.write(chunk)
        finally:
            call.is_writing = False
        self._last_write = self._loop.time()
        if call.interruption is not None:
            raise call.interruption

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Within the block, have `run` write a keepalive after every interval of silence.

        Only towards REST clients: gRPC callers have HTTP/2's own.
        """
        if not self._call.is_rest:
            yield
            return
        self._listen(self._keepalive_s)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _listen(self, for_s: float) -> None:
        self._timer = self._loop.call_later(for_s, self._look)

    def _look(self) -> None:
        left_s = self._last_write + self._keepalive_s - self._loop.time()
        if left_s > 0:
            self._listen(left_s)
            return
        if self._relay.is_awaited:  # else a write waits for the caller, who has bytes to read
            self._is_silent = True
            self._relay.wake()
        self._listen(self._keepalive_s)
