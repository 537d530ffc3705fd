"""The one upstream: the replicas of the gRPC service, their health checks and their TLS."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Pipe,
    SocketAddress,
    TcpKeepalive,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as EnvoyEndpoint
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster, DnsClusterRefreshRate
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import Endpoint
from gateway.config import Config
from gateway.tls import upstream_socket

CLUSTER = "parley"
# What one connection may hold in each direction. With the defaults a reader that reads nothing lets
# the service write 16.7 MB into Envoy, so 3.8 MB.
WINDOW_BYTES = 64 * 1024
# The service must allow pings this often (grpc.http2.min_ping_interval_without_data_ms and
# grpc.keepalive_permit_without_calls), or grpc core answers the third with GOAWAY.
KEEPALIVE = KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=10))
# Retries under way are not limited (by Envoy to 3): each is of a call that no replica has taken, and when one of two
# dies, half of all calls need one.
MAX_RETRIES = 1_000_000
# Names are looked up this often. A new replica gets calls so much after its name server knows it; what the server's
# cache holds is its own business. One that has left is no matter of DNS: see `build_cluster`.
DNS_REFRESH = timedelta(seconds=3)


def build_cluster(config: Config) -> Cluster:
    """The upstream cluster.

    A replica that has left DNS gets calls for as long as its health check passes, and is forgotten then; its open
    calls go on either way. So neither an answer of DNS that is too short nor one that is late takes replicas away.
    """
    tls, most = config.gateway.upstream_tls, config.gateway.max_open_calls
    cluster = _cluster(CLUSTER, config.upstreams)
    # Of two drawn replicas the less busy. Load reports (ORCA) spread uneven streams worse, see bench/balancing. To look
    # at all replicas spreads better yet (1.13 rather than 1.20 times the mean for the busiest of four), but sends more
    # calls to a replica that fails at once (up to 0.6 rather than 0.4 of all).
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    # 0: with no healthy endpoint calls fail at once, rather than being tried on sick ones.
    # No merge window: by default health changes reach the workers up to a second after /readyz.
    cluster.common_lb_config = ClusterCommonLbConfig(
        healthy_panic_threshold=Percent(value=0), update_merge_window=timedelta(0)
    )
    cluster.health_checks = [_health_check()]
    cluster.outlier_detection = _outlier_detection()
    cluster.per_connection_buffer_limit_bytes = WINDOW_BYTES
    cluster.typed_extension_protocol_options = http2_options()
    thresholds = CircuitBreakersThresholds(
        max_connections=most, max_pending_requests=most, max_requests=most, max_retries=MAX_RETRIES
    )
    cluster.circuit_breakers = CircuitBreakers(thresholds=[thresholds])
    cluster.upstream_connection_options = UpstreamConnectionOptions(tcp_keepalive=TcpKeepalive())
    if tls is not None:
        cluster.transport_socket = upstream_socket(tls, config.upstreams[0])
    return cluster


def single_cluster(name: str, endpoint: Endpoint) -> Cluster:
    """A cluster of one address, for what is no replica."""
    return _cluster(name, (endpoint,))


def _cluster(name: str, addresses: tuple[Endpoint, ...]) -> Cluster:
    endpoints = [LbEndpoint(endpoint=EnvoyEndpoint(address=envoy_address(address))) for address in addresses]
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(seconds=2),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
        ),
    )
    if any(address.is_name for address in addresses):
        cluster.cluster_type = ClusterCustomClusterType(name="envoy.clusters.dns", typed_config=Any.pack(_dns()))
    else:
        cluster.type = ClusterDiscoveryType.STATIC
    return cluster


def _dns() -> DnsCluster:
    """All addresses of each name. Of a replica's own one alone, or it would count as two: of IPv6, if it has no other."""
    return DnsCluster(
        dns_refresh_rate=DNS_REFRESH,
        dns_failure_refresh_rate=DnsClusterRefreshRate(base_interval=timedelta(seconds=1), max_interval=DNS_REFRESH),
        dns_lookup_family=DnsLookupFamily.V4_PREFERRED,
    )


def envoy_address(endpoint: Endpoint) -> Address:
    """An address as Envoy writes it."""
    if endpoint.unix_path is not None:
        return Address(pipe=Pipe(path=endpoint.unix_path))
    return Address(
        socket_address=SocketAddress(address=endpoint.host, port_value=endpoint.port, ipv4_compat=endpoint.host == "::")
    )


def http2_options() -> dict[str, Any]:
    """HTTP/2 to a cluster."""
    http2 = Http2ProtocolOptions(initial_stream_window_size=WINDOW_BYTES, connection_keepalive=KEEPALIVE)
    explicit = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(
            HttpProtocolOptions(explicit_http_config=explicit)
        )
    }


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


def _outlier_detection() -> OutlierDetection:
    """Leaves a replica alone whose connections fail although its health check passes.

    Only what Envoy itself sees counts: connections that fail, resets, timeouts. No status does, since UNAVAILABLE and
    the like tell of providers, and every replica asks the same. At least half of the replicas always stay, so that
    requests which break a replica's connections can't take them all away.

    Of a call that breaks, Envoy notes two things: that there was a connection, and that it failed. So 40 % of failures
    are two calls in three, and a row of them is only ever one of connections that can't be made.
    """
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=5,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_failure_percentage_local_origin=100,
        failure_percentage_threshold=40,
        failure_percentage_minimum_hosts=1,
        failure_percentage_request_volume=10,
        # Those of statuses, and those that compare replicas with each other.
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_failure_percentage=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        # How often that is looked at; the first ejection lasts about as long as two looks, each further one longer.
        interval=timedelta(seconds=3),
        base_ejection_time=timedelta(seconds=6),
        max_ejection_time=timedelta(seconds=60),
        max_ejection_percent=50,
        # Or the health check, a second later, would have it back.
        successful_active_health_check_uneject_host=False,
    )
