"""What callers do, and when: the same for every policy that is compared."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

SHORT_S: Final = 1.0
LONG_S: Final = 60.0
LONG_SHARE: Final = 0.15
"""So that nine of ten open calls are long, and five of six that come are short."""


@dataclass(frozen=True)
class Mix:
    """How long calls take: exponential, around one of two means."""

    long_share: float = LONG_SHARE

    @property
    def mean_s(self) -> float:
        """Of all."""
        return SHORT_S * (1 - self.long_share) + LONG_S * self.long_share


@dataclass(frozen=True)
class Scenario:
    """Gateways, replicas and traffic."""

    name: str
    told: str
    gateways: tuple[float, ...] = (1.0, 1.0, 1.0)
    """How the calls are spread over them, as a proportion."""
    replicas: int = 4
    open_per_replica: float = 10.0
    """On average, by which the rate of arrivals is set."""
    mix: Mix = Mix()
    slowness: tuple[float, ...] = ()
    """How many times longer calls take at the first replicas; at the others they take their time."""
    joins_at_s: float | None = None
    """When the last replica becomes healthy; None: it is from the beginning."""
    is_failing: bool = False
    """Whether all calls fail at once at the first replica after the warm-up, while its health check passes."""
    slots: int | None = None
    """Calls that a replica serves at a time; others wait there."""
    speed: float = 10.0
    warm_up_s: float = 80.0
    duration_s: float = 180.0
    """After the warm-up."""

    @property
    def calls_per_s(self) -> float:
        """That come."""
        return self.replicas * self.open_per_replica / self.mix.mean_s

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.warm_up_s + self.duration_s


@dataclass(frozen=True)
class Call:
    """One of them."""

    at_s: float
    gateway: int
    """Its index."""
    lifetime_s: float
    is_stream: bool
    events_per_s: float
    """What it costs its replica."""


def arrivals(scenario: Scenario, seed: int) -> list[Call]:
    """A Poisson process; long calls are streams, and so are half of the short ones."""
    chance = random.Random(seed)  # noqa: S311  # no secret; it has to be the same again
    calls: list[Call] = []
    at_s = chance.expovariate(scenario.calls_per_s)
    while at_s < scenario.end_s:
        is_long = chance.random() < scenario.mix.long_share
        calls.append(
            Call(
                at_s,
                chance.choices(range(len(scenario.gateways)), scenario.gateways)[0],
                chance.expovariate(1 / (LONG_S if is_long else SHORT_S)),
                is_long or chance.random() < 1 / 2,
                # Tokens per second of slow and fast models: a median of 50, one in twenty over 160.
                chance.lognormvariate(3.9, 0.7),
            )
        )
        at_s += chance.expovariate(scenario.calls_per_s)
    return calls


SCENARIOS: Final = (
    Scenario("one", "one gateway, four replicas", gateways=(1.0,)),
    Scenario("three", "three gateways, four replicas"),
    Scenario("six", "three gateways with 60, 30 and 10 % of the calls, six replicas", (6.0, 3.0, 1.0), replicas=6),
    Scenario("joining", "three gateways, four replicas, of which one joins late", joins_at_s=100.0),
    Scenario("slow", "three gateways, four replicas, at one of which calls take twice as long", slowness=(2.0,)),
    Scenario(
        "failing",
        "three gateways, four replicas, of which one fails every call at once and tells that it is healthy",
        is_failing=True,
        duration_s=60.0,
    ),
    Scenario("full", "three gateways, four replicas that serve 13 calls at a time", slots=13),
    # So few that a gateway has not even one at every replica, and so many that chance evens out more.
    Scenario("few", "three gateways, four replicas, a third of the calls", open_per_replica=3.0),
    Scenario(
        "many",
        "three gateways, four replicas, three times as many calls",
        open_per_replica=30.0,
        speed=4.0,
        warm_up_s=60.0,
        duration_s=120.0,
    ),
    # Many arrivals in the time that a report takes to become a weight.
    Scenario(
        "short",
        "three gateways, four replicas, short calls only",
        open_per_replica=5.0,
        mix=Mix(long_share=0.0),
        speed=2.0,
        warm_up_s=20.0,
        duration_s=40.0,
    ),
)
