"""A replica that speaks HTTP/2 by hand: healthy, and to every call it does what gRPC servers do on their way out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from grpc_health.v1.health_pb2 import HealthCheckResponse
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded

HEALTH = b"/grpc.health.v1.Health/Check"
Refusal = Callable[[H2Connection, int], None]
"""What is done to a stream."""


def reset(code: ErrorCodes) -> Refusal:
    """Reset it."""
    return lambda connection, stream: connection.reset_stream(stream, code)


def go_away(connection: H2Connection, stream: int) -> None:
    """End the connection before the stream, as a server that has not seen it yet."""
    connection.close_connection(last_stream_id=max(stream - 2, 0))


def mark_refused(connection: H2Connection, stream: int) -> None:
    """Refuse as the service does in its shutdown, trailers only; then want no more of the request."""
    headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")]
    connection.send_headers(stream, [*headers, ("x-parley-refused", "1")], end_stream=True)


@dataclass
class RawReplica:
    """Where it listens, what it does, and how many calls it was sent."""

    refuse: Refusal
    after_body: bool = False
    """Whether the whole request is read before."""
    calls: int = 0
    address: str = ""
    _streams: dict[tuple[int, int], bytes] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        try:
            while data := await self._flush(connection, writer) or await reader.read(65536):
                for event in connection.receive_data(data):
                    self._handle(connection, event)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _flush(self, connection: H2Connection, writer: asyncio.StreamWriter) -> bytes:
        writer.write(connection.data_to_send())
        await writer.drain()
        return b""

    def _handle(self, connection: H2Connection, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(stream), headers=list(headers)):
                path = bytes(dict(headers)[b":path"])
                self._streams[id(connection), stream] = path
                if path != HEALTH and not self.after_body:
                    self._refuse(connection, stream)
            case DataReceived(stream_id=int(stream), flow_controlled_length=int(length)):
                connection.acknowledge_received_data(length, stream)
            case StreamEnded(stream_id=int(stream)):
                if self._streams[id(connection), stream] == HEALTH:
                    _tell_health(connection, stream)
                elif self.after_body:
                    self._refuse(connection, stream)

    def _refuse(self, connection: H2Connection, stream: int) -> None:
        self.calls += 1
        self.refuse(connection, stream)


def _tell_health(connection: H2Connection, stream: int) -> None:
    message = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    connection.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
    connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


@contextmanager
def raw_replica(refuse: Refusal, *, after_body: bool = False) -> Iterator[RawReplica]:
    """It, in a thread with an event loop of its own."""
    replica, started = RawReplica(refuse, after_body), Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve() -> None:
        server = await asyncio.start_server(replica.serve, "127.0.0.1", 0)
        replica.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ended = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), ended))
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, ended = started.result(10)
    try:
        yield replica
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
