"""ferrogw, Ferro Labs' gateway, written in Go.

It keeps up to 200 idle connections to OpenAI, and no setting changes that.
Source: https://github.com/ferro-labs/ai-gateway (config/README.md, .env.example, deploy/), 2026-11-22.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import yaml

from bench.compare.answers import MODEL
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.installing import install_python, python_version
from bench.compare.gateways.processes import ENVIRONMENTS, Command, free_address, started

_NAME: Final = "ferrogw"
_KEY: Final = "fgw_bench-key"  # no secret: it opens nothing but this benchmark
_CONFIGURATION: Final = {
    "strategy": {"mode": "single"},
    "targets": [{"virtual_key": "openai", "models": [MODEL]}],
}


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    face = Face("rest", free_address(), "/v1/chat/completions", {"authorization": f"Bearer {_KEY}"}, MODEL)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(_CONFIGURATION), "utf-8")
    variables = {
        "GATEWAY_ENV": "production",
        "GATEWAY_CONFIG": str(file),
        "MASTER_KEY": _KEY,
        "OPENAI_API_KEY": "provider-key",
        "OPENAI_BASE_URL": f"http://{provider}/v1",
        "PORT": face.address.rpartition(":")[2],  # it takes no host
        "RATE_LIMIT_RPS": "0",
        # Or it asks for prices on the Internet before it listens.
        "FERRO_MODEL_CATALOG_TIMEOUT": "0",
    }
    command = Command([str(ENVIRONMENTS / _NAME / "bin" / "ferrogw"), "serve"], variables)
    return started({_NAME: command}, {"rest": face}, folder)


FERROGW: Final = Gateway(
    name=_NAME,
    version=python_version(_NAME, "ferrogw"),
    settings=(
        "GATEWAY_ENV=production, one key, one target; logging as by default; no rate limit, no fetch of prices at start"
    ),
    install=install_python(_NAME),
    start=_start,
)
