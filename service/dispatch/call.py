"""What is dispatched, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.providers.provider import Identity
from service.routing import Target
from service.tracing.content import Bounded
from service.tracing.trace import AttemptTrace, CallTrace
from service.unspoken import Unspoken


class Deadline(msgspec.Struct, frozen=True):
    """When a call has to be over, on the clock of `time.monotonic`; computed once, as the call arrives."""

    at: float | None = None
    """The caller's deadline; None where it has none."""
    first_token_at: float | None = None
    """When the first token has to be there, as the request says."""

    @property
    def first_token_by(self) -> float | None:
        """The sooner of the two: a first token that comes later helps nobody."""
        return min((at for at in (self.at, self.first_token_at) if at is not None), default=None)


@dataclass(slots=True)
class Attempt:
    """One request to a target."""

    target: Target
    started: float
    is_hedge: bool = False
    asked: float = field(init=False)
    """When it was wanted: before it waited for its turn, as `started` is after."""
    first_token: float | None = None
    ended: float | None = None
    outcome: str | None = None
    """"OK", the name of a `Reason`, "HEDGED" where another target was faster, "CANCELLED"; None while it runs."""
    trace: AttemptTrace | None = field(default=None, repr=False)
    """What is noted of it for the call's trace; None where there is nothing to note."""

    def __post_init__(self) -> None:
        self.asked = self.started


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A server-side tool that ran."""

    server: str
    tool: str
    status: str
    """"ok", "error", or "cancelled" where nobody wanted it any more."""
    duration_s: float
    started: float = 0.0
    """On the clock of `time.monotonic`."""
    arguments: Bounded | None = field(default=None, repr=False)
    result: Bounded | None = field(default=None, repr=False)
    """What it was given and found, where the call's trace is to tell it; else None."""


@dataclass(slots=True)
class Journal:
    """What became of a call: filled in while it is dispatched, also when that ends with an error."""

    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they began; targets that were passed over (open circuit, full queue) are none."""
    target: Target | None = None
    """Who answers, or else who was asked last."""
    asked: float | None = None
    """When the first target was wanted, on the clock of `time.monotonic`: also one that was then passed over."""
    is_abandoned: bool = False
    """Whether the caller has gone: an attempt under way may go on, but none is begun for nobody."""
    ends_at: float | None = None
    """Of a stream that has begun: when its attempt has to be over, on the clock of `time.monotonic`."""
    dropped: list[str] = field(default_factory=list)
    """Parameters that were not sent to `target`; complete before the first chunk."""
    turns: list[Usage | None] = field(default_factory=list)
    """Of an answer of several turns: what each that has ended used, with its cost where that is known; None where
    the provider does not tell."""
    tools: list[ToolRun] = field(default_factory=list)
    """In the order in which they ended."""


class DispatchCall(Unspoken, frozen=True):
    """A validated request, on its way to one of its model's targets."""

    request: ChatCompletionRequest
    identity: Identity
    may_drop: bool
    """Whether parameters that a provider can't follow are left out."""
    deadline: Deadline
    journal: Journal
    trace: CallTrace | None = None
    """None where nothing is traced."""
