"""What was measured, as it is written to bench/results: every slice with its raw numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Times(msgspec.Struct, frozen=True):
    """Of many, in microseconds."""

    count: int
    p50_us: float
    p99_us: float


class Memory(msgspec.Struct, frozen=True):
    """Of a part's processes; pages that several hold count for each in `rss`, and once altogether in `pss`."""

    rss_bytes: int
    pss_bytes: int


class Slice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A few seconds of one load on one contender."""

    measure: str
    contender: str
    round: int
    done: int
    """Requests, or events of streams, within `wall_s`; what has failed is not among the requests."""
    per_s: float
    wall_s: float
    failed: int = 0
    """Requests, among them streams."""
    problems: dict[str, int] = {}
    """What became of them; and what else makes the slice doubtful, of which 1 is counted."""
    times: Times | None = None
    """Of a request until its answer's end; of an event from the provider to the client."""
    first_token: Times | None = None
    """Of a stream, until its first event was read."""
    opened: int = 0
    """Streams."""
    opening_s: float = 0.0
    cpu_s: dict[str, float] = {}
    """Processor time of each part of the gateway."""
    load_cpu_s: float = 0.0
    """Of the client or of h2load."""
    provider_cpu_s: float = 0.0
    machine_s: float = 0.0
    """Of all that ran on the machine; what neither gateway nor load nor provider took, others did."""
    memory_before: dict[str, Memory] = {}
    memory_open: dict[str, Memory] = {}
    """By part, with the streams open."""


class GatewayTold(msgspec.Struct, frozen=True, kw_only=True):
    """One that took part."""

    version: str
    settings: str
    started_s: list[float] = []
    """How long each start took till the first answer."""
    failure: str = ""
    """Why it did not take part, where it didn't."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What all ran on."""

    cores: int
    processor: str
    kernel: str
    memory_gib: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run."""

    began: str
    """Date and time, UTC."""
    took_s: float
    machine: Machine
    rounds: int
    slice_s: float
    few: int
    many: int
    """Streams at once: the two numbers that are compared."""
    gateways: dict[str, GatewayTold]
    slices: list[Slice]


def times_of(values_us: Sequence[float]) -> Times | None:
    """None where there are none."""
    if not values_us:
        return None
    ordered = sorted(values_us)
    return Times(len(ordered), _quantile(ordered, 0.5), _quantile(ordered, 0.99))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: a value that was there."""
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]
