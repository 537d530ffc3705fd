"""From what Prometheus reads to what OTLP sends: the same figures, by the names of OpenTelemetry's conventions. Pure.

Source: opentelemetry/proto/metrics/v1/metrics.proto of opentelemetry-proto 1.45 (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from service.telemetry import definitions
from service.telemetry.attempts import NO_FAULT
from service.version import VERSION

MAX_POINTS: Final = 4_000
"""In one request: a histogram's takes some 400 bytes, and gRPC's receivers take 4 MiB unless they are told otherwise."""
_CUMULATIVE: Final = pb.AGGREGATION_TEMPORALITY_CUMULATIVE
_SCOPE: Final = InstrumentationScope(name="parley", version=VERSION)
_TOTAL: Final = "_total"

_NAMES: Final = {each.name.removesuffix(_TOTAL): (each.otel, each.unit) for each in definitions.ALL} | {
    "process_cpu_seconds": ("process.cpu.time", "s"),
    "process_resident_memory_bytes": ("process.memory.usage", "By"),
    "process_virtual_memory_bytes": ("process.memory.virtual", "By"),
    "process_open_fds": ("process.unix.file_descriptor.count", "{file_descriptor}"),
    "python_gc_collections": ("cpython.gc.collections", "{collection}"),
    "python_gc_objects_collected": ("cpython.gc.collected_objects", "{object}"),
    "python_gc_objects_uncollectable": ("cpython.gc.uncollectable_objects", "{object}"),
}
"""By family; others are not sent: what they tell is part of the resource, or of the points themselves."""
_ATTRIBUTES: Final = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
    "error_type": "error.type",
    "generation": "cpython.gc.generation",
    "method": "rpc.method",
    "status": "rpc.response.status_code",
}
"""By label; others are the service's own, and called `parley.…`."""
_OPERATION: Final = ("gen_ai.operation.name", "chat")
"""The conventions want it with each of their metrics; all of these are of chat calls."""
_TOOL_STATUS: Final = "parley.status"
"""Of a tool, whose status is none of gRPC's."""


@dataclass(frozen=True, slots=True)
class Times:
    """Since when the figures count, and of when they are, in nanoseconds since 1970."""

    start_ns: int
    now_ns: int


def requests_of(
    families: Iterable[Metric], resource: Mapping[str, str], times: Times, most: int = MAX_POINTS
) -> Iterator[ExportMetricsServiceRequest]:
    """What to send, in requests that receivers take.

    Args:
        families: As a registry collects them.
        resource: Attributes of who tells.
        times: Of the figures.
        most: Points in one request.
    """
    metrics: list[pb.Metric] = []
    room = most
    for family in families:
        if family.name not in _NAMES:
            continue
        points = _points(family, times)
        while points:
            metrics.append(_metric(family, points[:room]))
            points, room = points[room:], room - len(points[:room])
            if not room:
                yield _request(metrics, resource)
                metrics, room = [], most
    if metrics:
        yield _request(metrics, resource)


def _request(metrics: list[pb.Metric], resource: Mapping[str, str]) -> ExportMetricsServiceRequest:
    of_scope = pb.ScopeMetrics(scope=_SCOPE, metrics=metrics)
    of_resource = pb.ResourceMetrics(
        resource=Resource(attributes=[_attribute(*pair) for pair in resource.items()]), scope_metrics=[of_scope]
    )
    return ExportMetricsServiceRequest(resource_metrics=[of_resource])


_Points = list[pb.HistogramDataPoint] | list[pb.NumberDataPoint]


def _metric(family: Metric, points: _Points) -> pb.Metric:
    name, unit = _NAMES[family.name]
    metric = pb.Metric(name=name, unit=unit, description=family.documentation)
    match family.type:
        case "histogram":
            metric.histogram.data_points.extend(points)  # type: ignore[arg-type]  # of the same type of family
            metric.histogram.aggregation_temporality = _CUMULATIVE
        case "counter":
            metric.sum.data_points.extend(points)  # type: ignore[arg-type]  # the same
            metric.sum.aggregation_temporality = _CUMULATIVE
            metric.sum.is_monotonic = True
        case _:
            metric.gauge.data_points.extend(points)  # type: ignore[arg-type]  # the same
    return metric


def _points(family: Metric, times: Times) -> _Points:
    if family.type == "histogram":
        return list(_histogram_points(family, times))
    name = family.name + _TOTAL if family.type == "counter" else family.name
    return [
        pb.NumberDataPoint(
            attributes=_attributes(family, sample.labels),
            start_time_unix_nano=times.start_ns if family.type == "counter" else 0,
            time_unix_nano=times.now_ns,
            as_double=sample.value,
        )
        for sample in family.samples
        if sample.name == name
    ]


@dataclass(slots=True)
class _Distribution:
    labels: Mapping[str, str]
    bounds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    """Up to each bound, and at last of all."""
    total: float = 0.0

    def take(self, suffix: str, sample: Sample) -> None:
        if suffix == "_sum":
            self.total = sample.value
        elif suffix == "_bucket":
            self.counts.append(int(sample.value))
            if (bound := float(sample.labels["le"])) != float("inf"):
                self.bounds.append(bound)


def _histogram_points(family: Metric, times: Times) -> Iterator[pb.HistogramDataPoint]:
    found: dict[tuple[tuple[str, str], ...], _Distribution] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        place = tuple(labels.items())
        found.setdefault(place, _Distribution(labels)).take(sample.name.removeprefix(family.name), sample)
    for each in found.values():
        yield pb.HistogramDataPoint(
            attributes=_attributes(family, each.labels),
            start_time_unix_nano=times.start_ns,
            time_unix_nano=times.now_ns,
            count=each.counts[-1],
            sum=each.total,
            bucket_counts=[upper - lower for lower, upper in pairwise((0, *each.counts))],
            explicit_bounds=each.bounds,
        )


def _attributes(family: Metric, labels: Mapping[str, str]) -> list[KeyValue]:
    """Of a point; what a label leaves empty has no attribute."""
    told = {_attribute_name(family, name): value for name, value in labels.items() if value}
    if family.name.startswith("gen_ai_"):
        told |= [_OPERATION]
    if family.name == definitions.ATTEMPT_DURATION.name:
        told["gen_ai.provider.name"] = labels["target"].partition("/")[0]
        if labels["outcome"] not in NO_FAULT:
            told["error.type"] = labels["outcome"]
    return [_attribute(*pair) for pair in told.items()]


def _attribute_name(family: Metric, label: str) -> str:
    if label == "status" and family.name.startswith("parley_tool_"):
        return _TOOL_STATUS
    return _ATTRIBUTES.get(label, f"parley.{label}")


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))
