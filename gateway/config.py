"""Configuration of the gateway: the YAML file it shares with the service, and the environment.

The gateway owns the section `gateway` and is strict there. Of `server`, `auth` and `telemetry` it reads the few
keys it needs and leaves the rest, like every other section, to the service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import yaml

from gateway.addresses import ConfigError, Endpoint, bindable, name_server, reachable

__all__ = [
    "Config",
    "ConfigError",
    "Endpoint",
    "GatewaySection",
    "ListenerTls",
    "TracingConfig",
    "UpstreamTls",
    "load_config",
]

DEFAULT_GRPC_ADDRESS = "127.0.0.1:50051"
DEFAULT_MODEL = "smollm2"
DEFAULT_ADMIN_ADDRESS = "127.0.0.1:9901"
DEFAULT_OTLP_PORT = 4317


class ListenerTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS towards clients; with `client_ca_file` every client needs a certificate of that CA."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None


class UpstreamTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS towards the service. `server_name` defaults to the one host of all upstream addresses."""

    ca_file: str
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class GatewaySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `gateway`."""

    http_address: str = "127.0.0.1:8080"
    metrics_address: str | None = "127.0.0.1:9465"
    """Where `/metrics`, `/healthz` and `/readyz` are, without TLS; None: nowhere but the last two at `http_address`."""
    upstream_addresses: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    """Where the replicas of the service listen; without it, there is the one of `server.grpc_address`."""
    dns_resolvers: tuple[str, ...] = ()
    """IP addresses, with or without a port, of who is asked for the replicas' names; default: what the system asks."""
    cors_origins: tuple[str, ...] = ()
    # Images in base64 need much; the service takes gRPC messages that hold no more.
    max_body_mib: Annotated[int, msgspec.Meta(ge=1, le=32)] = 32
    tls: ListenerTls | None = None
    upstream_tls: UpstreamTls | None = None
    stream_idle_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 900
    # Longer than the service's own 30 s, whose last words need a way out.
    drain_grace_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 35
    # How long a client keeps to this gateway where there are several: new ones get their part within so much.
    max_connection_age_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 600
    # 1,000 open streams took 88 MiB; this many would take half of the heap.
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    max_open_calls: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    # What that many streams take stays below the 90 % from which on calls are refused.
    max_heap_mib: Annotated[int, msgspec.Meta(ge=32, le=1_048_576)] | None = 2048
    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """Threads of Envoy that serve calls; None: see `gateway.launch`."""


class ServerSection(msgspec.Struct, frozen=True):
    """What the gateway reads of the service's section `server`."""

    grpc_address: str = DEFAULT_GRPC_ADDRESS
    tls: object = None


class AuthSection(msgspec.Struct, frozen=True):
    """What the gateway reads of the section `auth`: whether there are keys, never which."""

    allow_open: bool = False
    keys: tuple[object, ...] = ()


class OtlpSection(msgspec.Struct, frozen=True):
    """What the gateway reads of `telemetry.otlp`."""

    endpoint: str
    ca_file: str | None = None


class TracesSection(msgspec.Struct, frozen=True):
    """What the gateway reads of `telemetry.traces`."""

    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05


class TelemetrySection(msgspec.Struct, frozen=True):
    """What the gateway reads of the section `telemetry`."""

    service_name: str = "parley"
    otlp: OtlpSection | None = None
    traces: TracesSection | None = None


class Document(msgspec.Struct, frozen=True):
    """The YAML file, as far as the gateway reads it. A section may be empty."""

    gateway: GatewaySection | None = None
    server: ServerSection | None = None
    auth: AuthSection | None = None
    telemetry: TelemetrySection | None = None
    models: dict[str, object] | None = None


@dataclass(frozen=True)
class TracingConfig:
    """Where spans go, and how many."""

    collector: Endpoint
    has_tls: bool
    ca_file: str | None
    service_name: str
    sample_ratio: float


@dataclass(frozen=True)
class Config:
    """Everything that the bootstrap is made of."""

    gateway: GatewaySection
    listener: Endpoint
    admin: Endpoint
    upstreams: tuple[Endpoint, ...]
    """One or more, all different."""
    has_keys: bool
    first_model: str = DEFAULT_MODEL
    """A model to show to new users."""
    admin_address_path: str | None = None
    operations: Endpoint | None = None
    """Where metrics and probes are served."""
    name_servers: tuple[Endpoint, ...] = ()
    """Empty: the system's."""
    tracing: TracingConfig | None = None


def load_config(environ: Mapping[str, str] | None = None) -> Config:
    """Read the file that PARLEY_CONFIG names (defaults when unset) and the overrides.

    Raises:
        ConfigError: Something can't be used.
    """
    env = os.environ if environ is None else environ
    document = _read_document(env.get("PARLEY_CONFIG") or None)
    gateway = document.gateway or GatewaySection()
    server, auth = document.server or ServerSection(), document.auth or AuthSection()

    listener = bindable(*_setting(env, "PARLEY_HTTP_ADDRESS", "gateway.http_address", gateway.http_address))
    admin = bindable(*_setting(env, "PARLEY_ENVOY_ADMIN_ADDRESS", "the admin address", DEFAULT_ADMIN_ADDRESS))

    if not admin.is_loopback:
        raise ConfigError(
            f"PARLEY_ENVOY_ADMIN_ADDRESS: expected a loopback address, got {admin}: whoever reaches it can end Envoy"
        )

    config = Config(
        gateway=gateway,
        listener=listener,
        admin=admin,
        upstreams=_upstreams(env, gateway, server),
        has_keys=bool(auth.keys),
        first_model=next(iter(document.models or ()), DEFAULT_MODEL),
        admin_address_path=env.get("PARLEY_ENVOY_ADMIN_ADDRESS_PATH") or None,
        operations=_operations(env, gateway.metrics_address),
        name_servers=tuple(
            name_server(f"gateway.dns_resolvers[{number}]", text) for number, text in enumerate(gateway.dns_resolvers)
        ),
        tracing=_tracing(document.telemetry or TelemetrySection()),
    )
    _check_different(config)
    _check_exposure(config, allow_open=auth.allow_open)
    _check_tls(config, service_has_tls=server.tls is not None)
    _check_origins(gateway.cors_origins)
    return config


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice in one mapping, of which YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        """See `yaml.SafeLoader`."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_document(path: str | None) -> Document:
    if path is None:
        return Document()
    try:
        raw = yaml.load(Path(path).read_text("utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"PARLEY_CONFIG: can't read {path}: {error}") from error
    except RecursionError:
        raise ConfigError(f"PARLEY_CONFIG: {path} is not YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ConfigError(f"PARLEY_CONFIG: {path} is not YAML: {error}") from error
    try:
        return msgspec.convert({} if raw is None else raw, Document)
    except msgspec.ValidationError as error:
        # msgspec says "Expected `int`, got `str` - at `$.gateway.max_body_mib`"
        what, _, where = str(error).partition(" - at `$")
        place = where.rstrip("`").lstrip(".") or "the top level"
        raise ConfigError(f"{path}: {place}: {what[0].lower()}{what[1:]}") from error


def _setting(env: Mapping[str, str], variable: str, place: str, value: str) -> tuple[str, str]:
    """The name and the value of a setting that a variable overrides."""
    return (variable, env[variable]) if env.get(variable) else (place, value)


def _operations(env: Mapping[str, str], address: str | None) -> Endpoint | None:
    place, text = _setting(env, "PARLEY_GATEWAY_METRICS_ADDRESS", "gateway.metrics_address", address or "")
    return bindable(place, text) if text or address is not None else None


def _tracing(telemetry: TelemetrySection) -> TracingConfig | None:
    if telemetry.traces is None:
        return None
    if telemetry.otlp is None:
        raise ConfigError("telemetry.traces: needs `telemetry.otlp`, where they are sent to")
    return TracingConfig(
        collector=_collector(telemetry.otlp.endpoint),
        has_tls=telemetry.otlp.endpoint.startswith("https:"),
        ca_file=telemetry.otlp.ca_file,
        service_name=f"{telemetry.service_name}-gateway",
        sample_ratio=telemetry.traces.sample_ratio,
    )


def _collector(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = DEFAULT_OTLP_PORT if parts.port is None else parts.port
    except ValueError:  # a port that is none
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ConfigError("telemetry.otlp.endpoint: expected a URL such as http://collector:4317")
    return Endpoint(parts.hostname, port)


def _upstreams(env: Mapping[str, str], gateway: GatewaySection, server: ServerSection) -> tuple[Endpoint, ...]:
    """Every replica of the service."""
    if env.get("PARLEY_UPSTREAM_ADDRESS"):
        texts = [text.strip() for text in env["PARLEY_UPSTREAM_ADDRESS"].split(",")]
        places = ["PARLEY_UPSTREAM_ADDRESS"] * len(texts)
    elif gateway.upstream_addresses is not None:
        texts = list(gateway.upstream_addresses)
        places = [f"gateway.upstream_addresses[{number}]" for number in range(len(texts))]
    else:
        place, text = _setting(env, "PARLEY_GRPC_ADDRESS", "server.grpc_address", server.grpc_address)
        places, texts = [place], [text]
    endpoints: list[Endpoint] = []
    for place, text in zip(places, texts, strict=True):
        endpoint = reachable(place, text)
        if endpoint in endpoints:
            raise ConfigError(f"{place}: expected different addresses, got {endpoint} twice")
        endpoints.append(endpoint)
    if any(endpoint.unix_path for endpoint in endpoints) and any(endpoint.is_name for endpoint in endpoints):
        # Envoy resolves names for whole clusters, and those can't hold sockets.
        raise ConfigError(f"{places[0]}: expected either Unix sockets or names of hosts, got both")
    return tuple(endpoints)


def _check_different(config: Config) -> None:
    """Envoy would have two listeners share a port, and each get a part of its connections."""
    if config.operations is not None and config.operations == config.listener and config.listener.port != 0:
        raise ConfigError(
            f"gateway.metrics_address: expected another address than gateway.http_address {config.listener}"
        )


def _check_exposure(config: Config, *, allow_open: bool) -> None:
    if not (config.has_keys or allow_open or config.listener.is_loopback):
        raise ConfigError(
            f"gateway.http_address: {config.listener} can be reached from other machines, and no keys are configured; "
            "expected auth.keys, or auth.allow_open: true to run open, or a loopback address"
        )


def _check_tls(config: Config, *, service_has_tls: bool) -> None:
    upstream = config.gateway.upstream_tls
    if service_has_tls and upstream is None:
        raise ConfigError("gateway.upstream_tls: expected a mapping with ca_file, because server.tls is set")
    if upstream is not None and (upstream.cert_file is None) != (upstream.key_file is None):
        raise ConfigError("gateway.upstream_tls: expected cert_file and key_file together")
    if upstream is not None and upstream.server_name is None and len({peer.host for peer in config.upstreams}) > 1:
        raise ConfigError(
            "gateway.upstream_tls.server_name: expected the name in the replicas' certificates, "
            "because the upstream addresses have several hosts"
        )


def _check_origins(origins: tuple[str, ...]) -> None:
    for number, origin in enumerate(origins):
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            place = f"gateway.cors_origins[{number}]"
            raise ConfigError(f'{place}: expected "*" or scheme://host[:port] without a path, got {origin!r}')
