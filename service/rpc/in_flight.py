"""The calls that are being answered, so that a shutdown can wait for them, and end the last ones."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from service.rpc.call import Call


class InFlight:
    """Counts calls, and can interrupt them."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_closed = False
        """Whether new calls are to be refused."""

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self, call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Count `call`, which the running task answers, until gRPC has taken its status."""
        call.task = asyncio.current_task()
        self._calls[id(call)] = call
        self._idle.clear()

        def leave(_context: Any) -> None:
            del self._calls[id(call)]
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
            call.interrupt()
