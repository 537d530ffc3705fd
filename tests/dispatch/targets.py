"""Targets whose provider is never asked."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.limits import Limits
from service.providers.provider import ProviderCall
from service.providers.transport import Timeouts
from service.routing import Target


class _Unasked:
    async def complete(self, call: ProviderCall) -> ChatCompletion:
        raise NotImplementedError

    def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        raise NotImplementedError


def target_state(
    name: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    weight: float = 1.0,
    limits: Limits | None = None,
    on_change: Callable[[], None] = lambda: None,
) -> TargetState:
    limits = limits or Limits()
    return TargetState(
        target=Target(name, "m", weight=weight),
        provider=_Unasked(),
        limits=limits,
        timeouts=attempt_timeouts(limits, Timeouts()),
        on_change=on_change,
        clock=clock,
    )


def opened(state: TargetState) -> TargetState:
    """The same, whose circuit failures have opened."""
    while (ticket := state.breaker.admit()) is not None:
        ticket.failed()
    return state
