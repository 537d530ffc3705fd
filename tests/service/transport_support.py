"""A scripted HTTP server for the tests of the transport, and what they share."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Self

import pytest

from service.providers.transport import Timeouts, Transport, UpstreamRequest

SHORT = Timeouts(connect_s=0.2, read_s=0.2)
LONG = Timeouts(connect_s=5, read_s=30)
SECRET = "sk-top-secret"  # a made-up key that no error may show
HEAD = b"HTTP/1.1 200 OK\r\n"
LONG_BODY = 40_000_000  # more than the kernel buffers
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

Handler = Callable[["Connection"], Awaitable[None]]
Reader = Callable[[Transport, UpstreamRequest], Awaitable[bytes]]


class Connection:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader, self.writer, self.number = reader, writer, number

    async def request(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        if length := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
            return head + await self.reader.readexactly(int(length[1]))
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self) -> None:
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Server:
    """A scripted server on loopback; each connection runs the handler once."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None) -> None:
        self.handler, self.context = handler, context
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.ended = asyncio.Event()
        """A handler ended: with `until_closed` as its last step, the client has closed."""

    async def __aenter__(self) -> Self:
        self.listener = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.context)
        return self

    async def __aexit__(self, *args: object) -> None:
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self.run(Connection(reader, writer, self.connections)))
        self.tasks.add(task)

    async def run(self, connection: Connection) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.handler(connection)
        finally:
            self.ended.set()
            connection.writer.close()

    @property
    def port(self) -> int:
        port: int = self.listener.sockets[0].getsockname()[1]
        return port

    def request(self, scheme: str = "http") -> UpstreamRequest:
        return request_to(f"{scheme}://127.0.0.1:{self.port}/v1/x?key={SECRET}")


def request_to(url: str) -> UpstreamRequest:
    headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
    return UpstreamRequest(url, f'{{"secret":"{SECRET}"}}'.encode(), headers)


def answering(*parts: bytes) -> Handler:
    """Answers every request of a connection with the parts, one write each."""

    async def handle(connection: Connection) -> None:
        while True:
            await connection.request()
            for part in parts:
                await connection.send(part)

    return handle


def answering_once(data: bytes, *, abort: bool = False) -> Handler:
    """Answers one request, then closes."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        if data:
            await connection.send(data)
        if abort:
            connection.writer.transport.abort()

    return handle


def stalling(data: bytes) -> Handler:
    """Answers one request with the data and no more, until the client closes."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        if data:
            await connection.send(data)
        await connection.until_closed()

    return handle


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def read(transport: Transport, request: UpstreamRequest, max_bytes: int = 1 << 20) -> bytes:
    async with transport.send(request) as response:
        return await response.read(max_bytes)


async def stream(transport: Transport, request: UpstreamRequest) -> bytes:
    async with transport.send(request) as response, aclosing(response.chunks()) as chunks:
        return b"".join([part async for part in chunks])


READERS = pytest.mark.parametrize("consume", [read, stream])


def assert_safe(error: BaseException) -> None:
    shown = [str(error), repr(error), *map(str, vars(error).values())]
    assert not any(SECRET in text or "127.0.0.1" in text or "/v1/x" in text for text in shown), shown
    assert error.__suppress_context__


@contextmanager
def proxy_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        patch.setenv("http_proxy", url)
        yield
