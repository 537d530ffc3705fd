"""Portkey's gateway, on Node.js.

What the package asks for lets npm take a @hono/node-server from 1.14.2 on, with which every stream is answered 500.
Source: https://github.com/Portkey-AI/gateway/issues/1389, 2026-11-22.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.compare.answers import MODEL
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.installing import REQUIREMENTS, install_node
from bench.compare.gateways.processes import ENVIRONMENTS, Command, free_address, started

_NAME: Final = "portkey"
_SERVER: Final = ENVIRONMENTS / _NAME / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _start(provider: str, folder: Path) -> AbstractContextManager[Running]:
    # It has no keys of its own: callers name the provider, and send its key.
    headers = {
        "authorization": "Bearer provider-key",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://{provider}/v1",
    }
    face = Face("rest", free_address(), "/v1/chat/completions", headers, MODEL)
    port = face.address.rpartition(":")[2]  # it takes no host
    command = Command([_node(), str(_SERVER), f"--port={port}"], {"NODE_ENV": "production"})
    return started({_NAME: command}, {"rest": face}, folder)


def _node() -> str:
    if (found := shutil.which("node")) is None:
        raise FileNotFoundError("no node on the PATH; install Node.js, which Portkey's gateway runs on")
    return found


def _version() -> str:
    project = json.loads((REQUIREMENTS / _NAME / "package.json").read_text("utf-8"))
    version: str = project["dependencies"]["@portkey-ai/gateway"]
    return version


PORTKEY: Final = Gateway(
    name=_NAME,
    version=_version(),
    settings=(
        "NODE_ENV=production, one process, as its image runs it; it has no keys of its own; "
        "@hono/node-server as in its own lock file, since newer ones break its streams"
    ),
    install=install_node(_NAME),
    start=_start,
)
