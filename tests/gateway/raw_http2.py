"""An HTTP/2 client that sends what no other one would: any header names, and trailers."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

Headers = list[tuple[str, str]]
STREAM_ID = 1
PATIENCE_S = 10


@dataclass
class Answer:
    """What came back; headers and trailers as the connection has them."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] | None = None
    is_over: bool = False

    def add(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self.headers = _texts(event.headers)
            case DataReceived():
                self.body += event.data
            case TrailersReceived():
                self.trailers = _texts(event.headers)
            case StreamEnded() | StreamReset():
                self.is_over = True


def _texts(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def post(address: str, path: str, body: bytes, headers: Headers, trailers: Headers | None = None) -> Answer:
    """Send one request on a connection of its own, and read its answer to the end."""
    connection = H2Connection(H2Configuration(validate_outbound_headers=False))
    connection.initiate_connection()
    pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)]
    connection.send_headers(STREAM_ID, [*pseudo, *headers])
    connection.send_data(STREAM_ID, body, end_stream=trailers is None)
    if trailers is not None:
        connection.send_headers(STREAM_ID, trailers, end_stream=True)
    host, port = address.split(":")
    answer = Answer()
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        while not answer.is_over:
            client.sendall(connection.data_to_send())
            received = client.recv(65536)
            assert received, "the connection was closed before the answer's end"
            for event in connection.receive_data(received):
                answer.add(event)
    return answer
