"""Reads a provider's answer, for the caller or on without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.dispatch.call import Journal
from service.rpc.accounting import Account
from service.rpc.frames import forget_frames
from service.rpc.relay import Relay


class StreamReading:
    """Passes a stream's chunks on to a relay, and accounts for them.

    Args:
        chunks: What is read; closed at the end.
        account: Is settled at the end.
        relay: Is told of the end.
        journal: Tells when the attempt has to be over.
        is_rest: Whether the gateway makes events of the chunks.
        shows_usage: Whether the caller gets the usage.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[ChatCompletionChunk],
        account: Account,
        relay: Relay,
        journal: Journal,
        *,
        is_rest: bool,
        shows_usage: bool,
    ) -> None:
        self._chunks = chunks
        self._account = account
        self._relay = relay
        self._journal = journal
        self._is_rest = is_rest
        self._shows_usage = shows_usage
        self._most_tokens: int | None = None

    def read_on(self, max_tokens: int) -> None:
        """Pass nothing on from here on, and end after about `max_tokens` more."""
        self._most_tokens = self._account.written_tokens + max_tokens
        self._relay.close()

    async def run(self) -> None:
        """Read to the end. How that was, the relay is told; this raises only what ends the task."""
        is_complete = False
        try:
            is_complete = await self._read()
        except BaseException as error:
            self._account.settle(is_complete=False)
            self._relay.end(error)
            if self._most_tokens is not None or _is_cancelled(error):  # else the caller's task does it
                forget_frames(error)
            if isinstance(error, KeyboardInterrupt | SystemExit) or _is_cancelled(error):
                raise
        else:
            self._account.settle(is_complete=is_complete)
            self._relay.end(None)

    async def _read(self) -> bool:
        """Whether the answer was read to its end."""
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                self._account.take(chunk)
                if self._most_tokens is not None:
                    if self._account.written_tokens >= self._most_tokens:
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
