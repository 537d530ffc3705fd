"""Opens the transport that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from service.errors import ConfigError
from service.providers.transport import Timeouts, Transport

TransportKind = Literal["aiohttp", "pyreqwest"]


def open_transport(
    kind: TransportKind,
    timeouts: Timeouts,
    *,
    ca_file: Path | None = None,
    max_connections: int | None = None,
) -> Transport:
    """Open a transport; whoever opens it calls `aclose`.

    Args:
        kind: The HTTP client; it is imported only now. "pyreqwest" takes half the CPU time per unary
            request, but leaves the provider working where a request is cancelled before its head.
        timeouts: How long to wait for providers.
        ca_file: PEM certificates to trust besides the system's.
        max_connections: How many requests may be under way at once; further ones wait for
            `Timeouts.pool_s`. None for any number.

    Raises:
        ConfigError: The client is not installed, or `ca_file` can't be used.
    """
    try:
        match kind:
            case "aiohttp":
                from service.providers.transport_aiohttp import AiohttpTransport  # noqa: PLC0415 - as below

                return AiohttpTransport(timeouts, ca_file=ca_file, max_connections=max_connections)
            case "pyreqwest":
                from service.providers.transport_pyreqwest import PyreqwestTransport  # noqa: PLC0415 - optional

                return PyreqwestTransport(timeouts, ca_file=ca_file, max_connections=max_connections)
            case _:
                assert_never(kind)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != kind:
            raise
        raise ConfigError(f"transport: {kind} is not installed; expected `pip install {kind}`") from error
