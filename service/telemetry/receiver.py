"""How the configured receiver of OTLP is reached; the same for metrics and for traces."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc

from service.errors import ConfigError
from service.telemetry_reading import read_headers
from service.telemetry_settings import Otlp

_PORT: Final = 4317
"""The protocol's own.

Source: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-default-port (2026-11-22)."""


def receiver_address(otlp: Otlp) -> str:
    """Host and port, as gRPC takes them."""
    url = urlsplit(otlp.endpoint)
    return url.netloc if url.port is not None else f"{url.netloc.rstrip(':')}:{_PORT}"


def receiver_credentials(otlp: Otlp) -> grpc.ChannelCredentials | None:
    """What TLS needs; None where the endpoint is plaintext.

    Raises:
        ConfigError: The CA's file can't be read, or is no PEM file.
    """
    if urlsplit(otlp.endpoint).scheme != "https":
        return None
    return grpc.ssl_channel_credentials(None if otlp.ca_file is None else _read(otlp.ca_file))


def receiver_headers(otlp: Otlp) -> tuple[tuple[str, str], ...]:
    """The headers of every export: they may hold a key."""
    if otlp.headers is None:
        return ()
    return tuple(read_headers("telemetry.otlp.headers", otlp.headers.reveal()).items())


def _read(path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"telemetry.otlp.ca_file: {path} can't be read: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise ConfigError(f"telemetry.otlp.ca_file: {path} is no PEM file")
    return content
