"""What Parley is to reach, as ratios within one run, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.compare.contenders import BARE_GRPC, BARE_REST, PARLEY_GRPC, PARLEY_REST, SERVICE
from bench.compare.figures import Figure, Found, Value, cpu_us, first_p50_us, per_s, rss_kb
from bench.compare.measures import unary_name
from bench.compare.results import Slice

_LITELLM: Final = "litellm"
_PORTKEY: Final = "portkey"
_FERROGW: Final = "ferrogw"
COMPILED: Final = (_FERROGW, "smg")
_ENVOY: Final = "envoy"
_UNARY: Final = unary_name(32)
_Source = tuple[str, str]
"""Measure and contender."""


@dataclass(frozen=True)
class Goal:
    """A row of the table."""

    name: str
    wanted: str
    figure: Figure | None
    """None: not measured in this run."""
    verdict: str


@dataclass(frozen=True)
class _Bound:
    wanted: float
    floor: float | None = None
    is_least: bool = True
    """Whether more is better."""
    unit: str = ""

    def told(self) -> str:
        sign = "≥" if self.is_least else "≤"
        floor = "" if self.floor is None else f"; floor {self.floor:g}"
        return f"{sign} {self.wanted:g}{self.unit}{floor}"

    def verdict(self, value: float) -> str:
        if self._holds(value, self.wanted):
            return "met"
        if self.floor is not None and self._holds(value, self.floor):
            return "floor only"
        return "missed"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.is_least else value <= bound


def goals_of(found: Found) -> list[Goal]:
    """All of them, measured or not."""
    few, many = found.results.few, found.results.many
    paced_few, paced_many = f"paced-{few}", f"paced-{many}"
    compiled = fastest(found, COMPILED)

    def unary(name: str, parley: str, peer: str | None, bound: _Bound) -> Goal:
        return _ratio(found, name, bound, ((_UNARY, parley), (_UNARY, peer or "")), per_s)

    return [
        unary("unary req/s through Envoy ÷ LiteLLM", PARLEY_REST, _LITELLM, _Bound(30)),
        unary("… ÷ Portkey", PARLEY_REST, _PORTKEY, _Bound(4.5)),
        unary(f"… ÷ the best compiled peer ({compiled or 'none'})", PARLEY_REST, compiled, _Bound(1.0, 0.75)),
        unary("… ÷ plain Envoy", PARLEY_REST, _ENVOY, _Bound(0.5)),
        unary("unary req/s over gRPC ÷ the best compiled peer", PARLEY_GRPC, compiled, _Bound(1.2, 1.0)),
        _ratio(
            found,
            "CPU per stream event (service + Envoy) ÷ ferrogw",
            _Bound(1.0, is_least=False),
            ((paced_few, PARLEY_REST), (paced_few, _FERROGW)),
            cpu_us,
        ),
        _first_token(found, paced_few, few),
        _goal(
            found,
            f"memory per open stream at {many:,} streams, service, kB",
            _Bound(60, is_least=False),
            found.figure("memory", PARLEY_REST, rss_kb(SERVICE)),
            (("memory", PARLEY_REST),),
        ),
        _ratio(
            found,
            f"CPU per event at {many:,} streams ÷ at {few:,}",
            _Bound(1.2, is_least=False),
            ((paced_many, PARLEY_REST), (paced_few, PARLEY_REST)),
            cpu_us,
        ),
        _ratio(
            found,
            "CPU per request of a conversation of 200 messages ÷ of 20",
            _Bound(10, is_least=False),
            (("conversation-200", PARLEY_REST), ("conversation-20", PARLEY_REST)),
            cpu_us,
        ),
    ]


def limits_of(found: Found) -> list[tuple[str, Figure]]:
    """What those goals come to where Parley's own work costs nothing, if that was measured."""
    compiled = fastest(found, COMPILED)
    ratios = [
        (f"over REST ÷ {peer}", found.ratio((_UNARY, BARE_REST), (_UNARY, peer), per_s))
        for peer in (_LITELLM, _PORTKEY, compiled or "", _ENVOY)
    ]
    ratios.append((f"over gRPC ÷ {compiled}", found.ratio((_UNARY, BARE_GRPC), (_UNARY, compiled or ""), per_s)))
    return [(name, figure) for name, figure in ratios if figure is not None]


def fastest(found: Found, names: Sequence[str]) -> str | None:
    """Of these, by unary requests per second; None where none was measured."""
    rates = {name: _median(found.figure(_UNARY, name, per_s)) for name in names}
    measured = {name: rate for name, rate in rates.items() if rate is not None}
    return max(measured, key=lambda name: measured[name], default=None)


def _first_token(found: Found, measure: str, streams: int) -> Goal:
    name = f"added p50 time to first token, {streams:,} streams, ms"
    bound = _Bound(1, is_least=False)
    own = found.added(measure, PARLEY_REST, _first_ms)
    goal = _goal(found, name, bound, own, ((measure, PARLEY_REST),))
    wanted = f"{bound.told()}, and below LiteLLM and Portkey"
    if own is None:
        return Goal(name, wanted, own, goal.verdict)
    others = [found.added(measure, peer, _first_ms) for peer in (_LITELLM, _PORTKEY)]
    if any(other is not None and other.median <= own.median for other in others):
        return Goal(name, wanted, own, "missed: a peer is faster")
    return Goal(name, wanted, own, goal.verdict if None not in others else f"{goal.verdict}; not all peers measured")


def _ratio(found: Found, name: str, bound: _Bound, sources: tuple[_Source, _Source], value: Value) -> Goal:
    return _goal(found, name, bound, found.ratio(*sources, value), sources)


def _goal(found: Found, name: str, bound: _Bound, figure: Figure | None, sources: Sequence[_Source]) -> Goal:
    if figure is not None:
        verdict = bound.verdict(figure.median)
    else:
        verdict = "failed" if any(found.has_failed(*source) for source in sources) else "not measured"
    return Goal(name, bound.told(), figure, verdict)


def _first_ms(found: Slice) -> float | None:
    taken_us = first_p50_us(found)
    return None if taken_us is None else taken_us / 1000


def _median(figure: Figure | None) -> float | None:
    return None if figure is None else figure.median
