"""What is dispatched, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.providers.provider import Identity
from service.routing import Target


@dataclass(frozen=True, slots=True)
class Deadline:
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
    ended: float | None = None
    outcome: str | None = None
    """"OK", the name of a `Reason`, "HEDGED" where another target was faster, "CANCELLED"; None while it runs."""


@dataclass(slots=True)
class Journal:
    """What became of a call: filled in while it is dispatched, also when that ends with an error."""

    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they began; targets that were passed over (open circuit, full queue) are none."""
    target: Target | None = None
    """Who answers, or else who was asked last."""
    is_abandoned: bool = False
    """Whether the caller has gone: an attempt under way may go on, but none is begun for nobody."""
    ends_at: float | None = None
    """Of a stream that has begun: when its attempt has to be over, on the clock of `time.monotonic`."""
    dropped: list[str] = field(default_factory=list)
    """Parameters that were not sent to `target`; complete before the first chunk."""
    turns: list[Usage | None] = field(default_factory=list)
    """Of an answer of several turns: what each that has ended used, with its cost where that is known; None where
    the provider does not tell."""


@dataclass(frozen=True, slots=True)
class DispatchCall:
    """A validated request, on its way to one of its model's targets."""

    request: ChatCompletionRequest = field(repr=False)
    identity: Identity
    may_drop: bool
    """Whether parameters that a provider can't follow are left out."""
    deadline: Deadline
    journal: Journal
