"""The cluster's DNS: names of Services, with the addresses that stand behind them now, as CoreDNS answers."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from tests.rollout.cluster.network import DNS_ADDRESS

TTL_S = 30
"""As in the Corefile that kubeadm writes."""
NOTHING_S = 5
"""How long it is kept that there is nothing: the least that the plugin `kubernetes` says."""
_TYPE_A = 1
_ANSWERED, _NO_SUCH_NAME = 0x8580, 0x8583
"""Flags: an answer with authority, recursion asked for and available; and the same with the code NXDOMAIN."""
Addresses = Callable[[str], Sequence[str] | None]
"""The addresses of a name; None where there is no such name."""


class _Server(asyncio.DatagramProtocol):
    """Keeps answers for a while, as the plugin `cache` does that most clusters' CoreDNS has."""

    def __init__(self, addresses: Addresses, cache_s: float) -> None:
        self._addresses, self._cache_s = addresses, cache_s
        self._cached: dict[str, tuple[float, Sequence[str] | None]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(answer(data, self._look_up), addr)

    def _look_up(self, name: str) -> Sequence[str] | None:
        now = time.monotonic()
        if name not in self._cached or self._cached[name][0] <= now:
            found = self._addresses(name)
            self._cached[name] = now + (self._cache_s if found else min(self._cache_s, NOTHING_S)), found
        return self._cached[name][1]


def answer(query: bytes, addresses: Addresses) -> bytes:
    """The answer to the one question of `query` (RFC 1035, 4)."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    question = query[12 : at + 5]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    found = addresses(".".join(labels).lower())
    told = random.sample(found, len(found)) if found and kind == _TYPE_A else []
    flags = _NO_SUCH_NAME if found is None else _ANSWERED
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(told), 0, 0)
    # Each record's name is the question's, which stands at offset 12.
    records = [struct.pack("!HHHIH", 0xC00C, _TYPE_A, 1, TTL_S, 4) + socket.inet_aton(address) for address in told]
    return head + question + b"".join(records)


@asynccontextmanager
async def dns(addresses: Addresses, cache_s: float) -> AsyncIterator[None]:
    """Answer at the address that all pods ask."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Server(addresses, cache_s), local_addr=(DNS_ADDRESS, 53)
    )
    try:
        yield
    finally:
        transport.close()
