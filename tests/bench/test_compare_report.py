from __future__ import annotations

import msgspec
import pytest

from bench.compare.figures import Figure, Found, cpu_us, others_s, p50_us, per_s, rss_kb
from bench.compare.goals import fastest, goals_of, limits_of
from bench.compare.report import report, told
from bench.compare.results import GatewayTold, Machine, Memory, Results, Slice, Times

_RATES = {
    "parley-rest": 4000.0,
    "parley-grpc": 6000.0,
    "litellm": 100.0,
    "portkey": 1000.0,
    "ferrogw": 4000.0,
    "smg": 5000.0,
    "envoy": 12_000.0,
    "direct": 20_000.0,
}
_FIRST_MS = {"parley-rest": 1.4, "litellm": 9.0, "portkey": 3.0, "ferrogw": 1.2, "direct": 0.5}


def test_every_goal_is_computed_from_the_slices() -> None:
    goals = {
        goal.name: (goal.figure.median if goal.figure else None, goal.verdict) for goal in goals_of(Found(_results()))
    }
    assert goals == {
        "unary req/s through Envoy ÷ LiteLLM": (40, "met"),
        "… ÷ Portkey": (4, "missed"),
        "… ÷ the best compiled peer (smg)": (0.8, "floor only"),
        "… ÷ plain Envoy": (pytest.approx(1 / 3), "missed"),
        "unary req/s over gRPC ÷ the best compiled peer": (1.2, "met"),
        "CPU per stream event (service + Envoy) ÷ ferrogw": (pytest.approx(1.5), "missed"),
        "added p50 time to first token, 64 streams, ms": (pytest.approx(0.9), "met"),
        "memory per open stream at 1,000 streams, service, kB": (50, "met"),
        "CPU per event at 1,000 streams ÷ at 64": (pytest.approx(1.0), "met"),
        "CPU per request of a conversation of 200 messages ÷ of 20": (pytest.approx(1.0), "met"),
    }


def test_the_limits_are_what_the_parts_alone_reach() -> None:
    results = _results()
    assert limits_of(Found(results)) == []
    assert "Parley's parts alone" not in report(results, [])
    bare = [_slice("unary-32", name, per_s=rate) for name, rate in (("bare-rest", 6000.0), ("bare-grpc", 10_000.0))]
    gateways = {**results.gateways, "bare": results.gateways["envoy"]}
    results = msgspec.structs.replace(results, slices=[*results.slices, *bare], gateways=gateways)
    limits = {name: figure.median for name, figure in limits_of(Found(results))}
    assert limits == {
        "over REST ÷ litellm": 60,
        "over REST ÷ portkey": 6,
        "over REST ÷ smg": 1.2,
        "over REST ÷ envoy": 0.5,
        "over gRPC ÷ smg": 2,
    }
    assert "no work of its own (bare): over REST ÷ litellm 60.00" in report(results, [])


def test_a_goal_without_measurements_says_so() -> None:
    results = msgspec.structs.replace(_results(), slices=[])
    assert {goal.verdict for goal in goals_of(Found(results))} == {"not measured"}


def test_a_goal_whose_measurement_failed_says_so() -> None:
    failed = [_slice("unary-32", name, done=0, per_s=0, failed=5) for name in ("parley-rest", "litellm")]
    goals = goals_of(Found(msgspec.structs.replace(_results(), slices=failed)))
    assert goals[0].verdict == "failed"


def test_the_first_token_must_come_sooner_than_from_the_slow_peers() -> None:
    slices = [
        msgspec.structs.replace(each, first_token=Times(80, 1000, 1000))
        if (each.measure, each.contender) == ("paced-64", "portkey")
        else each
        for each in _results().slices
    ]
    goals = goals_of(Found(msgspec.structs.replace(_results(), slices=slices)))
    assert next(goal.verdict for goal in goals if "first token" in goal.name) == "missed: a peer is faster"


def test_ratios_are_of_the_same_round() -> None:
    """The machine was twice as fast in one of them, which is nobody's merit."""
    slices = [
        _slice("unary-32", contender, number=number, per_s=rate * (1 + number))
        for number in range(3)
        for contender, rate in (("parley-rest", 50.0), ("smg", 100.0))
    ]
    found = Found(msgspec.structs.replace(_results(), slices=slices))
    assert found.ratio(("unary-32", "parley-rest"), ("unary-32", "smg"), per_s) == Figure(
        0.5, 0.5, 0.5, is_marked=False
    )
    assert found.figure("unary-32", "smg", per_s) == Figure(200, 100, 300, is_marked=False)


def test_failures_are_marked_wherever_they_are_used() -> None:
    slices = [_slice("unary-32", "smg"), _slice("unary-32", "direct", failed=3, problems={"status 503": 3})]
    results = msgspec.structs.replace(_results(), slices=slices)
    figure = Found(results).added("unary-32", "smg", p50_us)
    assert figure is not None
    assert figure.is_marked
    assert "- unary-32, direct, round 1: 3 failed: status 503 (3)" in report(results, [])


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, "-"),
        (Figure(1234.56, 1234.56, 1234.56, is_marked=False), "1,234.6"),
        (Figure(2, 1, 3, is_marked=False), "2.0 (1.0 … 3.0)"),
        (Figure(2, 1, 3, is_marked=True), "2.0 (1.0 … 3.0)†"),
    ],
)
def test_a_cell_shows_the_spread_and_the_mark(figure: Figure | None, text: str) -> None:
    assert told(figure, 1) == text


def test_the_report_has_every_table_and_picture() -> None:
    text = report(_results(), ["a-picture.svg"])
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Goals",
        "## Unary requests",
        "## Added latency",
        "## Longer requests",
        "## 64 streams",
        "## 1,000 streams",
        "## Streams without a pause",
        "## Memory per open stream",
        "## Gateways",
        "## Cores",
        "## Failures",
    ]
    assert "![a picture](a-picture.svg)" in text
    assert "| smg | 1.0 | 2.0 (1.0 … 3.0) | as recommended |" in text
    assert "None: every request was answered" in text


def test_a_run_that_was_not_alone_on_the_machine_says_so() -> None:
    assert "something else took" not in report(_results(), [])
    busy = msgspec.structs.replace(_results(), slices=[_slice("unary-32", "smg", machine_s=4.0)])
    assert "**In 1 of 1 slices something else took more than 0.25 cores" in report(busy, [])


def test_contenders_stand_in_the_gateways_order_and_the_provider_last() -> None:
    assert Found(_results()).contenders == list(_RATES)


def test_the_best_compiled_peer_is_the_fastest_of_those_measured() -> None:
    found = Found(_results())
    assert fastest(found, ("ferrogw", "smg")) == "smg"
    assert fastest(found, ("ferrogw", "nobody")) == "ferrogw"
    assert fastest(found, ()) is None


def test_figures_of_a_slice() -> None:
    slice_ = _slice("paced-64", "smg", cpu_s={"a": 0.1, "b": 0.1}, machine_s=1.0)
    assert cpu_us(slice_) == pytest.approx(200)
    assert others_s(slice_) == pytest.approx(0.6)
    assert rss_kb()(slice_) is None


def test_results_are_written_and_read_as_they_are() -> None:
    assert msgspec.json.decode(msgspec.json.encode(_results()), type=Results) == _results()


def _results() -> Results:
    slices = []
    for name, rate in _RATES.items():
        by_rate = ("unary-1", "unary-32", "unary-256", "steady", "body-100kB", "body-5MB")
        slices += [_slice(measure, name, per_s=rate) for measure in by_rate]
        alike = ("conversation-20", "conversation-200", "saturated-64", "saturated-1000")
        slices += [_slice(measure, name) for measure in alike]
        used_s = 0.06 if name == "parley-rest" else 0.04
        for measure in ("paced-64", "paced-1000"):
            first_us = 1000 * _FIRST_MS.get(name, 1.0)
            slices.append(_slice(measure, name, first_token=Times(80, first_us, first_us), cpu_s={"a": used_s}))
    before, with_streams = Memory(10**7, 10**7), Memory(6 * 10**7, 6 * 10**7)
    slices.append(
        _slice(
            "memory",
            "parley-rest",
            opened=1000,
            memory_before={"service": before},
            memory_open={"service": with_streams},
        )
    )
    names = ("parley", "litellm", "portkey", "ferrogw", "smg", "envoy")
    return Results(
        began="2026-11-22T12:00:00+00:00",
        took_s=600,
        machine=Machine(cores=2, processor="a processor", kernel="6.1", memory_gib=16),
        rounds=1,
        slice_s=2,
        few=64,
        many=1000,
        gateways={
            name: GatewayTold(version="1.0", settings="as recommended", started_s=[3.0, 1.0, 2.0]) for name in names
        },
        slices=slices,
    )


def _slice(measure: str, contender: str, *, number: int = 0, **given: object) -> Slice:
    usual: dict[str, object] = {
        "done": 1000,
        "per_s": 500.0,
        "wall_s": 2.0,
        "times": Times(1000, 500, 900),
        "cpu_s": {"a": 0.04},
        "load_cpu_s": 0.1,
        "provider_cpu_s": 0.1,
        "machine_s": 0.3,
    }
    fields = {"measure": measure, "contender": contender, "round": number, **usual, **given}
    return msgspec.convert(fields, Slice)
