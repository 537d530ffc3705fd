"""Services: which pods take part, and an address that hands connections on to them.

Changes reach whoever sends calls only after a while, as on a cluster, where they pass the controllers, the API server
and the nodes' proxies. In between, pods that are told to end still get new connections.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LAG_S = 1.0
"""Clusters need from a few milliseconds to some seconds."""
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Endpoint:
    """A pod as a Service sees it."""

    name: str
    address: str
    ports: dict[str, int]
    """The numbers of ports that have names."""


@dataclass
class Service:
    """A Service of the manifests, with those that calls are sent to now."""

    name: str
    namespace: str
    manifest: dict[str, Any]
    address: str | None
    """None for a headless one."""
    endpoints: list[Endpoint] = field(default_factory=list)
    """As the rest of the cluster knows them by now."""
    _told: list[Endpoint] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def dns_name(self) -> str:
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def dns_addresses(self) -> list[str]:
        """What its name stands for."""
        return [endpoint.address for endpoint in self.endpoints] if self.address is None else [self.address]

    @property
    def holds_unready(self) -> bool:
        return bool(self.manifest.get("publishNotReadyAddresses"))

    def selects(self, labels: dict[str, str]) -> bool:
        selector = self.manifest["selector"]
        return all(labels.get(key) == value for key, value in selector.items())

    def publish_later(self, endpoints: Iterable[Endpoint]) -> None:
        """Have `endpoints` known after a while."""
        wanted = list(endpoints)
        if wanted != self._told:
            self._told = wanted
            asyncio.get_running_loop().call_later(LAG_S, self._publish, wanted)

    def _publish(self, endpoints: list[Endpoint]) -> None:
        self.endpoints = endpoints

    async def listen(self) -> None:
        """Take connections at its address."""
        for port in self.manifest["ports"]:
            target = port.get("targetPort", port["port"])
            server = await asyncio.start_server(self._handing_on(target), self.address, port["port"])
            self.servers.append(server)

    async def close(self) -> None:
        """Take no more, and cut those that are open."""
        for server in self.servers:
            server.close()
        for task in self.connections:
            task.cancel()
        if self.connections:
            await asyncio.wait(self.connections)

    def _handing_on(self, target: int | str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._hand_on(target, reader, writer))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)

        return take

    async def _hand_on(self, target: int | str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """To any of the endpoints, as kube-proxy does; it stays there, whatever becomes of the endpoint."""
        try:
            endpoint = random.choice(self.endpoints)
            port = endpoint.ports[target] if isinstance(target, str) else target
            there_reader, there_writer = await asyncio.open_connection(endpoint.address, port)
        except (OSError, IndexError):
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, there_writer))
                group.create_task(_copy(there_reader, writer))
        finally:
            writer.transport.abort()
            there_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends it; a reset on this side becomes one on the other."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()
    except OSError:
        writer.transport.abort()
