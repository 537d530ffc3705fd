"""The connections to providers: those that wait for a request, and the way to a new one.

aiohttp connects: it looks up names, tries their addresses by turns, opens tunnels through proxies and starts TLS. From
then on a `Connection` has the transport, since aiohttp's own way through a request takes several times as long.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp.connector import Connection as ConnectionOfAiohttp
from yarl import URL

from service.errors import ConfigError
from service.providers.transport_connection import Connection

_DNS_S = 30


@dataclass(slots=True, eq=False)
class Origin:
    """Where requests go that can share connections: scheme, host, port and proxy."""

    url: URL
    proxy: URL | None
    kept: list[Connection] = field(default_factory=list)
    """The connections that wait for a request, the one that was used last at the end."""

    def take(self) -> Connection | None:
        """The connection that was used last, so that those that are not needed grow old and close."""
        while self.kept:
            connection = self.kept.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        return None


class Pool:
    """Opens connections and closes them. It wants a running loop.

    Args:
        trusted: None trusts the system's certificates.
    """

    def __init__(self, trusted: ssl.SSLContext | None) -> None:
        self._connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=_DNS_S, ssl=trusted or True)
        self._connections: set[Connection] = set()

    async def connect(self, origin: Origin, connect_s: float) -> Connection:
        """A new connection, which is kept for the origin once it has been used.

        Raises:
            ClientError, OSError, ValueError: There is none.
        """
        request = aiohttp.ClientRequest("POST", origin.url, proxy=origin.proxy, loop=asyncio.get_running_loop())
        try:
            held = await self._connector.connect(request, [], aiohttp.ClientTimeout(connect=connect_s))
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        transport, protocol = held.transport, held.protocol
        if transport is None or protocol is None or transport.is_closing() or protocol.should_close:
            held.close()
            raise aiohttp.ServerDisconnectedError
        connection = Connection(transport, origin.kept, functools.partial(self._on_lost, held))
        self._connections.add(connection)
        return connection

    async def aclose(self) -> None:
        """Close all connections, also those that come to stand only now."""
        for connection in tuple(self._connections):
            connection.abort()
        await self._connector.close()

    def _on_lost(self, held: ConnectionOfAiohttp, connection: Connection, error: Exception | None) -> None:
        self._connections.discard(connection)
        if held.protocol is not None:
            held.protocol.connection_lost(error)  # `close` of the connector waits for it
        held.close()


def trusting(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts the system's certificates and the PEM certificates of `ca_file`.

    Raises:
        ConfigError: It can't be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=ca_file.read_text("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError and UnicodeError are among them
        raise ConfigError("ca_file: can't be used; expected a readable file of PEM certificates") from error
    return context
