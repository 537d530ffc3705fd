"""One request to one target, up to its first token: what can still be repeated, or done by another."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Self

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.dispatch.call import Attempt, Deadline, DispatchCall
from service.dispatch.cutoff import Cutoff
from service.dispatch.ending import Ending
from service.dispatch.target import TargetState
from service.errors import CircuitOpen, Timeout, max_ttft_exceeded
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall

_MOST_HELD: Final = 256
"""Chunks without a token that are held back; each of up to 128 choices opens with one."""


@dataclass(slots=True)
class Opened:
    """An answer that has begun, or is there."""

    state: TargetState
    attempt: Attempt
    dropped: list[str]
    closing: AsyncExitStack | None = field(default=None, repr=False)
    """Of a stream, ends the attempt: closes the provider's connection, gives back the slot, tells the breaker."""
    completion: ChatCompletion | None = field(default=None, repr=False)
    held: list[ChatCompletionChunk] = field(default_factory=list, repr=False)
    """Up to and with the first token."""
    chunks: AsyncGenerator[ChatCompletionChunk] | None = field(default=None, repr=False)
    """What follows."""

    async def give_back(self) -> None:
        """End the attempt as one that nobody wants any more."""
        if self.closing is not None:
            await self.closing.aclose()


async def open_whole(state: TargetState, call: DispatchCall, attempt: Attempt) -> Opened:
    """The whole answer.

    Raises:
        ParleyError: See `Provider.complete`; CircuitOpen and ConcurrencyExhausted where it was not asked;
            MAX_TTFT_EXCEEDED.
    """
    opened = Opened(state, attempt, [])
    await _take_slot(state, call)
    try:
        with Ending(state, call, attempt, stream=False) as ending:
            request = _provider_call(call, opened, stream=False)
            with _Limit(state.timeouts.total_s, call.deadline, "No answer from the provider"):
                opened.completion = await state.provider.complete(request)
            ending.begun()
    finally:
        state.slots.release()
    return opened


async def open_stream(state: TargetState, call: DispatchCall, attempt: Attempt) -> Opened:
    """The answer up to its first token; close `closing` when done with what follows.

    Raises:
        ParleyError: See `Provider.stream`; CircuitOpen and ConcurrencyExhausted where it was not asked;
            MAX_TTFT_EXCEEDED.
    """
    opened = Opened(state, attempt, [])
    async with AsyncExitStack() as stack:
        await _take_slot(state, call)
        stack.callback(state.slots.release)
        ending = stack.enter_context(Ending(state, call, attempt, stream=True))
        opened.chunks = chunks = state.provider.stream(_provider_call(call, opened, stream=True))
        stack.push_async_callback(chunks.aclose)
        timeouts = state.timeouts
        most_s = min(timeouts.first_token_s, timeouts.total_s)
        with _Limit(most_s, call.deadline, "No first token from the provider"):
            opened.held = await _first_token(chunks)
        ending.begun()
        opened.closing = stack.pop_all()
    return opened


class _Limit(Cutoff):
    """The time until the first token: the attempt's own, or what the request still gives.

    Raises:
        Timeout: Out of the context: the attempt's time is over.
        ParleyError: MAX_TTFT_EXCEEDED, likewise.
    """

    __slots__ = ("_is_requests", "_seconds", "_what")

    def __init__(self, attempt_s: float, deadline: Deadline, what: str) -> None:
        super().__init__()
        left_s = attempt_s + 1 if deadline.first_token_at is None else deadline.first_token_at - time.monotonic()
        self._is_requests = left_s < attempt_s
        self._seconds = min(attempt_s, left_s)
        self._what = what

    def __enter__(self) -> Self:
        self.look_in(self._seconds, self._end)
        return super().__enter__()

    def _end(self) -> None:
        self.cut(max_ttft_exceeded() if self._is_requests else Timeout(f"{self._what} within {self._seconds:g} s."))


async def _take_slot(state: TargetState, call: DispatchCall) -> None:
    """Wait for a slot, which has to be released, unless the circuit is open anyway.

    The caller's deadline is not looked at: whoever set it ends the waiting, and says why.
    """
    if not state.breaker.is_available:
        raise CircuitOpen(state.breaker.retry_in_s)
    try:
        await state.slots.acquire(call.deadline.first_token_at)
    except TimeoutError:
        raise max_ttft_exceeded() from None


def _provider_call(call: DispatchCall, opened: Opened, *, stream: bool) -> ProviderCall:
    target, timeouts = opened.state.target, opened.state.timeouts
    omissions = Omissions(target.provider, may_drop=call.may_drop)
    opened.dropped = omissions.dropped
    return ProviderCall(
        call.request,
        target.model,
        call.identity,
        target.capabilities,
        omissions,
        timeouts.stream if stream else timeouts.unary,
        opened.attempt.trace,
    )


async def _first_token(chunks: AsyncGenerator[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    held = []
    async for chunk in chunks:
        held.append(chunk)
        if _has_token(chunk) or len(held) == _MOST_HELD:
            break
    return held


def _has_token(chunk: ChatCompletionChunk) -> bool:
    """Whether it says anything; what opens an answer has a role and an empty content."""
    for choice in chunk.choices:
        if choice.finish_reason.string_value:
            return True
        if any(value and field.name != "role" for field, value in choice.delta.ListFields()):
            return True
    return False
