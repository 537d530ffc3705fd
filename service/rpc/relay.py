"""Between the task that reads a provider's stream and the call that writes it: a small buffer.

A reader that keeps up gets every chunk as the provider sent it, unless the event loop is late (`hold`). Behind one that
doesn't, what is pending is merged; beyond a bound nothing more is read from the provider. So a slow reader holds up its
own stream and costs a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.rpc.merging import merged

MAX_PENDING_BYTES: Final = 64 * 1024
"""As many again are under way in gRPC's and the gateway's buffers; 1,000 blocked readers cost 64 MiB here."""
MAX_PENDING_CHUNKS: Final = 16
"""To read so many takes 0.3 ms; a chunk of a few bytes takes about 1 KiB of memory."""
_SLOW_S: Final = 0.05
"""How long a write may take before its reader counts as slow. A write takes 20 µs where the reader keeps up;
several tokens of a fast model come in this time."""


class Relay:
    """Takes chunks from one task, and gives them to another."""

    def __init__(self) -> None:
        self._pending: deque[tuple[ChatCompletionChunk, int]] = deque()
        self._pending_bytes = 0
        self._taken_at = 0.0
        self._has_taken = True
        """Whether the writer has, since that was last looked at."""
        self._is_behind = False
        self._is_held = False
        self._taker: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._is_closed = False
        self.is_over = False
        """Whether nothing comes after what is pending."""

    @property
    def is_awaited(self) -> bool:
        """Whether the writer waits for something to write."""
        return self._taker is not None and not self._taker.done()

    def hold(self) -> None:
        """Tell that it is not for its reader that the writer takes nothing now; the next `take` merges what is pending."""
        self._is_held = True
        self._is_behind = True

    def put(self, chunk: ChatCompletionChunk) -> bool:
        """Add `chunk`; where the answer is false, wait for `room` before the next."""
        if self.is_awaited:
            self._pending.append((chunk, 0))  # it leaves at once
            self.wake()
            return True
        size = chunk.ByteSize()
        self._pending.append((chunk, size))
        self._pending_bytes += size
        if not self._is_behind and self._is_slow():
            self._is_behind = True
        return not self._is_full()

    async def room(self) -> None:
        """Wait until there is room for another chunk, or nobody takes any more.

        Nothing is merged before others have had their turn: where many streams keep the loop busy, it may be for want of
        one that the writer has taken nothing.
        """
        while self._is_full() and not self._is_closed:
            if self._has_taken or self._is_held:
                self._has_taken = False
                await self._wait_for_room(None if self._is_held else _SLOW_S)
            else:
                await asyncio.sleep(0)
            if self._is_full() and not self._is_held:
                self._is_behind = True
                self._merge()
                if self._is_full():
                    await self._wait_for_room(None)

    def end(self, error: BaseException | None) -> None:
        """Nothing follows; with `error`, because of that."""
        if not self._is_closed:
            self._error = error
        self.is_over = True
        self.wake()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending

    def take(self) -> ChatCompletionChunk | None:
        """The next chunk; None where none is pending."""
        if not self._pending:
            return None
        if self._is_behind:
            self._merge()
            self._is_behind = False
        chunk, size = self._pending.popleft()
        self._pending_bytes -= size
        self._taken_at = time.monotonic()
        self._has_taken = True
        self._is_held = False
        if self._room is not None and self._is_half_empty():
            _resolve(self._room)
        return chunk

    async def wait(self) -> None:
        """Wait until something is pending, the end is known, or somebody calls `wake`."""
        if self._pending or self.is_over:
            return
        self._taker = asyncio.get_running_loop().create_future()
        try:
            await self._taker
        finally:
            self._taker = None

    def wake(self) -> None:
        """Have the writer look again."""
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
            self._taken_at = time.monotonic()

    def raise_error(self) -> None:
        """Raise what the reading has ended with, if it was an error."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # else this frame and the exception hold each other

    def close(self) -> None:
        """Nobody takes any more: forget what is pending."""
        self._is_closed = True
        self._pending.clear()
        self._pending_bytes = 0
        self._error = None
        if self._room is not None:
            _resolve(self._room)

    def _is_slow(self) -> bool:
        return time.monotonic() - self._taken_at > _SLOW_S

    def _is_full(self) -> bool:
        return self._pending_bytes >= MAX_PENDING_BYTES or len(self._pending) >= MAX_PENDING_CHUNKS

    def _is_half_empty(self) -> bool:
        return self._pending_bytes <= MAX_PENDING_BYTES // 2 and len(self._pending) <= MAX_PENDING_CHUNKS // 2

    def _merge(self) -> None:
        if len(self._pending) > 1:
            chunks = merged(chunk for chunk, _ in self._pending)
            self._pending = deque((chunk, chunk.ByteSize()) for chunk in chunks)
            self._pending_bytes = sum(size for _, size in self._pending)

    async def _wait_for_room(self, timeout_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._room = room = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, _resolve, room)
        try:
            await room
        finally:
            self._room = None
            if timer is not None:
                timer.cancel()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
