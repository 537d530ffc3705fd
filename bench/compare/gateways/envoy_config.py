"""Small configurations of Envoy: one listener, the routes of one virtual host, at most one upstream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from bench.compare.gateways.processes import Command
from gateway.launch import envoy_binary

_TYPES: Final = "type.googleapis.com/envoy.extensions."
_HTTP: Final = _TYPES + "filters.http."
_PLENTY: Final = 100_000
"""Of connections and requests to the upstream; Envoy's own limit is 1,024, which 1,000 streams come near."""
_UPSTREAM: Final = "upstream"
Json = dict[str, Any]


def buffer(most_bytes: int) -> Json:
    """A filter that has requests pass only when they are whole."""
    return _filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": most_bytes})


def answered(match: Json, body: str) -> Json:
    """A route that Envoy itself answers with JSON."""
    header = {"header": {"key": "content-type", "value": "application/json"}}
    reply = {"status": 200, "body": {"inline_string": body}}
    return {"match": match, "direct_response": reply, "response_headers_to_add": [header]}


def passed_on() -> Json:
    """A route that has everything go to the upstream, for as long as it takes."""
    return {"match": {"prefix": "/"}, "route": {"cluster": _UPSTREAM, "timeout": _duration(timedelta(0))}}


def command(
    folder: Path,
    address: str,
    routes: Sequence[Json],
    *,
    filters: Sequence[Json] = (),
    upstream: str = "",
    workers: int,
) -> Command:
    """Envoy at that address; its configuration is written into `folder`. It logs no requests."""
    manager = {
        "@type": _TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
        "http_filters": [*filters, _filter("router", "router.v3.Router", {})],
        # Streams with long gaps, and the connections of a load that pauses, stay.
        "stream_idle_timeout": _duration(timedelta(0)),
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {"name": "http", "address": _address(address), "filter_chains": [{"filters": [network]}]}
    clusters = [_cluster(upstream)] if upstream else []
    path = folder / "envoy.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}), "utf-8")
    words = [envoy_binary(), "--config-path", str(path), "--use-dynamic-base-id", "--log-level", "warning"]
    return Command([*words, "--concurrency", str(workers)])


def _cluster(upstream: str) -> Json:
    most = {"max_connections": _PLENTY, "max_pending_requests": _PLENTY, "max_requests": _PLENTY}
    endpoint = {"endpoint": {"address": _address(upstream)}}
    return {
        "name": _UPSTREAM,
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": _UPSTREAM, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _filter(name: str, kind: str, settings: Json) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": _HTTP + kind, **settings}}


def _address(text: str) -> Json:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _duration(value: timedelta) -> str:
    return f"{value.total_seconds():g}s"
