"""What is known of the call at hand: filled in while it is answered, logged at its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.dispatch.call import Journal
from service.errors import ParleyError
from service.rpc.auth import CallerKey
from service.tracing.trace import CallTrace

OPEN_TENANT: Final = "default"
"""Of all callers, where no keys are configured."""


@dataclass(slots=True)
class Call:
    """One call. It holds no prompt, no answer and no key, unless its trace is to have what was asked and answered."""

    request_id: str
    method: str
    """Such as `/parley.v1.ChatService/CreateChatCompletion`."""
    is_rest: bool = False
    """Whether the gateway answers a REST client with it, a stream as server-sent events."""
    has_empty_lists: bool = False
    """Whether the gateway has to print empty lists in a unary answer."""
    started: float = field(default_factory=time.monotonic)
    deadline_at: float | None = None
    """When it has to be over, on the clock of `started`."""
    ended: float | None = None
    """When the caller got its status, or was gone."""
    trace_id: str | None = None
    """Of the trace that it belongs to, in 32 hexadecimal digits."""
    trace: CallTrace | None = field(default=None, repr=False)
    """What is noted for the trace; None where calls are not traced."""
    key: CallerKey | None = None
    """What is configured for the caller's key; None where no keys are configured."""
    model: str | None = None
    """Id of the model that answers."""
    project: str | None = None
    """The project that it was asked by."""
    campaign: str | None = None
    arm: str | None = None
    """The campaign that the call takes part in, and its arm."""
    is_stored: bool | Literal["later"] | None = None
    """Whether the answer is in the store; "later" where it was given to the store and nobody waits for that: a part of
    one, or one whose caller left during the commit; None where nobody wants it to be."""
    kept_s: float = 0.0
    """How long the answer waited for the store."""
    journal: Journal = field(default_factory=Journal)
    """Who was asked, how often, and who answers."""
    first_token: float | None = None
    """When the first chunk of the provider's was there, on the clock of `started`."""
    usage: Usage | None = None
    is_usage_estimated: bool = False
    """Whether the provider did not tell `usage`."""
    finish_reason: str | None = None
    """Why the answer ended; of several, each one's, with commas between them."""
    is_complete: bool = False
    """Whether the answer has ended as its provider wanted."""
    has_written: bool = False
    """Whether anything has been sent, so that a failure can't be a plain status any more."""
    is_writing: bool = False
    """Whether a write waits for the caller. It can't be cancelled: gRPC takes no other before its end."""
    is_ending: bool = False
    """Whether the caller is being told of the end."""
    interruption: ParleyError | None = None
    """Why the service wants the call to end before its answer does."""
    on_interruption: Callable[[], object] | None = None
    """Lets go of the provider, where the call itself has to wait for the end of a write."""
    task: asyncio.Task[Any] | None = None
    """The task that answers it."""
    drain: asyncio.Task[Any] | None = None
    """The task that reads the answer on since the caller has gone; the call's usage is known at its end."""

    @property
    def span_id(self) -> str | None:
        """Of its own span, in 16 hexadecimal digits; None where the trace is not recorded."""
        return self.trace.span_id if self.trace is not None and self.trace.is_recorded else None

    @property
    def tenant(self) -> str:
        """Whose stored completions the caller sees, and adds to."""
        return self.key.tenant if self.key else OPEN_TENANT

    def interrupt(self, why: ParleyError) -> None:
        """End the call as one that the service can explain; amid a write, as soon as that is over.

        The provider is let go of at once in either case. A call that is ending anyway is left alone.
        """
        if self.is_ending or self.interruption is not None:
            return
        self.interruption = why
        if not self.is_writing:
            if self.task is not None:
                self.task.cancel()
        elif self.on_interruption is not None:
            self.on_interruption()

    def take_back_interruption(self) -> ParleyError | None:
        """Why, if the cancellation at hand is `interrupt`'s alone; its task may then go on to tell the caller."""
        if self.interruption is None or self.task is None:
            return None
        is_alone = self.task.cancelling() > 0 and self.task.uncancel() == 0
        return self.interruption if is_alone else None


CURRENT: ContextVar[Call] = ContextVar("parley_call")
"""The call that the running task answers."""
