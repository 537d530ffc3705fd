"""The metrics over OTLP: from the real service to a real receiver, and what becomes of it where there is none."""

from __future__ import annotations

import math
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from prometheus_client import CollectorRegistry

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.dispatch.call import Attempt
from service.routing import Target
from service.rpc.call import Call
from service.telemetry.calls import CallMetrics
from service.telemetry.definitions import ALL, ATTEMPTS, REQUEST_DURATION
from service.telemetry.otlp_form import Times, requests_of
from service.telemetry.series import Series, counter, gauge, histogram
from service.version import VERSION
from tests.conftest import stack_config
from tests.support.certificates import make_certificates
from tests.support.faces import ask
from tests.support.otlp import Receiver, plain_attributes, receiving
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream

TOKEN = "Bearer c4n4ry-token"
ECHO = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}
TIMES = Times(start_ns=1_000, now_ns=2_000)


def pushing(upstream: FakeUpstream, endpoint: str, **otlp: Any) -> dict[str, Any]:
    config = stack_config(upstream, drain_grace_s=5)
    config["telemetry"] = {
        "service_name": "parley-test",
        "otlp": {"endpoint": endpoint, **otlp},
        "metrics": {"push_interval_s": 1},
    }
    return config


def points_of(metric: pb.Metric) -> list[Any]:
    """Whatever the kind of the metric."""
    data: Any = getattr(metric, metric.WhichOneof("data") or "gauge")
    return list(data.data_points)


def point(receiver: Receiver, name: str, **attributes: str) -> Any:
    """The latest point of the metric that has these attributes, if any."""
    for received in reversed(receiver.metrics_named(name)):
        for each in points_of(received.metric):
            if attributes.items() <= plain_attributes(each.attributes).items():
                return each
    return None


def log_of(stack: Stack) -> list[str]:
    lines = [line["message"] for line in stack.service.json_lines("log")]
    return [line for line in lines if line.startswith("metrics: ")]


def test_a_receiver_gets_them_by_the_conventions_names(upstream: FakeUpstream, tmp_path: Path) -> None:
    with receiving() as receiver, running(pushing(upstream, receiver.endpoint), tmp_path, gateway=False) as stack:
        began_ns = time.time_ns()
        for _ in range(2):
            assert ask(stack, "grpc", ECHO).failure is None
        request = "gen_ai.server.request.duration"
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "echo", "rpc.response.status_code": "OK"}
        found = wait_for(lambda: (each := point(receiver, request, **attributes)) and each.count == 2 and each)
        metric = receiver.metrics_named(request)[-1]
        counted = point(receiver, "parley.attempts", **{"gen_ai.request.model": "echo", "parley.outcome": "OK"})
        ready = point(receiver, "parley.ready")
        names = {received.metric.name: received.metric.unit for received in list(receiver.metrics)}

    assert "error.type" not in plain_attributes(found.attributes)
    assert plain_attributes(found.attributes)["gen_ai.provider.name"] == "scripted"
    assert found.explicit_bounds == list(REQUEST_DURATION.buckets)
    assert len(found.bucket_counts) == len(found.explicit_bounds) + 1
    assert sum(found.bucket_counts) == 2
    assert 0 < found.sum < 60
    assert found.start_time_unix_nano < began_ns < found.time_unix_nano
    assert metric.metric.histogram.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert (metric.metric.unit, metric.scope) == ("s", "parley")
    assert counted.as_double == 2
    assert ready.as_double == 1
    assert names["process.cpu.time"] == "s"
    assert metric.resource["service.name"] == "parley-test"
    assert metric.resource["service.version"] == VERSION
    assert metric.resource["host.name"] == socket.gethostname()
    assert metric.resource["service.instance.id"]


def test_metrics_of_the_conventions_have_the_attributes_that_these_require() -> None:
    registry = CollectorRegistry()
    metrics = CallMetrics(registry)
    call = Call(
        "r", "/parley.v1.ChatService/StreamChatCompletion", model="echo", started=1.0, first_token=2.0, ended=9.0
    )
    call.usage = Usage(prompt_tokens=7, completion_tokens=5)
    for name, outcome in (("one", "UPSTREAM_UNAVAILABLE"), ("two", "HEDGED"), ("three", "OK")):
        attempt = Attempt(Target(name, "a/b"), 1.0)
        attempt.outcome, attempt.ended = outcome, 3.0
        call.journal.attempts.append(attempt)
        call.journal.target = attempt.target
    metrics.ended(call, "OK", None)
    (request,) = requests_of(registry.collect(), {}, TIMES)
    told = {
        metric.name: [plain_attributes(each.attributes) for each in points_of(metric)]
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        if metric.name.startswith("gen_ai.") and points_of(metric)
    }

    assert told.keys() == {each.otel for each in ALL if each.otel.startswith("gen_ai.")}
    wanted = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}
    assert not [name for name, points in told.items() for attributes in points if not wanted <= attributes.keys()]
    attempts = [
        (each["gen_ai.provider.name"], each["parley.target"], each.get("error.type"))
        for each in told["gen_ai.client.operation.duration"]
    ]
    assert attempts == [
        ("one", "one/a/b", "UPSTREAM_UNAVAILABLE"),
        ("two", "two/a/b", None),
        ("three", "three/a/b", None),
    ]


def test_headers_and_tls_reach_it_and_no_line_of_the_log_has_them(upstream: FakeUpstream, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    environ = {"OTLP_HEADERS": f"authorization={TOKEN}"}
    with receiving(certificates) as receiver:
        config = pushing(upstream, receiver.endpoint, ca_file=str(certificates.ca), headers_env="OTLP_HEADERS")
        with running(config, tmp_path, gateway=False, environ=environ) as stack:
            wait_for(lambda: receiver.metrics_named("parley.ready"))
    assert receiver.headers[0]["authorization"] == TOKEN
    assert "c4n4ry" not in "".join(stack.service.lines)


@pytest.mark.parametrize("way", ["not there", "refuses", "hangs"])
def test_an_outage_is_told_once_and_costs_calls_nothing(upstream: FakeUpstream, tmp_path: Path, way: str) -> None:
    with receiving() as receiver:
        endpoint = receiver.endpoint
        if way == "refuses":
            receiver.refusing = grpc.StatusCode.UNAUTHENTICATED
        elif way == "hangs":
            receiver.released.clear()
        config = pushing(upstream, _dead_endpoint() if way == "not there" else endpoint)
        with running(config, tmp_path, gateway=False) as stack:
            wait_for(lambda: log_of(stack))
            for _ in range(5):
                assert ask(stack, "grpc", ECHO).failure is None
            if way == "refuses":
                wait_for(lambda: len(receiver.headers) >= 3)  # and more were tried, of which nothing is told
            elif way == "hangs":
                wait_for(lambda: len(receiver.headers) >= 2)
            began = time.monotonic()
            assert stack.service.stop() == 0
            took_s = time.monotonic() - began
        outage = {"not there": "UNAVAILABLE", "refuses": "UNAUTHENTICATED", "hangs": "no answer within 1 s"}[way]
        assert log_of(stack) == [f"metrics: the receiver of OTLP does not take them: {outage}"]
        assert "refused by the test" not in "".join(stack.service.lines)
        assert took_s < 15


def test_what_was_counted_in_an_outage_comes_after_it(upstream: FakeUpstream, tmp_path: Path) -> None:
    with receiving() as receiver, running(pushing(upstream, receiver.endpoint), tmp_path, gateway=False) as stack:
        receiver.refusing = grpc.StatusCode.UNAVAILABLE
        wait_for(lambda: log_of(stack))
        assert ask(stack, "grpc", ECHO).failure is None
        receiver.refusing = None
        wait_for(lambda: point(receiver, "parley.attempts", **{"gen_ai.request.model": "echo"}))
        wait_for(lambda: log_of(stack)[1:] == ["metrics: the receiver of OTLP takes them again"])


def test_the_last_figures_are_sent_as_the_service_ends(upstream: FakeUpstream, tmp_path: Path) -> None:
    with receiving() as receiver:
        config = pushing(upstream, receiver.endpoint)
        config["telemetry"]["metrics"]["push_interval_s"] = 3600
        with running(config, tmp_path, gateway=False) as stack:
            assert ask(stack, "grpc", ECHO).failure is None
            assert not receiver.metrics
        assert point(receiver, "parley.attempts", **{"gen_ai.request.model": "echo"}).as_double == 1
        assert point(receiver, "parley.ready").as_double == 0


def _dead_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_every_metric_has_a_name_and_a_kind() -> None:
    registry = CollectorRegistry()
    for each in ALL:
        values = ["x"] * len(each.labels)
        made: Any = {"histogram": histogram, "counter": counter}.get(each.kind, gauge)(each, registry)
        child = made.labels(*values) if values else made
        child.observe(1) if each.kind == "histogram" else child.inc()
    (request,) = requests_of(registry.collect(), {"service.name": "x"}, TIMES)
    metrics = {each.name: each for each in request.resource_metrics[0].scope_metrics[0].metrics}

    assert {name: each.unit for name, each in metrics.items()} == {each.otel: each.unit for each in ALL}
    kinds = {"histogram": "histogram", "counter": "sum", "gauge": "gauge"}
    assert {each.otel: metrics[each.otel].WhichOneof("data") for each in ALL} == {
        each.otel: kinds[each.kind] for each in ALL
    }
    tool = plain_attributes(points_of(metrics["parley.tool.calls"])[0].attributes)
    assert set(tool) == {"parley.project", "parley.server", "parley.status"}
    assert all(len(points_of(each)) == 1 for each in metrics.values())


def test_a_histogram_says_how_many_were_in_each_bucket() -> None:
    registry = CollectorRegistry()
    series = Series(histogram(REQUEST_DURATION, registry))
    for seconds in (0.01, 0.02, 0.02, 700.0):
        series["chat", "m", "p", "true", "OK", ""].observe(seconds)
    (request,) = requests_of(registry.collect(), {}, TIMES)
    (found,) = points_of(request.resource_metrics[0].scope_metrics[0].metrics[0])

    assert found.count == 4
    assert math.isclose(found.sum, 700.05)
    assert list(found.bucket_counts) == [1, 2, *[0] * (len(REQUEST_DURATION.buckets) - 2), 1]
    assert (found.start_time_unix_nano, found.time_unix_nano) == (1_000, 2_000)


@pytest.mark.parametrize(("most", "expected"), [(3, [3, 3, 3, 1]), (5, [5, 5]), (10, [10]), (100, [10])])
def test_many_points_are_sent_in_several_requests(most: int, expected: list[int]) -> None:
    registry = CollectorRegistry()
    attempts, durations = Series(counter(ATTEMPTS, registry)), Series(histogram(REQUEST_DURATION, registry))
    for number in range(5):
        attempts["m", f"t{number}", "OK"].inc(number)
        durations["chat", f"m{number}", "p", "true", "OK", ""].observe(number)
    requests = list(requests_of(registry.collect(), {}, TIMES, most))
    sent = [each for request in requests for each in request.resource_metrics[0].scope_metrics[0].metrics]

    assert [
        sum(len(points_of(each)) for each in request.resource_metrics[0].scope_metrics[0].metrics)
        for request in requests
    ] == expected
    values = [found.as_double for each in sent if each.name == ATTEMPTS.otel for found in points_of(each)]
    assert values == [0, 1, 2, 3, 4]


def test_nothing_counted_is_nothing_sent() -> None:
    registry = CollectorRegistry()
    CallMetrics(registry)

    assert list(requests_of(registry.collect(), {}, TIMES)) == []
