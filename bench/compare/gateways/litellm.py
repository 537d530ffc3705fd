"""LiteLLM's proxy, in Python.

Source: https://docs.litellm.ai/docs/proxy/prod and /docs/proxy/server_tuning, 2026-11-22.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import yaml

from bench.compare.answers import MODEL
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.installing import install_python, python_version
from bench.compare.gateways.processes import ENVIRONMENTS, Command, free_address, started

_NAME: Final = "litellm"
_KEY: Final = "sk-bench-key"  # no secret: it opens nothing but this benchmark


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    face = Face("rest", free_address(), "/v1/chat/completions", {"authorization": f"Bearer {_KEY}"}, MODEL)
    host, _, port = face.address.rpartition(":")
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(_configuration(provider)), "utf-8")
    variables = {
        "LITELLM_MASTER_KEY": _KEY,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        # Of each worker; one that gets more than half of 1,000 streams would have the others wait. 0 would mean 100.
        "AIOHTTP_CONNECTOR_LIMIT": "10000",
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "10000",
        # Or it asks for prices on the Internet before it listens.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    words = [str(ENVIRONMENTS / _NAME / "bin" / "litellm"), "--config", str(file), "--host", host, "--port", port]
    words += ["--num_workers", str(os.cpu_count() or 1)]
    # Workers that import for longer than 5 s, as on a busy machine, would be killed before they have begun.
    words += ["--timeout_worker_healthcheck", "120"]
    return started({_NAME: Command(words, variables)}, {"rest": face}, folder)


def _configuration(provider: str) -> dict[str, object]:
    target = {"model": f"openai/{MODEL}", "api_base": f"http://{provider}/v1", "api_key": "provider-key"}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": target}],
        "litellm_settings": {"set_verbose": False, "request_timeout": 600},
    }


LITELLM: Final = Gateway(
    name=_NAME,
    version=python_version(_NAME, "litellm"),
    settings=(
        "a worker per core, as its documentation has it for one container; a master key, no database, no cache; "
        "LITELLM_LOG=ERROR, as for production; connections to a provider raised from 500; no fetch of prices at start"
    ),
    install=install_python(_NAME),
    start=_start,
)
