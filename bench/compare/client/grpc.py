"""gRPC over HTTP/2, as much of it as calls need that send one small message.

A full client library would take more of the machine than the service that it measures.
Source: RFC 9113; https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, 2026-11-22.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, cast

import hpack

from bench.compare.client.call import Call

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
"""Types of frames that matter here."""
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_PRIORITY: Final = 0x20
_HEAD_BYTES: Final = 9
_LARGEST_WINDOW: Final = 2**31 - 1
_INITIAL_WINDOW: Final = 65_535
"""Of a connection and of a stream, until the other side tells more."""
_LARGEST_FRAME: Final = 16_384
"""Without more being agreed. What is sent here fits in."""
_INITIAL_WINDOW_SETTING: Final = 4
_ENABLE_PUSH_SETTING: Final = 2
_BEGIN: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    # Nothing is pushed, and the answers never wait for a window: two gigabytes are more than a connection here reads.
    + struct.pack(">I", 12)[1:]
    + struct.pack(">BBIHIHI", _SETTINGS, 0, 0, _ENABLE_PUSH_SETTING, 0, _INITIAL_WINDOW_SETTING, _LARGEST_WINDOW)
    + struct.pack(">I", 4)[1:]
    + struct.pack(">BBII", _WINDOW, 0, 0, _LARGEST_WINDOW - _INITIAL_WINDOW)
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Frames:
    """Takes frames out of what comes. Knows no connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def read(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of each that is there as a whole."""
        buffer, at = self._buffer + data, 0
        self._buffer = b""
        while len(buffer) - at >= _HEAD_BYTES:
            end = at + _HEAD_BYTES + int.from_bytes(buffer[at : at + 3])
            if end > len(buffer):
                break
            kind, flags, stream = struct.unpack_from(">BBI", buffer, at + 3)
            payload = buffer[at + _HEAD_BYTES : end]
            at = end
            yield kind, flags, stream & _LARGEST_WINDOW, payload
        self._buffer = buffer[at:]


class _Connection(asyncio.Protocol):
    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.transport: asyncio.Transport | None = None
        self._fields = fields
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._frames = Frames()
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._window = _INITIAL_WINDOW
        self._waiting: deque[tuple[bytes, Call]] = deque()
        """For a window."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own, which derives from no asyncio class
        self.transport.write(_BEGIN)

    def ask(self, body: bytes, call: Call) -> None:
        if len(body) > _LARGEST_FRAME:
            raise ValueError(f"body: expected at most {_LARGEST_FRAME:,} bytes, not {len(body):,}")
        if self.transport is None:
            call.end("cut")
        elif self._waiting or len(body) > self._window:
            self._waiting.append((body, call))
        else:
            self._send(self.transport, body, call)

    def data_received(self, data: bytes) -> None:
        for kind, flags, stream, payload in self._frames.read(data):
            match kind:
                case 0 if (call := self._calls.get(stream)) is not None:  # _DATA, most of all
                    call.read(payload[1 : -payload[0]] if flags & _PADDED else payload)
                    if flags & _END_STREAM:
                        self._end(stream, "no status")
                case 1:  # _HEADERS
                    self._read_headers(flags, stream, payload)
                case 3:  # _RESET
                    self._end(stream, f"reset {int.from_bytes(payload)}")
                case 4 if not flags & _ACK:  # _SETTINGS
                    self._write(frame(_SETTINGS, _ACK, 0, b""))
                case 6 if not flags & _ACK:  # _PING
                    self._write(frame(_PING, _ACK, 0, payload))
                case 8 if not stream:  # _WINDOW
                    self._window += int.from_bytes(payload)
                    self._send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.transport = None
        for stream in list(self._calls):
            self._end(stream, "cut")
        for _, call in self._waiting:
            call.end("cut")

    def _send_waiting(self) -> None:
        while self._waiting and self.transport is not None and len(self._waiting[0][0]) <= self._window:
            body, call = self._waiting.popleft()
            self._send(self.transport, body, call)

    def _send(self, transport: asyncio.Transport, body: bytes, call: Call) -> None:
        stream, self._next = self._next, self._next + 2
        self._calls[stream] = call
        self._window -= len(body)
        head = self._encoder.encode(self._fields)
        transport.write(frame(_HEADERS, _END_HEADERS, stream, head) + frame(_DATA, _END_STREAM, stream, body))
        call.sent()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _read_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not flags & _END_HEADERS or flags & (_PADDED | _PRIORITY):
            # No server here does it, and the table of header fields would be lost: nothing can be read any more.
            self._end(stream, "headers in a form that this client can't read")
            if self.transport is not None:
                self.transport.abort()
            return
        # Also where nobody waits: the table of header fields is the whole connection's.
        fields = self._decoder.decode(payload, raw=True)
        if flags & _END_STREAM:
            status = next((value.decode() for name, value in fields if name == b"grpc-status"), "missing")
            self._end(stream, None if status == "0" else f"grpc-status {status}")

    def _end(self, stream: int, problem: str | None) -> None:
        if (call := self._calls.pop(stream, None)) is not None:
            call.end(problem)


class GrpcCaller:
    """Connections that take turns, each with many calls at once."""

    def __init__(self, address: str, path: str, headers: Mapping[str, str]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *headers.items(),
        ]
        self._connections: deque[_Connection] = deque()

    async def connect(self, connections: int) -> None:
        """Have so many."""
        loop = asyncio.get_running_loop()
        while len(self._connections) < connections:
            made = await loop.create_connection(lambda: _Connection(self._fields), self._host, self._port)
            self._connections.append(made[1])

    async def ask(self, body: bytes, call: Call) -> None:
        """Write the request on the connection whose turn it is."""
        self._connections.rotate(1)
        self._connections[0].ask(body, call)

    def close(self) -> None:
        """Cut every connection."""
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()
