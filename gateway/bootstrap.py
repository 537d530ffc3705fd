"""Envoy's bootstrap: what `python -m gateway render` prints."""

from __future__ import annotations

import json

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.google.protobuf import Any

from gateway.cluster import build_cluster, envoy_address
from gateway.config import Config
from gateway.listener import build_listener

# 1,000 open streams took 79 MB; this many would take what a small machine has.
MAX_CONNECTIONS = 20_000


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines, such as the Lua script, as blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def build_bootstrap(config: Config) -> Bootstrap:
    """The whole configuration of Envoy; nothing is fetched at run time."""
    return Bootstrap(
        node=Node(id="parley-gateway", cluster="parley"),
        admin=Admin(address=envoy_address(config.admin)),
        overload_manager=_connection_limit(),
        static_resources=BootstrapStaticResources(listeners=[build_listener(config)], clusters=[build_cluster(config)]),
    )


def _connection_limit() -> OverloadManager:
    monitor = DownstreamConnectionsConfig(max_active_downstream_connections=MAX_CONNECTIONS)
    return OverloadManager(
        resource_monitors=[
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections", typed_config=Any.pack(monitor)
            )
        ]
    )


def render(config: Config) -> str:
    """The bootstrap as YAML; self-contained but for the TLS files that it names."""
    return yaml.dump(_tree(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def render_json(config: Config) -> str:
    """The same as JSON."""
    return json.dumps(_tree(config))


def _tree(config: Config) -> dict[str, object]:
    # Snake case, as Envoy's documentation writes it.
    return build_bootstrap(config).to_dict(casing=Casing.SNAKE)
