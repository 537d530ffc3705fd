"""A receiver of OpenTelemetry's protocol over gRPC, as a collector is one: takes spans and metrics, and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.certificates import Certificates
from tests.support.stack import wait_for

_KINDS: Final = {number: name.removeprefix("SPAN_KIND_") for name, number in trace_pb2.Span.SpanKind.items()}
_STATUSES: Final = {number: name.removeprefix("STATUS_CODE_") for name, number in trace_pb2.Status.StatusCode.items()}


@dataclass(frozen=True)
class ReceivedEvent:
    """Something that happened within a span."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came; ids are hexadecimal."""

    name: str
    kind: str
    """Such as `SERVER`."""
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    status: str
    """`UNSET`, `OK` or `ERROR`."""
    status_message: str
    attributes: dict[str, Any]
    events: tuple[ReceivedEvent, ...]
    start_s: float
    end_s: float
    trace_state: str
    resource: dict[str, Any]
    scope: str

    @property
    def service(self) -> str:
        """Whose span it is."""
        return str(self.resource.get("service.name", ""))

    @property
    def duration_s(self) -> float:
        """From its start to its end."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class ReceivedMetric:
    """A metric of one export, with what it was said of."""

    metric: Metric
    resource: dict[str, Any]
    scope: str


@dataclass
class Receiver:
    """What has come; threads of the server add to it."""

    endpoint: str = ""
    """As a configuration names it, such as `http://127.0.0.1:4317`."""
    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: list[ReceivedMetric] = field(default_factory=list)
    """Of all exports, in their order."""
    headers: list[dict[str, str | bytes]] = field(default_factory=list)
    """Of each export."""
    raw: list[bytes] = field(default_factory=list)
    """Each export as it came, for those who look for what must not be in it."""
    refusing: grpc.StatusCode | None = None
    """With what status exports are refused from now on."""
    released: threading.Event = field(default_factory=threading.Event)
    """Exports wait for it; clear it to have them hang."""

    def __post_init__(self) -> None:
        self.released.set()

    def trace(self, trace_id: str, count: int = 1, within_s: float = 15.0) -> list[ReceivedSpan]:
        """The spans of a trace, as soon as there are `count`, by their start."""

        def find() -> list[ReceivedSpan]:
            spans = [span for span in list(self.spans) if span.trace_id == trace_id]
            return sorted(spans, key=lambda span: span.start_s) if len(spans) >= count else []

        return wait_for(find, within_s)

    def metrics_named(self, name: str) -> list[ReceivedMetric]:
        """What came of one metric, the latest last."""
        return [received for received in list(self.metrics) if received.metric.name == name]


def plain(value: AnyValue) -> Any:
    """An attribute's value as Python has it."""
    match kind := value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return plain_attributes(value.kvlist_value.values)
        case _:
            return getattr(value, kind)


def plain_attributes(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    """Attributes as Python has them."""
    return {pair.key: plain(pair.value) for pair in pairs}


@contextmanager
def receiving(certificates: Certificates | None = None, address: str = "127.0.0.1:0") -> Iterator[Receiver]:
    """Receive until the block is left; with `certificates` over TLS.

    Args:
        certificates: Of the server.
        address: Where; a port that was used before lets a receiver come back.
    """
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(receiver), server)  # type: ignore[no-untyped-call] # has no stubs
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(receiver), server)  # type: ignore[no-untyped-call] # the same
    if certificates is None:
        port = server.add_insecure_port(address)
    else:
        pair = (certificates.server_key.read_bytes(), certificates.server_cert.read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    receiver.endpoint = f"{'http' if certificates is None else 'https'}://127.0.0.1:{port}"
    server.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.stop(0).wait()


def _take(receiver: Receiver, request: Any, context: grpc.ServicerContext) -> None:
    """Note an export before its content is: then who sees the content sees its headers, too."""
    receiver.headers.append(dict(context.invocation_metadata()))
    receiver.released.wait(60)
    if receiver.refusing is not None:
        context.abort(receiver.refusing, "refused by the test")
    receiver.raw.append(request.SerializeToString())


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(  # noqa: N802 - gRPC's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        _take(self._receiver, request, context)
        for of_resource in request.resource_spans:
            resource = plain_attributes(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self._receiver.spans.append(_received(span, resource, of_scope.scope.name))
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(  # noqa: N802 - gRPC's name
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: grpc.ServicerContext
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        _take(self._receiver, request, context)
        for of_resource in request.resource_metrics:
            resource = plain_attributes(of_resource.resource.attributes)
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    self._receiver.metrics.append(ReceivedMetric(metric, resource, of_scope.scope.name))
        return metrics_service_pb2.ExportMetricsServiceResponse()


def _received(span: trace_pb2.Span, resource: dict[str, Any], scope: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=_KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        status=_STATUSES[span.status.code],
        status_message=span.status.message,
        attributes=plain_attributes(span.attributes),
        events=tuple(ReceivedEvent(event.name, plain_attributes(event.attributes)) for event in span.events),
        start_s=span.start_time_unix_nano / 1e9,
        end_s=span.end_time_unix_nano / 1e9,
        trace_state=span.trace_state,
        resource=resource,
        scope=scope,
    )
