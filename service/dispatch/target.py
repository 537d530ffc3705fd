"""A target of a model, with what is known of how it does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Literal

from service.dispatch.breaker import CircuitBreaker
from service.dispatch.latency import LatencyWindow
from service.dispatch.slots import Slots
from service.dispatch.timeouts import AttemptTimeouts
from service.limits import Limits
from service.providers.provider import Provider
from service.routing import Target


@dataclass(frozen=True, slots=True)
class TargetSnapshot:
    """How a target does, at one moment."""

    target: Target
    state: Literal["available", "probing", "unavailable", "rate_limited"]
    """"probing": it failed, and one call at a time finds out whether it works again. "unavailable": it is not
    asked. "rate_limited": it is asked only where no other can be."""
    in_flight: int
    waiting: int


@dataclass(eq=False, kw_only=True)
class TargetState:
    """What one model's calls share of one of its targets. Two are equal only where they are the same."""

    target: Target
    provider: Provider = field(repr=False)
    """Answers for it."""
    limits: InitVar[Limits]
    """The model's."""
    timeouts: AttemptTimeouts
    is_ready: Callable[[], bool] = field(default=lambda: True, repr=False)
    """Whether the provider can be asked at all; false while an embedded model starts."""
    on_change: InitVar[Callable[[], None]] = lambda: None
    """Called when the circuit opens, closes or lets a probe through."""
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    """Seconds, never running backwards."""
    breaker: CircuitBreaker = field(init=False, repr=False)
    slots: Slots = field(init=False, repr=False)
    first_token: LatencyWindow = field(init=False, repr=False)
    """Of streams, until the first token."""
    whole: LatencyWindow = field(init=False, repr=False)
    """Of unary calls, until the answer."""
    cooling_until: float = field(default=-math.inf, init=False)
    """Until when, by the clock, other targets are preferred: the provider asked to come later."""

    def __post_init__(self, limits: Limits, on_change: Callable[[], None]) -> None:
        self.breaker = CircuitBreaker(limits.breaker, self.clock, on_change)
        self.slots = Slots(limits.concurrency, self.clock)
        self.first_token = LatencyWindow(clock=self.clock)
        self.whole = LatencyWindow(clock=self.clock)

    def latency(self, *, stream: bool) -> LatencyWindow:
        """How long calls of that kind take to bring a first token: a whole answer is one."""
        return self.first_token if stream else self.whole

    def cool_down(self, seconds: float) -> None:
        """Prefer other targets for that long, or for as long as was said before."""
        self.cooling_until = max(self.cooling_until, self.clock() + seconds)

    @property
    def is_cooling(self) -> bool:
        """Whether other targets are preferred."""
        return self.clock() < self.cooling_until

    @property
    def is_available(self) -> bool:
        """Whether it can be asked: its provider is ready, and no open circuit keeps calls from it."""
        return self.is_ready() and self.breaker.is_available

    @property
    def is_promising(self) -> bool:
        """Whether it can be asked at once and nothing speaks against it: no other call is a probe, it wants no time."""
        return self.is_ready() and not self.is_cooling and not self.slots.is_full and self.breaker.retry_in_s <= 0

    def snapshot(self) -> TargetSnapshot:
        """How it does now."""
        return TargetSnapshot(self.target, self._state(), self.slots.in_use, self.slots.waiting)

    def _state(self) -> Literal["available", "probing", "unavailable", "rate_limited"]:
        if not self.is_available:
            return "unavailable"
        if self.breaker.state != "closed":
            return "probing"
        return "rate_limited" if self.is_cooling else "available"
