"""Draws the results: `picture.py RESULTS.json FOLDER`, in an environment that has matplotlib and nothing of this project.

It writes the names of what it has drawn, one in a line.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl  # type: ignore[import-not-found]  # only where this runs
from matplotlib.figure import Figure  # type: ignore[import-not-found]  # as above

_OWN: Final = "#1f5fa8"
_OTHER: Final = "#a9b4c0"
_INK: Final = "#3a3f45"
_LABELS: Final = {
    "parley-rest": "Parley, REST",
    "parley-grpc": "Parley, gRPC",
    "litellm": "LiteLLM (Python)",
    "portkey": "Portkey (Node.js)",
    "ferrogw": "ferrogw (Go)",
    "smg": "smg (Rust)",
    "envoy": "Envoy alone, no translation",
    "bare-rest": "Parley's parts alone, REST",
    "bare-grpc": "Parley's parts alone, gRPC",
}
Slice = dict[str, Any]
Value = Callable[[Slice], float | None]
Bars = dict[str, tuple[float, float, float]]
"""Median, least and most of each contender."""


def main() -> None:
    """Draw what there are numbers for."""
    results = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    folder = Path(sys.argv[2])
    # The same numbers make the same file.
    mpl.rcParams.update({"svg.hashsalt": "parley", "font.family": "sans-serif", "text.color": _INK})
    few, many = results["few"], results["many"]
    panels: dict[str, list[tuple[str, Bars, str]]] = {
        "unary-requests": [
            ("Requests/s, 32 in flight — more is better", _bars(results, "unary-32", _per_s), "{:,.0f}"),
            ("Added latency at 50/s, p50 in ms — less is better", _added(results, "steady"), "{:.2f}"),
        ],
        "stream-events": [
            (
                f"CPU per event, {streams:,} streams, in µs — less is better",
                _bars(results, f"paced-{streams}", _cpu_us),
                "{:.0f}",
            )
            for streams in (few, many)
        ],
    }
    for name, drawn in panels.items():
        if all(bars for _, bars, _ in drawn):
            _draw(drawn, folder / f"{name}.svg", results)
            sys.stdout.write(f"{name}.svg\n")


def _draw(panels: list[tuple[str, Bars, str]], path: Path, results: dict[str, Any]) -> None:
    rows = max(len(bars) for _, bars, _ in panels)
    figure = Figure(figsize=(11, 0.9 + 0.42 * rows), layout="constrained")
    for axes, (title, bars, form) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        names = [name for name in reversed(_LABELS) if name in bars]
        medians = [bars[name][0] for name in names]
        spread = [
            [max(0.0, bars[each][0] - bars[each][1]) for each in names],
            [bars[each][2] - bars[each][0] for each in names],
        ]
        colours = [_OWN if name.startswith("parley") else _OTHER for name in names]
        axes.barh(
            [_LABELS[name] for name in names], medians, xerr=spread, color=colours, ecolor=_INK, error_kw={"lw": 0.8}
        )
        for at, name in enumerate(names):
            # Behind the line of the spread.
            axes.annotate(
                form.format(bars[name][0]),
                (max(bars[name][2], 0), at),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=9,
            )
        axes.set_title(title, size=10, loc="left")
        axes.margins(x=0.18)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(bottom=False, labelbottom=False, left=False, labelsize=9)
    machine = results["machine"]
    told = f"{results['began'][:10]}, {machine['cores']} cores of {machine['processor']}; median of {results['rounds']} rounds, lines from least to most"
    figure.supxlabel(told, size=8)
    figure.savefig(path, metadata={"Date": None})


def _bars(results: dict[str, Any], measure: str, value: Value) -> Bars:
    found: dict[str, list[float]] = {}
    for each in results["slices"]:
        if each["measure"] == measure and (one := value(each)) is not None:
            found.setdefault(each["contender"], []).append(one)
    return {
        name: (statistics.median(values), min(values), max(values)) for name, values in found.items() if name in _LABELS
    }


def _added(results: dict[str, Any], measure: str) -> Bars:
    """To the provider's own time, round by round."""
    own = {
        each["round"]: _p50_ms(each)
        for each in results["slices"]
        if (each["measure"], each["contender"]) == (measure, "direct")
    }

    def added(each: Slice) -> float | None:
        taken, alone = _p50_ms(each), own.get(each["round"])
        return None if taken is None or alone is None else taken - alone

    return _bars(results, measure, added)


def _per_s(each: Slice) -> float | None:
    return each["per_s"] or None


def _p50_ms(each: Slice) -> float | None:
    return each["times"]["p50_us"] / 1000 if each.get("times") else None


def _cpu_us(each: Slice) -> float | None:
    return sum(each["cpu_s"].values()) / each["done"] * 1e6 if each["done"] and each.get("cpu_s") else None


if __name__ == "__main__":
    main()
