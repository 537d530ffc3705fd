"""Spans of calls, sent to a receiver of OpenTelemetry's protocol."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, TypedExtensionConfig
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManagerTracing
from envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    ParentBasedSamplerConfig,
    TraceIdRatioBasedSamplerConfig,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType, Percent
from envoy_data_plane.google.protobuf import Any

from gateway.cluster import http2_options, single_cluster
from gateway.config import TracingConfig
from gateway.tls import trusting_socket

CLUSTER = "otlp"
SAMPLERS = "envoy.tracers.opentelemetry.samplers"
MILLION = 1_000_000
# Spans that wait for a receiver that is slow or away; the oldest are dropped then, and `tracing.opentelemetry` counts.
MAX_WAITING_SPANS = 4096
# What clients choose, and Envoy would take over in full: some calls with 60 kB each would make more of a batch than
# receivers take (4 MiB), and others' spans would be lost with them. `http.url` would be the `host` that they name, and
# the path of a gRPC call may have a query.
SHORTENED = {
    "user_agent": "%REQ(USER-AGENT):256%",
    "guid:x-request-id": "%REQ(X-REQUEST-ID):256%",
    "http.url": "%REQ(:AUTHORITY):256%",
    "grpc.authority": "%REQ(:AUTHORITY):256%",
    "grpc.path": "%ROUTE_NAME%",
    "grpc.content_type": "%REQ(CONTENT-TYPE):256%",
}


def build_tracing(tracing: TracingConfig) -> HttpConnectionManagerTracing:
    """A span of each call, and one of each time that it is sent to a replica.

    A caller's own decision (`traceparent`) is followed. Spans are named by routes: paths may hold ids, queries keys.
    Envoy's own sampling would go by the request id, which clients choose.
    """
    grpc = GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CLUSTER), timeout=timedelta(seconds=5))
    provider = OpenTelemetryConfig(
        grpc_service=grpc,
        service_name=tracing.service_name,
        max_cache_size=MAX_WAITING_SPANS,
        sampler=_sampler(tracing.sample_ratio),
    )
    return HttpConnectionManagerTracing(
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=Any.pack(provider)),
        client_sampling=Percent(value=0),  # of x-client-trace-id, by which anyone could have all their calls traced
        spawn_upstream_span=True,
        operation="%ROUTE_NAME%",
        max_path_tag_length=0,  # of `http.url`
        custom_tags=[CustomTag(tag=tag, value=text) for tag, text in SHORTENED.items()],
    )


def _sampler(ratio: float) -> TypedExtensionConfig:
    share = FractionalPercent(numerator=round(ratio * MILLION), denominator=FractionalPercentDenominatorType.MILLION)
    of_new = Any.pack(TraceIdRatioBasedSamplerConfig(sampling_percentage=share))
    wrapped = TypedExtensionConfig(name=f"{SAMPLERS}.trace_id_ratio_based", typed_config=of_new)
    return TypedExtensionConfig(
        name=f"{SAMPLERS}.parent_based", typed_config=Any.pack(ParentBasedSamplerConfig(wrapped_sampler=wrapped))
    )


def build_collector_cluster(tracing: TracingConfig) -> Cluster:
    """Where spans go."""
    cluster = single_cluster(CLUSTER, tracing.collector)
    cluster.typed_extension_protocol_options = http2_options()
    if tracing.has_tls:
        cluster.transport_socket = trusting_socket(tracing.collector, tracing.ca_file)
    return cluster
