"""Clients that mean harm: others are served meanwhile, and the worst lose their connection."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from tests.gateway.answers import CHAT
from tests.gateway.scratch import Gateway, Scratch, wait_until

HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", CHAT)]
MANY = 4000
"""Far more than Envoy lets pass of any kind of frame that costs it more than the client."""
Attack = Callable[[H2Connection, int], None]
"""One step of it, on the stream of that number."""


def _reset_at_once(connection: H2Connection, number: int) -> None:
    connection.send_headers(2 * number + 1, HEADERS)
    connection.reset_stream(2 * number + 1, ErrorCodes.CANCEL)


def _empty_data(connection: H2Connection, number: int) -> None:
    if number == 0:
        connection.send_headers(1, HEADERS)
    connection.send_data(1, b"")


@contextmanager
def _connected(address: str) -> Iterator[socket.socket]:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        yield client


def _is_cut_off(address: str, attack: Attack) -> bool:
    """Whether the connection was ended before the attack was over; nothing is read meanwhile."""
    connection = H2Connection(H2Configuration(validate_outbound_headers=False))
    connection.initiate_connection()
    with _connected(address) as client:
        try:
            for number in range(MANY):
                attack(connection, number)
                client.sendall(connection.data_to_send())
            while client.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
    return True


@pytest.mark.parametrize("attack", [_reset_at_once, _empty_data])
def test_a_flood_of_frames_ends_its_connection_and_no_other(
    gateway: Gateway, rest: httpx.Client, script: Scratch, attack: Attack
) -> None:
    assert rest.post(CHAT, json={}).status_code == 200
    assert _is_cut_off(gateway.address, attack)
    assert rest.post(CHAT, json={}).status_code == 200
    assert gateway.process.poll() is None


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8), id="ping"),
        pytest.param(b"\0\0\0\x04\0\0\0\0\0", id="settings"),
    ],
)
def test_a_flood_whose_answers_are_not_read_ends_its_connection(
    gateway: Gateway, rest: httpx.Client, script: Scratch, frame: bytes
) -> None:
    connection = H2Connection()
    connection.initiate_connection()
    with _connected(gateway.address) as client:
        client.sendall(connection.data_to_send())
        with pytest.raises(ConnectionError):
            _flood(client, frame)
    assert rest.post(CHAT, json={}).status_code == 200


def _flood(client: socket.socket, frame: bytes) -> None:
    for _ in range(MANY):
        client.sendall(frame * MANY)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_slow_clients_hold_up_nobody_else(
    gateway: Gateway, rest: httpx.Client, script: Scratch, beginning: bytes
) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(_connected(gateway.address)).sendall(beginning)
        wait_until(lambda: gateway.stat("http.http.downstream_cx_active") >= 200)
        assert [rest.post(CHAT, json={}).status_code for _ in range(20)] == [200] * 20


def test_headers_that_never_end_are_refused(gateway: Gateway) -> None:
    with _connected(gateway.address) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        answer = client.recv(65536)  # after ten seconds
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


def test_too_many_headers_are_refused(gateway: Gateway, rest: httpx.Client, script: Scratch) -> None:
    headers = {f"x-{number}": "a" for number in range(200)}
    assert rest.post(CHAT, json={}, headers=headers).status_code == 431
    assert rest.post(CHAT, json={}, headers={"x-long": "a" * 70_000}).status_code == 431
