"""The listener for those who run the gateway: `/metrics`, `/healthz` and `/readyz`, without TLS, and nothing else.

Probes and Prometheus need neither a client's certificate nor the admin interface, which could end Envoy.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import CircuitBreakers, CircuitBreakersThresholds, Cluster
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.connection_limit.v3 import ConnectionLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import Endpoint
from gateway.cluster import envoy_address, single_cluster
from gateway.filters import health_filters
from gateway.names import ROUTER_FILTER

CLUSTER = "admin"
STATISTICS = "/stats/prometheus"
# A kubelet, two instances of Prometheus and a person: more connections are closed at once.
MAX_CONNECTIONS = 32
# Of scrapes at once: each takes Envoy's main thread some milliseconds.
MAX_SCRAPES = 4
TIMEOUT = timedelta(seconds=10)


def build_operations(address: Endpoint) -> Listener:
    """The listener; it works also where the limits of connections and memory are reached."""
    limit = ConnectionLimit(stat_prefix="operations", max_connections=MAX_CONNECTIONS)
    manager = Any.pack(_connection_manager())
    return Listener(
        name="operations",
        stat_prefix="operations",
        address=envoy_address(address),
        filter_chains=[
            FilterChain(
                filters=[
                    Filter(name="envoy.filters.network.connection_limit", typed_config=Any.pack(limit)),
                    Filter(name="envoy.filters.network.http_connection_manager", typed_config=manager),
                ]
            )
        ],
        ignore_global_conn_limit=True,
        bypass_overload_manager=True,
    )


def build_admin_cluster(admin: Endpoint) -> Cluster:
    """Envoy's own admin interface, as the route to the metrics needs it."""
    cluster = single_cluster(CLUSTER, admin)
    cluster.circuit_breakers = CircuitBreakers(
        thresholds=[CircuitBreakersThresholds(max_requests=MAX_SCRAPES, max_pending_requests=MAX_SCRAPES)]
    )
    return cluster


def _connection_manager() -> HttpConnectionManager:
    return HttpConnectionManager(
        stat_prefix="operations",
        route_config=RouteConfiguration(
            name="operations",
            virtual_hosts=[VirtualHost(name="operations", domains=["*"], routes=[_metrics_route(), _other_route()])],
        ),
        http_filters=[
            *health_filters(),
            HttpFilter(name=ROUTER_FILTER, typed_config=Any.pack(Router(suppress_envoy_headers=True))),
        ],
        use_remote_address=True,
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=timedelta(minutes=5), max_headers_count=100),
        request_headers_timeout=TIMEOUT,
        request_timeout=TIMEOUT,
        stream_idle_timeout=TIMEOUT,
    )


def _metrics_route() -> Route:
    """Exactly this path and method: no query reaches the admin interface, and nothing that changes anything."""
    exact = [(":path", "/metrics"), (":method", "GET")]
    headers = [HeaderMatcher(name=name, string_match=StringMatcher(exact=value)) for name, value in exact]
    return Route(
        name="metrics",
        match=RouteMatch(path="/metrics", headers=headers),
        route=RouteAction(cluster=CLUSTER, prefix_rewrite=STATISTICS, timeout=TIMEOUT),
    )


def _other_route() -> Route:
    return Route(name="other", match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=404))
