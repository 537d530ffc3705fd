"""The calls that are being answered: a shutdown waits for them, and what takes too long is ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc

from service.errors import deadline_exceeded, shutting_down
from service.rpc.call import Call

_STREAM: Final = "/StreamChatCompletion"
"""The one method that answers in pieces."""


class InFlight:
    """Counts calls, and can interrupt them."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.streams = 0
        """How many of them are streams."""
        self.is_closed = False
        """Whether new calls are to be refused."""

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self, call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Count `call`, which the running task answers, until gRPC has taken its status.

        From here on its deadline is watched over.
        """
        call.task = asyncio.current_task()
        self._calls[id(call)] = call
        is_stream = call.method.endswith(_STREAM)
        self.streams += is_stream
        self._idle.clear()
        timer = _timer(call)

        def leave(_context: Any) -> None:
            if timer is not None:
                timer.cancel()
            del self._calls[id(call)]
            self.streams -= is_stream
            if not self._calls:
                self._idle.set()

        context.add_done_callback(leave)  # type: ignore[arg-type]  # the stubs want a protocol that no function fits

    async def wait_idle(self) -> None:
        """Wait until no call is running."""
        await self._idle.wait()

    def close(self) -> None:
        """Have new calls refused."""
        self.is_closed = True

    def interrupt_all(self) -> None:
        """End every running call, in a way that the service wants and can explain to the caller."""
        for call in self._calls.values():
            call.interrupt(shutting_down())


def _timer(call: Call) -> asyncio.TimerHandle | None:
    if call.deadline_at is None:
        return None
    left_s = max(call.deadline_at - time.monotonic(), 0)
    return asyncio.get_running_loop().call_later(left_s, lambda: call.interrupt(deadline_exceeded()))
