"""A DNS server that tells IPv4 addresses, which a test may change."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEADER_BYTES = 12
AFTER_NAME = struct.Struct("!HH")
TYPE_A, CLASS_IN = 1, 1
RESPONSE, SERVER_FAILURE = 0x8180, 0x8182


@dataclass
class NameServer:
    """Where it listens, and what it tells for every name."""

    address: str
    addresses: list[str] = field(default_factory=list)
    fails: bool = False
    asked: int = 0

    def answer(self, question: bytes) -> bytes:
        """The whole message; for other types than A there is nothing."""
        self.asked += 1
        end = HEADER_BYTES
        while question[end]:
            end += 1 + question[end]
        kind, _ = AFTER_NAME.unpack_from(question, end + 1)
        asked = question[HEADER_BYTES : end + 1 + AFTER_NAME.size]
        records = [] if self.fails or kind != TYPE_A else list(self.addresses)
        flags = SERVER_FAILURE if self.fails else RESPONSE
        header = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        pointer = 0xC000 | HEADER_BYTES
        told = [
            struct.pack("!HHHIH", pointer, TYPE_A, CLASS_IN, 1, 4) + ipaddress.IPv4Address(record).packed
            for record in records
        ]
        return header + asked + b"".join(told)


@contextmanager
def name_server(*addresses: str) -> Iterator[NameServer]:
    """It, in a thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.1)
        server = NameServer(f"127.0.0.1:{listener.getsockname()[1]}", list(addresses))
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    question, sender = listener.recvfrom(4096)
                except TimeoutError:
                    continue
                listener.sendto(server.answer(question), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            ended.set()
            thread.join()
