"""How long one attempt at a target may take. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.limits import Limits
from service.providers.transport import Timeouts

_MARGIN_S: Final = 1.0
"""How much later the transport of a stream gives up than the dispatcher, which can tell a first token from
a sign of life, and says what was waited for."""


@dataclass(frozen=True, slots=True)
class AttemptTimeouts:
    """The timeouts of one target, in seconds, each above 0."""

    unary: Timeouts
    """The transport's, for an answer in one piece."""
    stream: Timeouts
    """The transport's, for a stream; beyond what follows, so that it does not end first."""
    first_token_s: float
    """Of a stream: from the attempt's beginning to its first token."""
    idle_s: float
    """Of a stream: between two chunks."""
    total_s: float
    """From the attempt's beginning to the answer's end."""


def attempt_timeouts(limits: Limits, provider: Timeouts) -> AttemptTimeouts:
    """The model's limits, and where they say nothing the provider's timeouts."""
    connect_s = limits.connect_timeout_s or provider.connect_s
    first_token_s = limits.first_token_timeout_s or provider.read_s
    idle_s = limits.idle_timeout_s or provider.read_s
    return AttemptTimeouts(
        unary=Timeouts(connect_s=connect_s, read_s=provider.read_s),
        stream=Timeouts(connect_s=connect_s, read_s=max(first_token_s, idle_s) + _MARGIN_S),
        first_token_s=first_token_s,
        idle_s=idle_s,
        total_s=limits.total_timeout_s,
    )
