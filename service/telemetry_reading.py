"""From the section `telemetry` to what it means, with its secrets and the overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from service.config_checks import check_address, check_base_url
from service.errors import ConfigError
from service.secret_reading import SecretPlace
from service.settings import Secret
from service.telemetry_settings import Otlp, Telemetry

# What gRPC calls custom metadata, as text: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (2026-11-22).
_HEADER_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def read_telemetry(section: Telemetry, environ: Mapping[str, str]) -> Telemetry:
    """The section with its secrets, checked.

    Raises:
        ConfigError: Something is missing or wrong; the message names its path.
    """
    metrics = section.metrics
    if address := environ.get("PARLEY_METRICS_ADDRESS"):
        metrics = msgspec.structs.replace(metrics, address=address)
    if metrics.address is not None:
        check_address("telemetry.metrics.address", metrics.address)
        if metrics.address.startswith("unix:"):
            raise ConfigError("telemetry.metrics.address: expected host:port; Prometheus reads from no Unix socket")
    if section.otlp is None:
        for name, needs in (("traces", section.traces), ("metrics.push_interval_s", metrics.push_interval_s)):
            if needs is not None:
                raise ConfigError(f"telemetry.{name}: needs `telemetry.otlp`, where it is sent to")
        return msgspec.structs.replace(section, metrics=metrics)
    return msgspec.structs.replace(section, metrics=metrics, otlp=_read_otlp(section.otlp, environ))


def _read_otlp(otlp: Otlp, environ: Mapping[str, str]) -> Otlp:
    path = "telemetry.otlp"
    check_base_url(f"{path}.endpoint", otlp.endpoint, "http://collector:4317")
    if otlp.ca_file is not None and not Path(otlp.ca_file).is_file():
        raise ConfigError(f"{path}.ca_file: {otlp.ca_file} is no file")
    place = SecretPlace(path, "headers", otlp.headers_env, otlp.headers_file)
    text = place.read(environ)
    if text is None:
        return otlp
    read_headers(place.where, text)
    return msgspec.structs.replace(otlp, headers=Secret(text))


def read_headers(where: str, text: str) -> dict[str, str]:
    """Headers from `name=value,name=value`.

    Raises:
        ConfigError: They are none; nothing of them is told.
    """
    headers = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not (equals and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise ConfigError(f"{where}: expected headers as name=value,name=value that gRPC can carry")
        headers[name] = value
    return headers
