"""Parley itself, as `make up` runs it: service and gateway, with a configuration of one model and one key."""

from __future__ import annotations

import hashlib
import sys
import tomllib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import yaml

from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.processes import ROOT, Command, free_address, started

_KEY: Final = "bench-key"  # no secret: it opens nothing but this benchmark
_MODEL: Final = "bench"


def _install(_: Path) -> None:
    """It runs from the environment that runs this."""


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    grpc, rest = free_address(), free_address()
    file = folder / "parley.yaml"
    file.write_text(yaml.safe_dump(_configuration(provider)), "utf-8")
    variables = {
        "PARLEY_CONFIG": str(file),
        "PARLEY_GRPC_ADDRESS": grpc,
        "PARLEY_HTTP_ADDRESS": rest,
        "PARLEY_METRICS_ADDRESS": free_address(),
        "PARLEY_GATEWAY_METRICS_ADDRESS": free_address(),
        "PARLEY_ENVOY_ADMIN_ADDRESS": free_address(),
        "PROVIDER_KEY": "provider-key",
    }
    service = Command([sys.executable, "-m", "service"], variables)
    gateway = Command([sys.executable, "-m", "gateway", "run"], variables)
    headers = {"authorization": f"Bearer {_KEY}"}
    faces = {
        "rest": Face("rest", rest, "/v1/chat/completions", headers, _MODEL),
        "grpc": Face("grpc", grpc, "/parley.v1.ChatService", headers, _MODEL),
    }
    return started({"service": service, "envoy": gateway}, faces, folder)


def _configuration(provider: str) -> dict[str, object]:
    return {
        "auth": {"keys": [{"name": "bench", "sha256": hashlib.sha256(_KEY.encode()).hexdigest()}]},
        # Nobody calls any more when it ends.
        "server": {"drain_notice_s": 0},
        "providers": {
            "mock": {
                "kind": "openai",
                "dialect": "openai",
                "base_url": f"http://{provider}/v1",
                "api_key_env": "PROVIDER_KEY",
            }
        },
        # More than the 1,000 calls of the default, which as many streams fill: probes have to get through beside them.
        "models": {
            _MODEL: {"targets": [{"provider": "mock", "model": "gpt-4o-mini"}], "concurrency": {"limit": 10_000}}
        },
    }


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    version: str = project["project"]["version"]
    return version


PARLEY: Final = Gateway(
    name="parley",
    version=_version(),
    settings=(
        "as `make up` runs it: one key, validation, metrics and access logs of both parts; `concurrency.limit` raised"
        " from 1,000, no notice before a drain"
    ),
    install=_install,
    start=_start,
)
