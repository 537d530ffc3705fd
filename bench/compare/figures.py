"""Figures of slices: a value of each round, of which the median is told with the least and the most."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.compare.contenders import DIRECT
from bench.compare.results import Results, Slice, Times

MARK: Final = "†"
"""Stands at a figure behind which something failed."""


@dataclass(frozen=True)
class Figure:
    """What several rounds say."""

    median: float
    least: float
    most: float
    is_marked: bool
    """Whether a slice behind it has failures."""


Value = Callable[[Slice], float | None]


class Found:
    """The slices of a run, by what they are of."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._slices: dict[tuple[str, str], dict[int, Slice]] = {}
        for each in results.slices:
            self._slices.setdefault((each.measure, each.contender), {})[each.round] = each

    @property
    def contenders(self) -> list[str]:
        """Those with slices, in the order of the gateways; the provider by itself is the last one."""
        names = {each.contender for each in self.results.slices}
        gateways = list(self.results.gateways)
        known = {name: gateways.index(name.removesuffix("-rest").removesuffix("-grpc")) for name in names - {DIRECT}}
        ordered = sorted(known, key=lambda name: (known[name], not name.endswith("-rest"), name))
        return [*ordered, *([DIRECT] if DIRECT in names else [])]

    def slices(self, measure: str, contender: str) -> Mapping[int, Slice]:
        """By round."""
        return self._slices.get((measure, contender), {})

    def has_failed(self, measure: str, contender: str) -> bool:
        """Whether something has, in any round."""
        return any(each.failed or each.problems for each in self.slices(measure, contender).values())

    def figure(self, measure: str, contender: str, value: Value) -> Figure | None:
        """Of one contender."""
        return self._compared(((measure, contender),), value, lambda values: values[0])

    def ratio(self, above: tuple[str, str], below: tuple[str, str], value: Value) -> Figure | None:
        """Of two measures and contenders, round by round: what the machine did then, it did to both."""
        return self._compared((above, below), value, lambda values: values[0] / values[1] if values[1] else None)

    def added(self, measure: str, contender: str, value: Value) -> Figure | None:
        """To what the provider takes by itself, round by round."""
        return self._compared(((measure, contender), (measure, DIRECT)), value, lambda values: values[0] - values[1])

    def _compared(
        self,
        sources: Sequence[tuple[str, str]],
        value: Value,
        combine: Callable[[Sequence[float]], float | None],
    ) -> Figure | None:
        by_round = [self.slices(*source) for source in sources]
        found, is_marked = [], False
        for number in sorted(set(by_round[0]).intersection(*by_round)):
            slices = [rounds[number] for rounds in by_round]
            is_marked |= any(each.failed or each.problems for each in slices)
            values = [one for one in map(value, slices) if one is not None]
            if len(values) == len(slices) and (combined := combine(values)) is not None:
                found.append(combined)
        if not found:
            return None
        return Figure(statistics.median(found), min(found), max(found), is_marked)


def per_s(found: Slice) -> float | None:
    """Requests or events; None where there were none."""
    return found.per_s or None


def cpu_us(found: Slice) -> float | None:
    """Of the gateway, all parts together, per request or event."""
    return sum(found.cpu_s.values()) / found.done * 1e6 if found.done and found.cpu_s else None


def part_cpu_us(part: str) -> Value:
    """The same of one part."""
    return lambda found: found.cpu_s[part] / found.done * 1e6 if found.done and part in found.cpu_s else None


def p50_us(found: Slice) -> float | None:
    """Of requests, or of events' delays."""
    return _quantile(found.times, "p50_us")


def p99_us(found: Slice) -> float | None:
    """The same."""
    return _quantile(found.times, "p99_us")


def first_p50_us(found: Slice) -> float | None:
    """Of the times to the first token."""
    return _quantile(found.first_token, "p50_us")


def first_p99_us(found: Slice) -> float | None:
    """The same."""
    return _quantile(found.first_token, "p99_us")


def rss_kb(part: str | None = None) -> Value:
    """Per open stream, of a part or of all; kB are 1,000 bytes."""
    return lambda found: _held(found, part, "rss_bytes")


def pss_kb(part: str | None = None) -> Value:
    """The same, where pages that processes share count once."""
    return lambda found: _held(found, part, "pss_bytes")


def cores(used_s: Callable[[Slice], float]) -> Value:
    """How many cores were busy with it, on average."""
    return lambda found: used_s(found) / found.wall_s if found.wall_s else None


def others_s(found: Slice) -> float:
    """What the machine did besides."""
    known = sum(found.cpu_s.values()) + found.load_cpu_s + found.provider_cpu_s
    return max(found.machine_s - known, 0.0)


def _quantile(times: Times | None, name: str) -> float | None:
    if times is None:
        return None
    value: float = getattr(times, name)
    return value


def _held(found: Slice, part: str | None, name: str) -> float | None:
    parts = [each for each in found.memory_open if part in {None, each}]
    if not parts or not found.opened:
        return None
    grown = sum(getattr(found.memory_open[each], name) - getattr(found.memory_before[each], name) for each in parts)
    return float(grown) / found.opened / 1000
