"""What becomes of a provider's answer when its caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import grpc

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason
from service.limits import LeavingPolicy, Limits, OnDisconnect
from service.rpc.call import Call


def leaving_of(request: ChatCompletionRequest, call: Call, limits: Limits) -> OnDisconnect:
    """What the validated request says, or else the caller's key, or else the model; the bounds are the model's."""
    leaving = limits.leaving
    said = call.key.on_disconnect if call.key else None
    if request.on_disconnect:
        said = cast(LeavingPolicy, request.on_disconnect)
    if said is None or said == leaving.policy:
        return leaving
    return OnDisconnect(policy=said, max_tokens=leaving.max_tokens, max_s=leaving.max_s)


class Drains:
    """Answers that are read on for their usage's sake.

    Each is read by a task that began before its caller left. They are as much work of the service's as calls
    are: a shutdown waits for them (`wait_idle`), and ends them with the grace period (`end`).
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._tasks)

    def adopt(self, task: asyncio.Task[Any], max_s: float) -> None:
        """Let `task` go on without a caller, for at most `max_s` seconds."""
        self._tasks.add(task)
        self._idle.clear()
        timer = asyncio.get_running_loop().call_later(max_s, task.cancel)

        def end(_task: asyncio.Task[Any]) -> None:
            timer.cancel()
            if not task.cancelled():
                task.exception()  # the access log has what became of the call
            self._tasks.discard(task)
            if not self._tasks:
                self._idle.set()

        task.add_done_callback(end)

    async def wait_idle(self) -> None:
        """Wait until none is read any more."""
        await self._idle.wait()

    async def end(self) -> None:
        """Close all of them, and wait until they are."""
        for task in self._tasks:
            task.cancel()
        await self.wait_idle()


@dataclass(slots=True)
class Reader:
    """The task that reads one call's answer, and what becomes of it when the call ends before it does."""

    task: asyncio.Task[Any]
    call: Call
    leaving: OnDisconnect
    drains: Drains = field(repr=False)
    read_on: Callable[[int], None] | None = None
    """Told how many tokens more may be read without a caller."""

    def leave(self) -> None:
        """The caller has gone, or has no time left: end the reading, or let it go on without a caller."""
        if self.task.done() or self.call.drain is not None:
            return
        if not self._may_go_on():
            self.task.cancel()
            return
        self.call.drain = self.task
        self.call.journal.is_abandoned = True
        if self.read_on is not None:
            self.read_on(self.leaving.max_tokens)
        self.drains.adopt(self.task, self.leaving.max_s)

    async def ended(self, error: BaseException) -> None:
        """Leave because of `error`; returns when nothing is left that nobody looks after."""
        is_leaving = error is self.call.interruption or isinstance(
            error, asyncio.CancelledError | grpc.aio.InternalError
        )
        if is_leaving:
            self.leave()
        else:
            self.task.cancel()
        if self.call.drain is None:
            await _ended(self.task)

    def _may_go_on(self) -> bool:
        """Not into a shutdown, and not where no provider is at work: nothing is begun for nobody."""
        interruption = self.call.interruption
        if interruption is not None and interruption.reason is Reason.SHUTTING_DOWN:
            return False
        is_working = any(attempt.ended is None for attempt in self.call.journal.attempts)
        return is_working and self.leaving.policy == "drain"


async def _ended(task: asyncio.Task[Any]) -> None:
    if not task.done():
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
