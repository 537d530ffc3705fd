"""smg, the Shepherd Model Gateway, written in Rust; as a proxy of an API that is compatible with OpenAI's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.compare.answers import MODEL
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.installing import install_python, python_version
from bench.compare.gateways.processes import ENVIRONMENTS, Command, free_address, started

_NAME: Final = "smg"
_KEY: Final = "bench-key"  # no secret: it opens nothing but this benchmark


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    face = Face("rest", free_address(), "/v1/chat/completions", {"authorization": f"Bearer {_KEY}"}, MODEL)
    host, _, port = face.address.rpartition(":")
    metrics_port = free_address().rpartition(":")[2]
    words = [str(ENVIRONMENTS / _NAME / "bin" / "smg"), "launch", "--backend", "openai"]
    words += ["--worker-urls", f"http://{provider}", "--host", host, "--port", port]
    words += ["--prometheus-host", host, "--prometheus-port", metrics_port]
    words += ["--api-key", _KEY, "--max-concurrent-requests", "0"]
    return started({_NAME: Command(words)}, {"rest": face}, folder)


SMG: Final = Gateway(
    name=_NAME,
    version=python_version(_NAME, "smg"),
    settings=(
        "backend openai, one key; logging, retries, circuit breaker and load polls as by default; "
        "no bound of requests in flight"
    ),
    install=install_python(_NAME),
    start=_start,
)
