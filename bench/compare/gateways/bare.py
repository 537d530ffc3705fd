"""What Parley is made of, without Parley: `bench.compare.bare_service` behind Parley's own gateway. The limit of its own work."""

from __future__ import annotations

import importlib.metadata
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.processes import Command, free_address, started


def _install(_: Path) -> None:
    """It runs from the environment that runs this."""


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    grpc, rest = free_address(), free_address()
    file = folder / "parley.yaml"
    file.write_text("{}\n", "utf-8")
    variables = {
        "PARLEY_CONFIG": str(file),
        "PARLEY_UPSTREAM_ADDRESS": grpc,
        "PARLEY_HTTP_ADDRESS": rest,
        "PARLEY_GATEWAY_METRICS_ADDRESS": free_address(),
        "PARLEY_ENVOY_ADMIN_ADDRESS": free_address(),
    }
    service = Command([sys.executable, "-m", "bench.compare.bare_service", grpc, provider])
    gateway = Command([sys.executable, "-m", "gateway", "run"], variables)
    faces = {
        "rest": Face("rest", rest, "/v1/chat/completions", {}, "bench"),
        "grpc": Face("grpc", grpc, "/parley.v1.ChatService", {}, "bench"),
    }
    return started({"service": service, "envoy": gateway}, faces, folder)


BARE: Final = Gateway(
    name="bare",
    version=f"grpcio {importlib.metadata.version('grpcio')}",
    settings=(
        "grpc.aio, the HTTP client and Envoy as Parley has them, with one provider's answer and nothing done between:"
        " what is left of Parley where its own work costs nothing; requests in one piece only"
    ),
    install=_install,
    start=_start,
    has_streams=False,
)
