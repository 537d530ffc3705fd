"""A client made of a socket, which shows what is on the wire as it is."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.thread import FaultServer

WITHIN_S = 10.0
"""Bounds what has to come on a slow machine."""
QUIET_S = 0.2
"""How long nothing has to come where nothing may; a slow machine makes no false alarm of it."""


def request_bytes(model: str, user: str, *, stream: bool, close: bool = False, usage: bool = True) -> bytes:
    """A request for an answer; with `close`, the last one of its connection."""
    body: dict[str, Any] = {"model": model, "user": user, "messages": [{"role": "user", "content": "Count."}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": usage}}
    content = json.dumps(body).encode()
    closing = "connection: close\r\n" if close else ""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{closing}content-length: {len(content)}\r\n\r\n"
    return head.encode() + content


class RawClient:
    """A connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.received = b""
        self.ending = ""
        """`end` or `reset`, once it has come."""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_to_the_end(self) -> bytes:
        """All that comes until the connection ends."""
        self._read(lambda: False, WITHIN_S)
        assert self.ending, f"the connection is still open after {self.received!r}"
        return self.received

    def read_until(self, is_enough: Callable[[], bool]) -> None:
        """Read until that is true."""
        self._read(is_enough, WITHIN_S)
        assert is_enough(), f"not enough: {self.received!r}"

    def is_quiet(self) -> bool:
        """Whether nothing comes, no end either."""
        before = self.received
        self._read(lambda: self.received != before, QUIET_S)
        return self.received == before and not self.ending

    def _read(self, is_enough: Callable[[], bool], within_s: float) -> None:
        end = time.monotonic() + within_s
        while not self.ending and not is_enough() and (left_s := end - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return
            except ConnectionResetError:
                self.ending = "reset"
                return
            self.received += data
            self.ending = "" if data else "end"

    @property
    def status(self) -> int:
        return int(self.received.split(b" ", 2)[1])

    @property
    def has_head(self) -> bool:
        return b"\r\n\r\n" in self.received

    @property
    def headers(self) -> dict[str, str]:
        """Empty until all of them have come."""
        head = self.received.partition(b"\r\n\r\n")[0].decode() if self.has_head else ""
        return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])

    @property
    def is_whole(self) -> bool:
        """Whether the body has come to the end that its framing tells of."""
        rest = self.received.partition(b"\r\n\r\n")[2]
        if "content-length" in self.headers:
            return len(rest) == int(self.headers["content-length"])
        return bool(re.search(rb"(^|\r\n)0\r\n\r\n$", rest))

    @property
    def pieces(self) -> list[bytes]:
        """The body in its chunks, or as one piece where its length was told."""
        rest = self.received.partition(b"\r\n\r\n")[2]
        if "content-length" in self.headers:
            return [rest]
        pieces = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return pieces

    @property
    def body(self) -> bytes:
        """What has come of the body, without the framing of chunks."""
        return b"".join(self.pieces)


@contextmanager
def connected(server: FaultServer) -> Iterator[RawClient]:
    """A connection to the provider."""
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=WITHIN_S) as opened:
        yield RawClient(opened)


@contextmanager
def asking(
    server: FaultServer, model: str, user: str, *, stream: bool, close: bool = True, usage: bool = True
) -> Iterator[RawClient]:
    """A connection on which a request has been sent."""
    with connected(server) as client:
        client.send(request_bytes(model, user, stream=stream, close=close, usage=usage))
        yield client
