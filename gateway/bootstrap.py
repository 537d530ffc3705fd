"""Envoy's bootstrap: what `python -m gateway render` prints."""

from __future__ import annotations

import json

import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.core.v3 import Node, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import CaresDnsResolverConfig
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.addresses import Endpoint
from gateway.cluster import build_cluster, envoy_address
from gateway.config import Config
from gateway.listener import build_listener
from gateway.operations import build_admin_cluster, build_operations
from gateway.overload import build_overload_manager
from gateway.statistics import build_statistics
from gateway.tracing import build_collector_cluster

# A name server that does not answer holds up the start this long, twice.
DNS_TIMEOUT_S, DNS_TRIES = 2, 2
# Frames of one connection that begin a request are read one at a time, then other connections have their turn.
# Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge, 2026-11-22.
# Spans go out each second, or as soon as there are many, rather than whenever there are five.
RUNTIME: dict[str, object] = {
    "http.max_requests_per_io_cycle": 1,
    "tracing.opentelemetry.flush_interval_ms": 1000,
    "tracing.opentelemetry.min_flush_spans": 100,
}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines, such as the Lua script, as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def build_bootstrap(config: Config) -> Bootstrap:
    """The whole configuration of Envoy; nothing is fetched at run time."""
    listeners, clusters = [build_listener(config)], [build_cluster(config)]
    if config.operations is not None:
        listeners.append(build_operations(config.operations))
        clusters.append(build_admin_cluster(config.admin))
    if config.tracing is not None:
        clusters.append(build_collector_cluster(config.tracing))
    return Bootstrap(
        node=Node(id="parley-gateway", cluster="parley"),
        admin=Admin(address=envoy_address(config.admin)),
        overload_manager=build_overload_manager(config.gateway),
        stats_config=build_statistics(),
        layered_runtime=LayeredRuntime(
            layers=[RuntimeLayer(name="parley", static_layer=Struct.from_dict(RUNTIME))],
        ),
        typed_dns_resolver_config=_dns_resolver(config.name_servers),
        static_resources=BootstrapStaticResources(listeners=listeners, clusters=clusters),
    )


def _dns_resolver(name_servers: tuple[Endpoint, ...]) -> TypedExtensionConfig:
    cares = CaresDnsResolverConfig(
        resolvers=[envoy_address(server) for server in name_servers],
        query_timeout_seconds=DNS_TIMEOUT_S,
        query_tries=DNS_TRIES,
    )
    return TypedExtensionConfig(name="envoy.network.dns_resolver.cares", typed_config=Any.pack(cares))


def render(config: Config) -> str:
    """The bootstrap as YAML; self-contained but for the TLS files that it names."""
    return yaml.dump(_tree(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def render_json(config: Config) -> str:
    """The same as JSON."""
    return json.dumps(_tree(config))


def _tree(config: Config) -> dict[str, object]:
    # Names as Envoy's documentation writes them, which those of the fields are. Casing.SNAKE makes `5_xx` of `5xx`.
    return build_bootstrap(config).to_dict(casing=str)  # type: ignore[arg-type]  # only called, with a name
