"""The fault provider: an OpenAI-compatible API on loopback that fails as the model's name says."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Self

from tests.faults import wire
from tests.faults.catalogue import FAULTS, FOLLOWED, find
from tests.faults.exchange import Asked, Connection, Exchange, Seen, asked_of

_MOST_USERS: Final = 100_000
"""Whose requests are kept; beyond, the oldest are forgotten, so that the program may run for days."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset."""
_COMPLETIONS: Final = "/v1/chat/completions"


class FaultProvider:
    """The provider, in the running event loop: `async with` opens and closes it.

    Args:
        port: Where to listen; 0 takes a free one.
        log: Told in a line what became of each request.
    """

    def __init__(self, port: int = 0, log: Callable[[str], None] | None = None) -> None:
        self._port = port
        self._log = log or (lambda _: None)
        self._seen: dict[str, list[Seen]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._closed_port = socket.socket()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self._closed_port.bind(("127.0.0.1", 0))  # bound and not listening: refuses, and nobody else can take it
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._closed_port.close()

    @property
    def base_url(self) -> str:
        """As OpenAI's SDKs mean it."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def unreachable(self) -> dict[str, str]:
        """Base URLs at which no request arrives, by what goes wrong there."""
        return {
            "refused": f"http://127.0.0.1:{self._closed_port.getsockname()[1]}/v1",
            "no-tls": f"https://127.0.0.1:{self._port}/v1",
            "no-name": "http://name.invalid/v1",
        }

    @property
    def open_connections(self) -> int:
        """How many connections of clients stand, busy or not."""
        return len(self._tasks)

    def seen(self, user: str) -> list[Seen]:
        """The requests with that `user`, in the order in which they came."""
        return list(self._seen.get(user, ()))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.create_task(self._serve(Connection(self._connections), reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # also where it is cancelled before it has begun

    async def _serve(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer request after request; the first byte of the next one, or the client's leaving, is always awaited."""
        first = asyncio.create_task(reader.read(1))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while byte := await first:
                    request = await wire.read_request(byte, reader, writer)
                    first = asyncio.create_task(reader.read(1))
                    if not await self._answer(request, connection, first, writer):
                        break
        except wire.NotHttpError as error:
            writer.write(wire.head(400, {"content-length": "0", "connection": "close"}))
            self._log(f"not HTTP/1.1: {error}")
        finally:
            connection.closed_s = time.monotonic()
            writer.close()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    async def _answer(
        self,
        request: wire.Request,
        connection: Connection,
        more: asyncio.Task[bytes],
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer a request; whether the connection is kept."""
        if (request.method, request.path) == ("GET", "/v1/models"):
            writer.write(_json_answer(200, {"object": "list", "data": _models()}))
            return True
        try:
            asked = _asked(request)
            fault, number = find(asked.model)
        except ValueError as error:
            writer.write(_json_answer(404, {"error": {"message": str(error), "type": "invalid_request_error"}}))
            return True
        connection.requests += 1
        seen = Seen(asked.model, asked.is_stream, connection, connection.requests, time.monotonic(), request.headers)
        exchange = Exchange(asked, self._enter(asked.user, seen), seen.began_s, writer)
        play = exchange.healthy() if request.path == FOLLOWED else fault.play(exchange, number)
        await _play_to_the_end(play, exchange, seen, more)
        if exchange.ending == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._log(_line(asked, seen))
        return seen.completed and request.headers.get("connection", "").lower() != "close"

    def _enter(self, user: str, seen: Seen) -> list[Seen]:
        """Record a request; those of the same user to the same model before it."""
        if user not in self._seen and len(self._seen) >= _MOST_USERS:
            del self._seen[next(iter(self._seen))]
        requests = self._seen.setdefault(user, [])
        earlier = [request for request in requests if request.model == seen.model]
        requests.append(seen)
        return earlier


async def _play_to_the_end(
    play: Coroutine[Any, Any, None], exchange: Exchange, seen: Seen, more: asyncio.Task[bytes]
) -> None:
    """Answer, until the client leaves: `more` is then done, without a byte."""
    playing = asyncio.create_task(play)
    try:
        await asyncio.wait({playing, more}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done() and not _has_left(more):  # it has sent its next request already
            await asyncio.wait({playing})
        is_through = playing.done() and not await _broke(playing)
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    seen.ended_s = time.monotonic()
    seen.completed = is_through and exchange.ending == "keep"
    if not is_through:
        seen.closed_by_client_after_s = seen.ended_s - seen.began_s


async def _broke(playing: asyncio.Task[None]) -> bool:
    """Whether the client left amid a write."""
    try:
        await playing
    except ConnectionError:
        return True
    return False


def _has_left(more: asyncio.Task[bytes]) -> bool:
    return more.exception() is not None or not more.result()


def _asked(request: wire.Request) -> Asked:
    """Raises ValueError where it asks for nothing that is there."""
    if request.method != "POST" or request.path not in {_COMPLETIONS, FOLLOWED}:
        raise ValueError(f"There are POST {_COMPLETIONS} and GET /v1/models.")
    return asked_of(request.body)


def _models() -> list[dict[str, str]]:
    return [
        {"id": fault.name, "object": "model", "owned_by": "faults", "form": fault.form, "description": fault.does}
        for fault in FAULTS.values()
    ]


def _json_answer(status: int, value: object) -> bytes:
    body = json.dumps(value).encode()
    return wire.head(status, {"content-type": "application/json", "content-length": str(len(body))}) + body


def _line(asked: Asked, seen: Seen) -> str:
    """What became of a request; the user is left out, which may be a prompt."""
    kind = "stream" if asked.is_stream else "unary"
    if seen.closed_by_client_after_s is not None:
        return f"{asked.model} {kind}: the client left after {seen.closed_by_client_after_s:.3f} s"
    return f"{asked.model} {kind}: {'sent' if seen.completed else 'closed'}"
