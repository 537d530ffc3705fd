"""Keeps gRPC's thread from waiting for a busy event loop.

For each event (a call, a message, a write that is done) a thread of grpc.aio writes a byte to a socket. The loop reads one
byte in each of its turns, though it takes all events that are there. With more events than turns the socket fills up,
after 278 bytes. From then on the thread waits within its write for each byte that is read, and the loop gets one event
in each turn, 278 turns late, however many there are: where 300 providers never paused, new calls and health checks were
answered after seconds. A byte more is of no use beside others, so the socket may as well refuse it.

Source: _cython/_cygrpc/aio/completion_queue.pyx.pxi of grpcio 1.85; https://github.com/grpc/grpc/pull/40989 tells of the same
wait when a process ends (2026-11-22).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc


@contextmanager
def grpc_that_never_waits() -> Iterator[None]:
    """Initialise grpc.aio, unless it is, for the running loop; its socket is to be had only while it is made.

    Other threads must not make pairs of sockets meanwhile.
    """
    made: list[tuple[socket.socket, socket.socket]] = []
    original = socket.socketpair

    def noted(*args: Any, **options: Any) -> tuple[socket.socket, socket.socket]:
        made.append(original(*args, **options))
        return made[-1]

    socket.socketpair = noted
    try:
        grpc.aio.init_grpc_aio()
    finally:
        socket.socketpair = original
    for _, written in made:
        written.setblocking(False)  # noqa: FBT003 - the method takes it so
    try:
        yield
    finally:
        grpc.aio.shutdown_grpc_aio()
