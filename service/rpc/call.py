"""What is known of the call at hand: filled in while it is answered, logged at its end."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from service._gen.parley.v1.chat_completion_pb2 import Usage

_MOST_NAMES = 50
"""Names of the contract are at most about 60 characters long, with their path."""


@dataclass(slots=True)
class Call:
    """One call. It holds no prompt, no answer and no key."""

    request_id: str
    method: str
    """Such as `/parley.v1.ChatService/CreateChatCompletion`."""
    is_rest: bool = False
    """Whether the gateway answers a REST client with it, a stream as server-sent events."""
    has_empty_lists: bool = False
    """Whether the gateway has to print empty lists in a unary answer."""
    started: float = field(default_factory=time.monotonic)
    key_name: str | None = None
    """Name of the caller's key in the configuration."""
    model: str | None = None
    provider: str | None = None
    dropped: list[str] = field(default_factory=list)
    """Parameters that the provider could not follow and was not sent."""
    first_token: float | None = None
    """When the first chunk of the provider's was there, on the clock of `started`."""
    usage: Usage | None = None
    finish_reason: str | None = None
    has_written: bool = False
    """Whether anything has been sent, so that a failure can't be a plain status any more."""
    is_writing: bool = False
    """Whether a write waits for the caller. It can't be cancelled: gRPC takes no other before its end."""
    is_interrupted: bool = False
    """Whether the shutdown wants the call to end."""
    task: asyncio.Task[Any] | None = None
    """The task that answers it."""

    def interrupt(self) -> None:
        """End the call as one that the service can explain; amid a write, as soon as that is over."""
        self.is_interrupted = True
        if self.task is not None and not self.is_writing:
            self.task.cancel()

    def take_back_interruption(self) -> bool:
        """Whether the cancellation at hand is `interrupt`'s alone; its task may then go on to tell the caller."""
        return (
            self.is_interrupted and self.task is not None and self.task.cancelling() > 0 and self.task.uncancel() == 0
        )


def answer_metadata(call: Call) -> tuple[tuple[str, str], ...]:
    """What callers are told of an answer, whole or in pieces, before it begins."""
    request_id = ("x-request-id", call.request_id)
    return (request_id, ("x-parley-dropped-params", _listed(call.dropped))) if call.dropped else (request_id,)


def _listed(names: list[str]) -> str:
    """The names, or as many as metadata has room for (grpcio takes 8 KiB) and how many more there are."""
    told = names[:_MOST_NAMES]
    more = len(names) - len(told)
    return ", ".join([*told, f"+{more}"] if more else told)


CURRENT: ContextVar[Call] = ContextVar("parley_call")
"""The call that the running task answers."""
