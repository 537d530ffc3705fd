"""In which order a call turns to its model's targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import assert_never

from service.dispatch.target import TargetState
from service.limits import Policy

_TRY_AGAIN_AFTER_S = 30.0
"""A target that was slow is measured again so long after its last measurement,"""
_TRY_AGAIN_SHARE = 0.05
"""but by no more than this share of the calls, where there are few of them."""


def ordered(targets: Sequence[TargetState], policy: Policy, *, stream: bool, random: Random) -> list[TargetState]:
    """All targets, the first choice first.

    Those where a call would have to wait for its turn follow those that are free, then come those that ask to come
    later, and last those that can't be asked: whoever has no other choice finds them still.

    Args:
        targets: In the order of the configuration.
        policy: The model's.
        stream: Whether the call is a stream, whose first token counts for `least_latency`, else the whole answer.
        random: Decides what the policy leaves open.
    """
    if len(targets) == 1:
        return list(targets)
    by_rank: list[list[TargetState]] = [[], [], [], []]
    for target in targets:
        by_rank[_rank(target)].append(target)
    free, *others = (_by_policy(group, policy, stream=stream, random=random) for group in by_rank)
    if policy == "least_latency":
        free = _with_a_try(free, stream=stream, random=random)
    return sum(others, start=free)


def _rank(target: TargetState) -> int:
    if not target.is_available:
        return 3
    if target.is_cooling:
        return 2
    return 1 if target.slots.is_full else 0


def _by_policy(targets: list[TargetState], policy: Policy, *, stream: bool, random: Random) -> list[TargetState]:
    match policy:
        case "order":
            return targets
        case "weighted":
            # The first to arrive of processes with these rates: drawing by weight, without putting back.
            return sorted(targets, key=lambda target: _arrival(target.target.weight, random))
        case "least_busy":
            # All of a model's targets have one limit, so the count compares as the share of it does.
            return sorted(_shuffled(targets, random), key=_busyness)
        case "least_latency":
            return sorted(_shuffled(targets, random), key=lambda target: _slowness(target, stream=stream))
        case _:
            assert_never(policy)


def _arrival(weight: float, random: Random) -> float:
    return random.expovariate(weight) if weight > 0 else math.inf


def _busyness(target: TargetState) -> int:
    return target.slots.in_use + target.slots.waiting


def _slowness(target: TargetState, *, stream: bool) -> tuple[int, float]:
    """The mean; before all means a target that was never tried, behind them one that is being tried first."""
    window = target.latency(stream=stream)
    if window.mean is not None:
        return (1, window.mean)
    return (0, 0) if math.isinf(window.untried_s) else (2, _busyness(target))


def _with_a_try(targets: list[TargetState], *, stream: bool, random: Random) -> list[TargetState]:
    """At times put another target first: one that is never chosen would never be seen to have become fast.

    Only one call at a time tries a target out, however many come before its answer.
    """
    due = [target for target in targets[1:] if target.latency(stream=stream).untried_s >= _TRY_AGAIN_AFTER_S]
    if due and random.random() < _TRY_AGAIN_SHARE:
        tried = random.choice(due)
        targets = [tried, *(target for target in targets if target is not tried)]
    if targets:
        first = targets[0].latency(stream=stream)
        if first.mean is None or targets[0] in due:
            first.mark_tried()
    return targets


def _shuffled(targets: list[TargetState], random: Random) -> list[TargetState]:
    return random.sample(targets, len(targets))
