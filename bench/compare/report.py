"""The report: tables in Markdown, of medians with the least and the most of all rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bench.compare.contenders import DIRECT, PARLEY_REST
from bench.compare.figures import (
    MARK,
    Figure,
    Found,
    cores,
    cpu_us,
    first_p50_us,
    first_p99_us,
    others_s,
    p50_us,
    p99_us,
    part_cpu_us,
    per_s,
    pss_kb,
    rss_kb,
)
from bench.compare.goals import goals_of, limits_of
from bench.compare.measures import FEW_GAP_MS, MANY_GAP_MS, STEADY_PER_S, unary_name
from bench.compare.results import Results, Slice

Cell = Callable[[str], str]
"""Of a contender."""
_NOTHING: Final = "-"
_FAILED: Final = "failed"
_OTHERS_CORES: Final = 0.25
"""From so much on, of a slice's time, its figures are told to be doubtful. Idle gateways and the system take a tenth."""
_UNARY: Final = (unary_name(1), unary_name(32), unary_name(256))


def report(results: Results, pictures: Sequence[str]) -> str:
    """All of it; `pictures` are file names beside it."""
    found = Found(results)
    parts = [
        _head(results),
        _goals(found),
        *(f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})" for name in pictures),
        _unary(found),
        _steady(found),
        _bodies(found),
        _streams(found),
        _saturated(found),
        _memory(found),
        _gateways(results),
        _cores(found),
        _failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def told(figure: Figure | None, digits: int = 0, scale: float = 1.0) -> str:
    """A cell of a table: the median, and the spread where there is one."""
    if figure is None:
        return _NOTHING
    median, least, most = (f"{value * scale:,.{digits}f}" for value in (figure.median, figure.least, figure.most))
    spread = f" ({least} … {most})" if least != most else ""
    return f"{median}{spread}{MARK if figure.is_marked else ''}"


def _head(results: Results) -> str:
    machine = results.machine
    return (
        f"# Parley beside other gateways\n\n"
        f"{results.began}, {machine.cores} cores of {machine.processor}, {machine.memory_gib:g} GiB, "
        f"Linux {machine.kernel}. Load, provider and gateway share these cores. Each figure is the median of "
        f"{results.rounds} rounds with the least and the most of them; in each round all took turns of "
        f"{results.slice_s:g} s. {MARK}: something failed, see the end. `make bench` made this in "
        f"{results.took_s / 60:.0f} minutes.{_doubts(results)}"
    )


def _doubts(results: Results) -> str:
    """Where something else has used the machine, too."""
    disturbed = sum(1 for each in results.slices if each.wall_s and others_s(each) > _OTHERS_CORES * each.wall_s)
    if not disturbed:
        return ""
    return (
        f"\n\n**In {disturbed:,} of {len(results.slices):,} slices something else took more than {_OTHERS_CORES:g} "
        "cores (see the end): these figures are doubtful.**"
    )


def _goals(found: Found) -> str:
    rows = [[goal.name, goal.wanted, told(goal.figure, 2), goal.verdict] for goal in goals_of(found)]
    limits = [f"{name} {told(figure, 2)}" for name, figure in limits_of(found)]
    told_limits = (
        f"\n\nWith Parley's parts alone, and no work of its own (bare): {', '.join(limits)}." if limits else ""
    )
    return "## Goals\n\n" + _table(["", "goal", "measured", ""], rows) + told_limits


def _unary(found: Found) -> str:
    columns: dict[str, Cell] = {
        f"req/s, {name.removeprefix('unary-')} in flight": _cell(found, name, per_s) for name in _UNARY
    }
    columns["p50 at 32, ms"] = _cell(found, _UNARY[1], p50_us, 2, 1e-3)
    columns["p99 at 32, ms"] = _cell(found, _UNARY[1], p99_us, 2, 1e-3)
    columns["CPU per request, µs"] = _cell(found, _UNARY[1], cpu_us)
    return _section(found, "Unary requests", "A body of 1 kB, an answer of 0.6 kB. CPU is at 32 in flight.", columns)


def _steady(found: Found) -> str:
    columns: dict[str, Cell] = {
        "added p50, ms": _added(found, "steady", p50_us),
        "added p99, ms": _added(found, "steady", p99_us),
    }
    text = f"At {STEADY_PER_S:g} requests per second: what comes to the provider's own time."
    return _section(found, "Added latency", text, columns, without=DIRECT)


def _bodies(found: Found) -> str:
    columns: dict[str, Cell] = {}
    for name, title in (
        ("body-100kB", "100 kB"),
        ("body-5MB", "5 MB"),
        ("conversation-20", "20 messages"),
        ("conversation-200", "200 messages"),
    ):
        columns[f"{title}, req/s"] = _cell(found, name, per_s, 1)
        columns[f"{title}, CPU µs"] = _cell(found, name, cpu_us)
    text = "8 requests in flight with 100 kB, 2 with 5 MB, 32 with conversations (200 bytes each message)."
    return _section(found, "Longer requests", text, columns)


def _streams(found: Found) -> str:
    few, many = found.results.few, found.results.many
    parts = []
    for streams, gap_ms in ((few, FEW_GAP_MS), (many, MANY_GAP_MS)):
        name = f"paced-{streams}"
        columns: dict[str, Cell] = {
            "CPU per event, µs": _cell(found, name, cpu_us, 1),
            "added time to first token, p50 ms": _added(found, name, first_p50_us),
            "p99 ms": _added(found, name, first_p99_us),
            "added delay of an event, p50 ms": _added(found, name, p50_us),
            "p99, ms": _added(found, name, p99_us),
            "events/s": _cell(found, name, per_s),
        }
        text = f"An event every {gap_ms} ms in each: {streams * 1000 / gap_ms:,.0f} events/s are sent."
        parts.append(_section(found, f"{streams:,} streams", text, columns))
    shares = _parts(found, f"paced-{few}")
    return "\n\n".join(part for part in (*parts, shares) if part)


def _parts(found: Found, measure: str) -> str:
    """What each part of Parley takes of an event and of a request."""
    rows = []
    for title, name in (("event of a stream", measure), ("unary request", _UNARY[1])):
        slices = found.slices(name, PARLEY_REST)
        parts = sorted({part for each in slices.values() for part in each.cpu_s})
        if parts:
            shares = (f"{part} {told(found.figure(name, PARLEY_REST, part_cpu_us(part)), 1)}" for part in parts)
            rows.append(f"- {title}: {', '.join(shares)}")
    return "Parley's CPU by part, in µs, over REST:\n\n" + "\n".join(rows) if rows else ""


def _saturated(found: Found) -> str:
    few, many = found.results.few, found.results.many
    columns: dict[str, Cell] = {
        f"events/s, {streams:,} streams": _cell(found, f"saturated-{streams}", per_s) for streams in (few, many)
    }
    columns |= {
        f"CPU per event, {streams:,} streams, µs": _cell(found, f"saturated-{streams}", cpu_us, 1)
        for streams in (few, many)
    }
    text = "As fast as they are read; gateways that join events behind a slow reader are counted by the events sent."
    return _section(found, "Streams without a pause", text, columns)


def _memory(found: Found) -> str:
    many = found.results.many
    columns: dict[str, Cell] = {
        "RSS, kB": _cell(found, "memory", rss_kb(), 1),
        "PSS, kB": _cell(found, "memory", pss_kb(), 1),
        "by part, RSS": lambda contender: _memory_by_part(found, contender),
    }
    text = f"What {many:,} open streams add to a gateway that was just started, divided by {many:,}."
    return _section(found, "Memory per open stream", text, columns)


def _memory_by_part(found: Found, contender: str) -> str:
    parts = sorted({part for each in found.slices("memory", contender).values() for part in each.memory_open})
    return ", ".join(f"{part} {told(found.figure('memory', contender, rss_kb(part)), 1)}" for part in parts) or _NOTHING


def _gateways(results: Results) -> str:
    rows = []
    for name, gateway in results.gateways.items():
        starts = sorted(gateway.started_s)
        start = f"{starts[len(starts) // 2]:.1f} ({starts[0]:.1f} … {starts[-1]:.1f})" if starts else _NOTHING
        rows.append([name, gateway.version, start, gateway.failure or gateway.settings])
    return "## Gateways\n\n" + _table(["", "version", "start to first answer, s", "settings"], rows)


def _cores(found: Found) -> str:
    """Whether load or provider were what all waited for."""
    measures = list(dict.fromkeys(each.measure for each in found.results.slices))
    rows = []
    for measure in measures:
        for contender in found.contenders:
            if found.slices(measure, contender):
                used = (
                    cores(lambda each: sum(each.cpu_s.values())),
                    cores(lambda each: each.load_cpu_s),
                    cores(lambda each: each.provider_cpu_s),
                    cores(others_s),
                )
                rows.append([measure, contender, *(told(found.figure(measure, contender, each), 2) for each in used)])
    if not rows:
        return ""
    text = "How many were busy with what, on average. Others: the system itself, idle gateways, and strangers."
    return f"## Cores\n\n{text}\n\n" + _table(["", "", "gateway", "load", "provider", "others"], rows)


def _failures(results: Results) -> str:
    rows = [_failure(each) for each in results.slices if each.failed or each.problems]
    return "## Failures\n\n" + ("\n".join(rows) if rows else "None: every request was answered as it should be.")


def _failure(found: Slice) -> str:
    problems = "; ".join(f"{problem} ({count:,})" for problem, count in found.problems.items())
    return f"- {found.measure}, {found.contender}, round {found.round + 1}: {found.failed:,} failed: {problems}"


def _section(found: Found, title: str, text: str, columns: dict[str, Cell], without: str = "") -> str:
    """Nothing where there is nothing to show."""
    rows = []
    for contender in found.contenders:
        cells = [cell(contender) for cell in columns.values()]
        if contender != without and any(cell != _NOTHING for cell in cells):
            rows.append([contender, *cells])
    return f"## {title}\n\n{text}\n\n{_table(['', *columns], rows)}" if rows else ""


def _cell(
    found: Found, measure: str, value: Callable[[Slice], float | None], digits: int = 0, scale: float = 1
) -> Cell:
    def cell(contender: str) -> str:
        figure = found.figure(measure, contender, value)
        return _FAILED if figure is None and found.has_failed(measure, contender) else told(figure, digits, scale)

    return cell


def _added(found: Found, measure: str, value: Callable[[Slice], float | None]) -> Cell:
    return lambda contender: _NOTHING if contender == DIRECT else told(found.added(measure, contender, value), 2, 1e-3)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---" if not at else "---:" for at in range(len(titles))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
