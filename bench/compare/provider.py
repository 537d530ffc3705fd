"""The mock providers: they speak OpenAI's chat API and cost as little as can be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.compare.answers import ANSWER, MODEL, MODELS
from bench.compare.gateways.envoy_config import answered, buffer, command
from bench.compare.gateways.gateway import Face
from bench.compare.gateways.processes import ROOT, free_address, running, until_answering

_LARGEST_BYTES: Final = 8 * 2**20
"""Of a request: 5 MB are sent, and some gateways write them longer."""


@contextmanager
def unary_provider(folder: Path) -> Iterator[str]:
    """An Envoy that answers every question alike; gives its `host:port`. `folder` is its own, and there."""
    address = free_address()
    routes = [answered({"path": "/v1/models"}, MODELS), answered({"path": "/v1/chat/completions"}, ANSWER)]
    # Without it Envoy would answer before the body has come, and close the connection.
    whole = buffer(_LARGEST_BYTES)
    envoy = command(folder, address, routes, filters=[whole], workers=1)
    with running("provider", envoy, folder) as process:
        until_answering(Face("rest", address, "/v1/chat/completions", {}, MODEL), [process], folder)
        yield address


@contextmanager
def stream_provider() -> Iterator[str]:
    """Runs `bench.compare.stream_server`; gives its `host:port`."""
    command = [sys.executable, "-m", "bench.compare.stream_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True) as process:  # noqa: S603  # by this interpreter
        assert process.stdout is not None  # noqa: S101  # as asked for
        try:
            if not (address := process.stdout.readline().decode().strip()):
                raise RuntimeError("the provider of streams has not started; see what it wrote above")
            yield address
        finally:
            process.terminate()
