"""What is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.compare.bodies import Messages, conversation, question

GROUPS: Final = ("unary", "steady", "bodies", "conversations", "paced", "saturated", "memory")
_MB: Final = 1_000_000
_ENVELOPE: Final = 100
"""Bytes of a request beside the text, about; so that a body has the length that its name says."""
STEADY_PER_S: Final = 50.0
"""So few that LiteLLM holds it."""
FEW_GAP_MS: Final = 33
"""Between events where few streams run: 30 events per second, as a fast model writes."""
MANY_GAP_MS: Final = 500
"""Where many do, so that as many events come altogether; the difference is that of the streams."""


@dataclass(frozen=True)
class Unary:
    """Requests as fast as they are answered, so many at a time."""

    name: str
    group: str
    in_flight: int
    messages: Callable[[], Messages]


@dataclass(frozen=True)
class Steady:
    """Requests at a fixed rate, which the others' answers don't hold up."""

    name: str = "steady"
    group: str = "steady"
    per_s: float = STEADY_PER_S
    messages: Callable[[], Messages] = field(default=lambda: question(1000 - _ENVELOPE))


@dataclass(frozen=True)
class Streams:
    """So many at once; with a pause between events, or as fast as they are read."""

    name: str
    group: str
    streams: int
    gap_ms: int
    """0: none."""


Measure = Unary | Steady | Streams


def unary_measures() -> tuple[Unary | Steady, ...]:
    """Those for which the provider answers in one piece."""

    def short() -> Messages:
        return question(1000 - _ENVELOPE)

    return (
        # First the middle one: by its rate the others' lengths are guessed.
        *(Unary(unary_name(in_flight), "unary", in_flight, short) for in_flight in (32, 1, 256)),
        Steady(),
        # As many at a time as bring both cores to work; more would only fill the memory.
        Unary("body-100kB", "bodies", 8, lambda: question(_MB // 10 - _ENVELOPE)),
        Unary("body-5MB", "bodies", 2, lambda: question(5 * _MB - _ENVELOPE)),
        Unary("conversation-20", "conversations", 32, lambda: conversation(20)),
        Unary("conversation-200", "conversations", 32, lambda: conversation(200)),
    )


def stream_measures(few: int, many: int) -> tuple[Streams, ...]:
    """Those for which it streams."""
    return (
        Streams(f"paced-{few}", "paced", few, FEW_GAP_MS),
        Streams(f"paced-{many}", "paced", many, MANY_GAP_MS),
        Streams(f"saturated-{few}", "saturated", few, 0),
        Streams(f"saturated-{many}", "saturated", many, 0),
    )


def unary_name(in_flight: int) -> str:
    """Of the measure of throughput."""
    return f"unary-{in_flight}"


def chosen(names: Sequence[str], group: str) -> bool:
    """Whether it is asked for; no names are all."""
    return not names or group in names
