"""Campaigns: which arm a user is on. Pure.

Assignment is weighted rendezvous hashing: every arm draws a number from its name and the user's, and the
highest of `-weight / ln(number)` wins. So replicas agree without shared state, an arm's share is its weight's,
and an arm that is added takes users over, from all others alike, while nobody else changes place.

Source: Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), its logarithmic method:
https://dl.acm.org/doi/10.1145/1073970.1074008 (2026-11-22).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final, Generic, TypeVar

P = TypeVar("P")
"""A system prompt, of which only those know more who render it."""

_BITS: Final = 52
"""Of the hash that are used: as many as a double holds exactly with a half added, so that no number is 0 or 1."""
_PURPOSE: Final = b"parley-campaign"
"""Sets these hashes apart from any others of the same names."""


@dataclass(frozen=True)  # slots, frozen and generic at once don't go together in Python 3.11
class Arm(Generic[P]):
    """An arm of a campaign."""

    name: str
    model: str
    """One of the project's, by its name there."""
    weight: float = 1.0
    """Above 0; its part of the users."""
    prompt: P | None = None
    """In place of the project's."""


@dataclass(frozen=True)
class Campaign(Generic[P]):
    """Compares models or system prompts.

    Its own name and its project's are part of the hash: who is on the first arm of one is no likelier to be on the
    first arm of another.
    """

    project: str
    key: str
    arms: Mapping[str, Arm[P]]
    """By name; at least one."""
    id: str | None = None
    """A UUID by which it may be named as well, in lower case."""
    start: datetime | None = None
    """Included; None: since ever."""
    end: datetime | None = None
    """Excluded; None: for ever."""

    def is_running(self, now: datetime) -> bool:
        """Whether users are assigned at `now`, which needs a time zone."""
        return (self.start is None or self.start <= now) and (self.end is None or now < self.end)

    def arm_for(self, unit: str) -> Arm[P]:
        """The arm of a user, or of whatever else `unit` names: always the same one."""
        return max(self.arms.values(), key=lambda arm: (self._score(arm, unit), arm.name))

    def _score(self, arm: Arm[P], unit: str) -> float:
        named = f"{self.project}\0{self.key}\0{arm.name}\0{unit}".encode()  # no name but the last can hold a NUL
        drawn = int.from_bytes(blake2b(named, digest_size=8, person=_PURPOSE).digest(), "big") >> (64 - _BITS)
        return -arm.weight / math.log((drawn + 0.5) / 2**_BITS)
