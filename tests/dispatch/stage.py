"""A dispatcher before providers that play what the test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Choice
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.dispatch.call import Deadline, DispatchCall, Journal
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.errors import (
    Interrupted,
    RateLimited,
    Reason,
    Rejected,
    RequestError,
    Unavailable,
)
from service.limits import Limits, Retries
from service.providers.provider import Identity, ProviderCall
from service.providers.transport import Timeouts
from service.routing import Model, Target

SOON = Retries(max_attempts=2, backoff_s=0.001, budget=1)
ONCE = Retries(max_attempts=1)
IDENTITY = Identity("id", 1, "m")
NO_DEADLINE = Deadline()

Act = Callable[[], Exception] | float | str | None
"""An error to raise, seconds to wait before the answer, text to say, or None to wait for ever."""


@dataclass
class Actor:
    """A provider that plays one act per request, the last again and again."""

    acts: list[Act]
    asked: list[ProviderCall] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    closed: int = 0

    async def _play(self, call: ProviderCall) -> str:
        self.asked.append(call)
        self.asked_at.append(time.monotonic())
        act = self.acts[min(len(self.asked), len(self.acts)) - 1]
        if isinstance(act, str):
            return act
        if act is None:
            await asyncio.Event().wait()
        elif isinstance(act, float):
            await asyncio.sleep(act)
        elif callable(act):
            raise act()
        return "late"

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        try:
            choice = Choice(index=0, finish_reason="stop")
            choice.message.content = await self._play(call)
            return ChatCompletion(id="x", choices=[choice])
        finally:
            self.closed += 1

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        try:
            yield opening()
            text = await self._play(call)
            for word in text.split():
                if word == "CUT":
                    raise Interrupted("cut")
                if word == "STALL":
                    await asyncio.Event().wait()
                if word == "SLOW":
                    await asyncio.sleep(0.1)
                    continue
                yield said(word)
            yield said("", finish="stop")
        finally:
            self.closed += 1


def opening() -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x")
    choice = chunk.choices.add(index=0)
    choice.delta.role = "assistant"
    choice.delta.content = ""
    choice.finish_reason.null_value = 0  # type: ignore[assignment]  # the stubs know the enum alone
    return chunk


def said(text: str, finish: str = "") -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x")
    choice = chunk.choices.add(index=0)
    if text:
        choice.delta.content = text
    if finish:
        choice.finish_reason.string_value = finish
    return chunk


@dataclass
class Stage:
    """A dispatcher before actors named a, b, c…"""

    dispatcher: Dispatcher
    actors: list[Actor]
    journal: Journal = field(default_factory=Journal)
    deadline: Deadline = NO_DEADLINE

    def call(self) -> DispatchCall:
        request = ChatCompletionRequest(model="m")
        return DispatchCall(request, IDENTITY, may_drop=False, deadline=self.deadline, journal=self.journal)

    async def ask(self, *, stream: bool) -> str:
        if not stream:
            return (await self.dispatcher.complete(self.call())).choices[0].message.content
        words = []
        async with aclosing(self.dispatcher.stream(self.call())) as chunks:
            words = [chunk.choices[0].delta.content async for chunk in chunks]
        return " ".join(word for word in words if word)

    @property
    def tried(self) -> list[tuple[str, str | None]]:
        return [(attempt.target.provider, attempt.outcome) for attempt in self.journal.attempts]

    @property
    def asked(self) -> list[int]:
        return [len(actor.asked) for actor in self.actors]


def stage(*acts: list[Act], limits: Limits | None = None, deadline: Deadline | None = None) -> Stage:
    limits = limits or Limits(retries=SOON)
    actors = [Actor(list(each)) for each in acts]
    targets = tuple(Target(name, "m") for name in "abcdef"[: len(actors)])
    timeouts = attempt_timeouts(limits, Timeouts())
    states = [
        TargetState(target=target, provider=actor, limits=limits, timeouts=timeouts)
        for target, actor in zip(targets, actors, strict=True)
    ]
    model = Model("m", targets, 0, limits=limits)
    return Stage(Dispatcher(model, states), actors, deadline=deadline or NO_DEADLINE)


def unavailable() -> Exception:
    return Unavailable("down")


def limited(retry_after_s: float | None = None) -> Callable[[], Exception]:
    return lambda: RateLimited(Reason.UPSTREAM_RATE_LIMITED, "slow down", retry_after_s=retry_after_s)


def quota() -> Exception:
    return RateLimited(Reason.UPSTREAM_QUOTA_EXHAUSTED, "no credit")


def rejected() -> Exception:
    return Rejected(Reason.UPSTREAM_REJECTED, "wrong")


def refused() -> Exception:
    """What an adapter says to a parameter that its provider does not have."""
    return RequestError(Reason.PARAMETER_UNSUPPORTED, "`seed` is not for this one", param="seed")
