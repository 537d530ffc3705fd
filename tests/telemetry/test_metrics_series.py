"""The bound on series, and gauges of things that go."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.telemetry.definitions import ALL, ATTEMPTS, TARGET_IN_FLIGHT
from service.telemetry.series import OTHER, Gauges, Series, counter, gauge


def test_what_is_beyond_the_bound_is_counted_together() -> None:
    registry = CollectorRegistry()
    series = Series(counter(ATTEMPTS, registry), most=2)
    for number in range(5):
        series["m", f"t{number}", "OK"].inc()
    series["m", "t0", "OK"].inc()

    found = {
        sample.labels["target"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert found == {"t0": 2, "t1": 1, OTHER: 3}


def test_what_is_not_there_any_more_is_told_no_more() -> None:
    registry = CollectorRegistry()
    gauges = Gauges(gauge(TARGET_IN_FLIGHT, registry))

    def told() -> dict[str, float]:
        return {sample.labels["target"]: sample.value for family in registry.collect() for sample in family.samples}

    gauges.set_all({("m", "a"): 1, ("m", "b"): 2})
    assert told() == {"a": 1, "b": 2}
    gauges.set_all({("m", "b"): 3})
    assert told() == {"b": 3}
    gauges.set_all({("m", "a"): 4, ("m", "b"): 3})
    assert told() == {"a": 4, "b": 3}


def test_a_gauge_of_too_many_things_keeps_to_the_bound() -> None:
    registry = CollectorRegistry()
    gauges = Gauges(gauge(TARGET_IN_FLIGHT, registry), most=3)
    for begin in (0, 100):
        gauges.set_all({("m", f"t{begin + number}"): number for number in range(10)})

    assert sorted(sample.labels["target"] for family in registry.collect() for sample in family.samples) == [
        "t100",
        "t101",
        "t102",
    ]


def test_names_are_those_that_prometheus_and_opentelemetry_want() -> None:
    assert len({each.name for each in ALL}) == len({each.otel for each in ALL}) == len(ALL)
    for each in ALL:
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert bool(each.buckets) == (each.kind == "histogram"), each.name
        assert list(each.buckets) == sorted(set(each.buckets)), each.name
        assert each.name.replace("_", ".").startswith(each.otel.replace("_", ".")), each.name
        assert each.help.endswith("."), each.name


def test_latencies_reach_ten_minutes() -> None:
    reaching = [each.name for each in ALL if each.buckets and each.buckets[-1] == 600]

    assert reaching == [
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_client_operation_duration_seconds",
        "parley_tool_call_duration_seconds",
    ]
