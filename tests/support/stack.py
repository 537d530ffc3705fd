"""The real parts, started for tests: the service as a process, and Envoy in front of it.

All ports are taken by the parts themselves (port 0) and read back, so that test runs don't collide.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import yaml

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.model_service_pb2_grpc import ModelServiceStub
from tests.support.envoy import ROOT, start_envoy
from tests.support.secret_watch import look

START_S = 60.0
OUTPUT: dict[str, Any] = {
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "text": True,
    "errors": "backslashreplace",  # a part that crashes may print anything
}
T = TypeVar("T")


@dataclass
class Part:
    """A process, and what it wrote to its standard output."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def read_in_background(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, ""):
            look("a log line of a part", line)
            self.lines.append(line)

    def json_lines(self, event: str) -> list[dict[str, Any]]:
        """The JSON lines with that `event`."""
        found = []
        for line in list(self.lines):
            if line.startswith("{"):
                value = json.loads(line)
                if value.get("event") == event:
                    found.append(value)
        return found

    def stop(self, within_s: float = 20.0) -> int:
        """End the process with SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if self._reader is not None:
            self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@dataclass
class Stack:
    """Addresses of the parts, and the processes."""

    service: Part
    gateway: Part | None
    grpc_address: str
    health_address: str | None = None
    metrics_address: str | None = None
    http_address: str = ""

    @property
    def url(self) -> str:
        """The gateway's base URL."""
        return f"http://{self.http_address}"

    @contextmanager
    def channel(self, *, through_gateway: bool = False) -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(self.http_address if through_gateway else self.grpc_address) as channel:
            yield channel

    @contextmanager
    def chat(self) -> Iterator[ChatServiceStub]:
        with self.channel() as channel:
            yield ChatServiceStub(channel)

    @contextmanager
    def models(self) -> Iterator[ModelServiceStub]:
        with self.channel() as channel:
            yield ModelServiceStub(channel)

    def calls(self, request_id: str) -> list[dict[str, Any]]:
        """The access log's lines of that request, once there is one."""
        return wait_for(lambda: [call for call in self.service.json_lines("call") if call["request_id"] == request_id])


def wait_for(found: Callable[[], T], within_s: float = 10.0) -> T:
    """What `found` returns as soon as it is true."""
    end = time.monotonic() + within_s
    while not (value := found()):
        if time.monotonic() > end:
            raise AssertionError(f"not found within {within_s} s")
        time.sleep(0.02)
    return value


@contextmanager
def running(
    config: dict[str, Any],
    folder: Path,
    *,
    gateway: bool = True,
    environ: dict[str, str] | None = None,
    ca_file: Path | None = None,
    watched: bool = False,
) -> Iterator[Stack]:
    """Run the service, and Envoy if asked, with `config`, until the block is left.

    It ends without notice, unless `config` says otherwise: nobody calls any more by then.
    With `ca_file`, the gateway is expected to speak TLS with a certificate of that CA. A `watched`
    service tells what it holds (`tests/support/watching.py`).
    """
    file = folder / "parley.yaml"
    file.write_text(yaml.safe_dump({**config, "server": {"drain_notice_s": 0, **config.get("server", {})}}))
    env = {
        **os.environ,
        "PARLEY_CONFIG": str(file),
        "PARLEY_GRPC_ADDRESS": "127.0.0.1:0",
        "PARLEY_METRICS_ADDRESS": "127.0.0.1:0",
        "PARLEY_DATA_DIR": str(folder / "data"),  # without a configuration there is a store, too
        "PYTHONUNBUFFERED": "1",
        **(environ or {}),
    }
    service = start_part("tests.support.watched_service" if watched else "service", [], env)
    parts = [service]
    try:
        addresses = _service_addresses(service)
        stack = Stack(service, None, addresses["grpc"], addresses.get("health"), addresses.get("metrics"))
        if gateway:
            stack.gateway, stack.http_address = _start_gateway(addresses["grpc"], folder, env, ca_file)
            parts.append(stack.gateway)
        yield stack
    finally:
        for part in reversed(parts):
            part.stop()


@contextmanager
def gateway_before(grpc_address: str, folder: Path) -> Iterator[str]:
    """Run Envoy alone before a service that is there already; gives its address."""
    file = folder / "parley.yaml"
    file.write_text("{}")
    part, address = _start_gateway(grpc_address, folder, {**os.environ, "PARLEY_CONFIG": str(file)})
    try:
        yield address
    finally:
        part.stop()


@asynccontextmanager
async def gateway_beside(grpc_address: str, folder: Path) -> AsyncIterator[str]:
    """As `gateway_before`, for tests whose event loop serves what Envoy stands before."""
    gateway = gateway_before(grpc_address, folder)
    address = await asyncio.to_thread(gateway.__enter__)
    try:
        yield address
    finally:
        await asyncio.to_thread(gateway.__exit__, None, None, None)


def _start_gateway(
    grpc_address: str, folder: Path, env: dict[str, str], ca_file: Path | None = None
) -> tuple[Part, str]:
    admin = folder / "envoy-admin"
    addresses = {
        "PARLEY_UPSTREAM_ADDRESS": grpc_address,
        "PARLEY_HTTP_ADDRESS": "127.0.0.1:0",
        "PARLEY_GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS_PATH": str(admin),
    }
    part = Part(start_envoy(env | addresses, **OUTPUT))
    part.read_in_background()
    try:
        address = _http_address(part, admin)
        wait_for(lambda: _is_ok(f"{'https' if ca_file else 'http'}://{address}/readyz", ca_file), START_S)
    except BaseException:
        part.stop()
        raise
    return part, address


def start_part(module: str, arguments: list[str], env: dict[str, str]) -> Part:
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=env, cwd=ROOT, **OUTPUT)
    part = Part(process)
    part.read_in_background()
    return part


def _service_addresses(service: Part) -> dict[str, str]:
    def find() -> dict[str, str]:
        if service.process.poll() is not None:
            raise AssertionError("the service ended:\n" + "".join(service.lines))
        for line in service.json_lines("log"):
            if line["message"].startswith("serving: "):
                return dict(re.findall(r"(\w+) at (\S+?)(?:,|$)", line["message"]))
        return {}

    return wait_for(find, START_S)


def _http_address(gateway: Part, admin: Path) -> str:
    def find() -> str:
        if gateway.process.poll() is not None:
            raise AssertionError("Envoy ended:\n" + "".join(gateway.lines))
        if not admin.exists() or not (address := admin.read_text().strip()):
            return ""
        try:
            with urllib.request.urlopen(f"http://{address}/listeners?format=json", timeout=5) as answer:
                listeners = json.load(answer)["listener_statuses"]
        except OSError:
            return ""
        sockets = {listener["name"]: listener["local_address"]["socket_address"] for listener in listeners}
        if "http" not in sockets:
            return ""
        socket = sockets["http"]
        return f"{socket['address']}:{socket['port_value']}"

    return wait_for(find, START_S)


def _is_ok(url: str, ca_file: Path | None) -> bool:
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
