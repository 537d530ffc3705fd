"""HTTP/1.1, as much of it as gateways answer with: each connection carries one request after another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, cast

from bench.compare.client.call import Call

_OK: Final = b"200"
_LINE_BREAK: Final = 2
"""Bytes."""


class Reader:
    """Takes answers apart. Knows no connection."""

    def __init__(self) -> None:
        self.status = b""
        self.is_over = False
        """Whether the answer is there as a whole."""
        self.stays = True
        """Whether the connection may be used again."""
        self._buffer = b""
        self._in_head = True
        self._is_chunked = False
        self._left = 0
        """Bytes of the body, or of the chunk with its line break, that are still to come."""

    def read(self, data: bytes) -> bytes:
        """What of the body has come.

        Raises:
            ValueError: That is no HTTP/1.1, or an answer without a length.
        """
        self._buffer += data
        if self._in_head and not self._read_head():
            return b""
        if self._is_chunked:
            return self._read_chunks()
        body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(body)
        self.is_over = not self._left
        return body

    def _read_head(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        self.status = first.split(b" ")[1]
        self.stays = fields.get(b"connection", b"").lower() != b"close"
        self._is_chunked = fields.get(b"transfer-encoding", b"").lower() == b"chunked"
        if not self._is_chunked:
            if b"content-length" not in fields:
                raise ValueError("an answer without a length")
            self._left = int(fields[b"content-length"])
        self._in_head, self._buffer = False, rest
        return True

    def _read_chunks(self) -> bytes:
        buffer, at, pieces = self._buffer, 0, []
        while at < len(buffer):
            if self._left:
                pieces.append(buffer[at : at + max(self._left - _LINE_BREAK, 0)])
                taken = min(self._left, len(buffer) - at)
                at += taken
                self._left -= taken
                continue
            if (end := buffer.find(b"\r\n", at)) < 0:
                break
            size = int(buffer[at:end].partition(b";")[0], 16)
            if not size:
                self.is_over = buffer.endswith(b"\r\n\r\n", end)
                break
            at, self._left = end + _LINE_BREAK, size + _LINE_BREAK
        self._buffer = buffer[at:]
        return b"".join(pieces)


class _Connection(asyncio.Protocol):
    def __init__(self, caller: RestCaller) -> None:
        self.transport: asyncio.Transport | None = None
        self._caller = caller
        self._call: Call | None = None
        self._reader = Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own, which derives from no asyncio class

    def ask(self, request: bytes, call: Call) -> None:
        self._call, self._reader = call, Reader()
        assert self.transport is not None  # noqa: S101  # it is connected
        self.transport.write(request)
        call.sent()

    def data_received(self, data: bytes) -> None:
        call, reader = self._call, self._reader
        if call is None:
            return
        try:
            body = reader.read(data)
        except ValueError as error:
            self._end(f"unreadable: {error}")
            return
        if body:
            call.read(body)
        if reader.is_over:
            self._end(None if reader.status == _OK else f"status {reader.status.decode('ascii', 'replace')}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.transport = None
        if self._call is not None:
            status = self._reader.status
            self._end("cut" if status in {b"", _OK} else f"status {status.decode('ascii', 'replace')}, and cut")

    def _end(self, problem: str | None) -> None:
        call, self._call = self._call, None
        if problem is None and self.transport is not None and self._reader.stays:
            self._caller.idle.append(self)
        elif self.transport is not None:
            self.transport.abort()
        if call is not None:
            call.end(problem)


class RestCaller:
    """Connections that are taken again when their answer is over."""

    def __init__(self, address: str, path: str, headers: Mapping[str, str]) -> None:
        self.idle: list[_Connection] = []
        self._all: list[_Connection] = []
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        fields = {"host": address, "content-type": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._head = f"POST {path} HTTP/1.1\r\n{lines}content-length: ".encode()

    async def connect(self, connections: int) -> None:
        """Have so many idle."""
        while len(self.idle) < connections:
            self.idle.append(await self._connection())

    async def ask(self, body: bytes, call: Call) -> None:
        """Write the request, on a new connection where none is idle."""
        while self.idle:
            if (connection := self.idle.pop()).transport is not None:
                break
        else:
            try:
                connection = await self._connection()
            except OSError:
                call.end("no connection")
                return
        connection.ask(b"%b%d\r\n\r\n%b" % (self._head, len(body), body), call)

    def close(self) -> None:
        """Cut every connection."""
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.abort()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        self._all.append(connection)
        return connection
