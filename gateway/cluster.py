"""The one upstream: the replicas of the gRPC service, their health checks and their TLS."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Pipe,
    SocketAddress,
    TcpKeepalive,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as EnvoyEndpoint
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway.config import Config, Endpoint, UpstreamTls

CLUSTER = "parley"
# What one connection may hold in each direction. With the defaults a reader that reads nothing lets
# the service write 16.7 MB into Envoy, so 3.8 MB.
WINDOW_BYTES = 64 * 1024
# The service must allow pings this often (grpc.http2.min_ping_interval_without_data_ms and
# grpc.keepalive_permit_without_calls), or grpc core answers the third with GOAWAY.
KEEPALIVE = KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=10))
# Envoy's 1024 would be the limit of open streams; the service has its own. Nor are the retries under way limited (by
# Envoy to 3): each is of a call that no replica has taken, and when one of two dies, half of all calls need one.
MAX_REQUESTS = 100_000


def build_cluster(config: Config) -> Cluster:
    """The upstream cluster."""
    upstreams, tls = config.upstreams, config.gateway.upstream_tls
    has_names = any(upstream.is_name for upstream in upstreams)
    thresholds = CircuitBreakersThresholds(
        max_connections=MAX_REQUESTS,
        max_pending_requests=MAX_REQUESTS,
        max_requests=MAX_REQUESTS,
        max_retries=MAX_REQUESTS,
    )
    endpoints = [LbEndpoint(endpoint=EnvoyEndpoint(address=envoy_address(upstream))) for upstream in upstreams]
    return Cluster(
        name=CLUSTER,
        type=ClusterDiscoveryType.STRICT_DNS if has_names else ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=2),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        load_assignment=ClusterLoadAssignment(
            cluster_name=CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
        ),
        # 0: with no healthy endpoint calls fail at once, rather than being tried on sick ones.
        # No merge window: by default health changes reach the workers up to a second after /readyz.
        common_lb_config=ClusterCommonLbConfig(
            healthy_panic_threshold=Percent(value=0), update_merge_window=timedelta(0)
        ),
        health_checks=[_health_check()],
        per_connection_buffer_limit_bytes=WINDOW_BYTES,
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(_http2_options())
        },
        circuit_breakers=CircuitBreakers(thresholds=[thresholds]),
        upstream_connection_options=UpstreamConnectionOptions(tcp_keepalive=TcpKeepalive()),
        transport_socket=None if tls is None else _tls_socket(tls, upstreams[0]),
    )


def envoy_address(endpoint: Endpoint) -> Address:
    """An address as Envoy writes it."""
    if endpoint.unix_path is not None:
        return Address(pipe=Pipe(path=endpoint.unix_path))
    return Address(
        socket_address=SocketAddress(address=endpoint.host, port_value=endpoint.port, ipv4_compat=endpoint.host == "::")
    )


def _http2_options() -> HttpProtocolOptions:
    http2 = Http2ProtocolOptions(initial_stream_window_size=WINDOW_BYTES, connection_keepalive=KEEPALIVE)
    return HttpProtocolOptions(explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2))


def _health_check() -> HealthCheck:
    """Every second, also without traffic: /readyz follows a service that dies within two seconds.

    The timeout is longer, so that a busy service is not taken for a dead one.
    """
    second = timedelta(seconds=1)
    return HealthCheck(
        timeout=timedelta(seconds=5),
        interval=second,
        no_traffic_interval=second,
        unhealthy_interval=second,
        unhealthy_edge_interval=second / 4,
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _tls_socket(tls: UpstreamTls, upstream: Endpoint) -> TransportSocket:
    name = tls.server_name or upstream.host
    is_ip = Endpoint(name, 0).is_ip
    san = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip else SubjectAltNameMatcherSanType.DNS,
        matcher=StringMatcher(exact=name),
    )
    context = CommonTlsContext(
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=tls.ca_file), match_typed_subject_alt_names=[san]
        ),
        alpn_protocols=["h2"],
    )
    if tls.cert_file is not None and tls.key_file is not None:
        context.tls_certificates = [certificate(tls.cert_file, tls.key_file)]
    typed = Any.pack(UpstreamTlsContext(common_tls_context=context, sni="" if is_ip else name))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed)


def certificate(cert_file: str, key_file: str) -> TlsCertificate:
    """A certificate with its key, from files."""
    return TlsCertificate(certificate_chain=DataSource(filename=cert_file), private_key=DataSource(filename=key_file))
