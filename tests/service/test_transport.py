import asyncio
import gzip
import re
import socket
import ssl
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self, get_args

import aiohttp
import pyreqwest.exceptions
import pytest
import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from service.errors import ConfigError, Malformed, Timeout, Unavailable
from service.providers import transport_aiohttp, transport_pyreqwest
from service.providers.transport import USER_AGENT, Timeouts, Transport, UpstreamRequest
from service.providers.transport_choice import TransportKind, open_transport
from service.providers.transport_policy import Failure, error_of, is_loopback
from service.providers.transport_proxies import Proxies

SHORT = Timeouts(connect_s=0.2, read_s=0.2, pool_s=0.2)
LONG = Timeouts(connect_s=5, read_s=30, pool_s=5)
SECRET = "sk-top-secret"  # a made-up key that no error may show
HEAD = b"HTTP/1.1 200 OK\r\n"
LONG_BODY = 40_000_000  # more than the kernel buffers
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

Handler = Callable[["Connection"], Awaitable[None]]


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


@pytest.fixture(params=get_args(TransportKind))
def kind(request: pytest.FixtureRequest) -> TransportKind:
    value: TransportKind = request.param
    return value


@pytest.fixture
async def transport(kind: TransportKind) -> AsyncIterator[Transport]:
    opened = open_transport(kind, LONG)
    yield opened
    await opened.aclose()


@pytest.fixture
async def hasty(kind: TransportKind) -> AsyncIterator[Transport]:
    opened = open_transport(kind, SHORT)
    yield opened
    await opened.aclose()


async def read(transport: Transport, request: UpstreamRequest, max_bytes: int = 1 << 20) -> bytes:
    async with transport.send(request) as response:
        return await response.read(max_bytes)


async def stream(transport: Transport, request: UpstreamRequest) -> bytes:
    async with transport.send(request) as response, aclosing(response.chunks()) as chunks:
        return b"".join([part async for part in chunks])


READERS = pytest.mark.parametrize("consume", [read, stream])


@contextmanager
def proxy_environment(monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        patch.setenv("http_proxy", url)
        yield


# What arrives


async def test_a_post_arrives_whole_and_its_answer_too(transport: Transport) -> None:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        return web.json_response({"a": 1}, status=429, headers={"retry-after": "3", "set-cookie": "a=b"})

    application = web.Application()
    application.router.add_post("/v1/x", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/x?key={SECRET}"
        for _ in range(2):
            async with transport.send(request_to(url)) as response:
                assert response.status == 429
                assert response.header("retry-after") == "3"
                assert response.header("content-type") == "application/json; charset=utf-8"
                assert response.header("x-none") is None
                assert await response.read(100) == b'{"a": 1}'
    finally:
        await runner.cleanup()
    for request in seen:
        assert request.query["key"] == SECRET
        assert await request.read() == request_to(url).body
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        assert request.headers["user-agent"] == USER_AGENT
        assert "gzip" in request.headers["accept-encoding"]
        assert "cookie" not in request.headers
        assert "referer" not in request.headers


def test_the_user_agent_has_the_version_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"{project['name']}/{project['version']}" == USER_AGENT


async def test_chunks_come_as_they_arrive(transport: Transport) -> None:
    """Also the head, which does not wait for the body's first byte."""
    go_on = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(CHUNKED)
        for number in range(5):
            await go_on.wait()
            go_on.clear()
            await connection.send(chunk(b"event %d" % number))
        await connection.send(b"0\r\n\r\n")
        await connection.until_closed()

    async with Server(handle) as server, transport.send(server.request()) as response:
        assert response.status == 200
        chunks = response.chunks()
        for number in range(5):
            go_on.set()
            assert await anext(chunks) == b"event %d" % number
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


@READERS
@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 6\r\n\r\nabcdef",
        CHUNKED + chunk(b"abc") + chunk(b"def") + b"0\r\n\r\n",
    ],
)
async def test_a_connection_is_used_again_after_a_full_read(
    transport: Transport, consume: Callable[[Transport, UpstreamRequest], Awaitable[bytes]], answer: bytes
) -> None:
    async with Server(answering(answer[:-4], answer[-4:])) as server:
        for _ in range(3):
            assert await consume(transport, server.request()) == b"abcdef"
        assert server.connections == 1


async def test_a_body_may_end_with_the_connection(transport: Transport) -> None:
    async with Server(answering_once(HEAD + b"\r\nabc")) as server:
        assert await read(transport, server.request()) == b"abc"


@READERS
async def test_gzip_is_decompressed(
    transport: Transport, consume: Callable[[Transport, UpstreamRequest], Awaitable[bytes]]
) -> None:
    body = gzip.compress(b"abc" * 100)
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with Server(answering(head + body)) as server:
        assert await consume(transport, server.request()) == b"abc" * 100


async def test_gzip_may_come_in_any_pieces(transport: Transport) -> None:
    body = gzip.compress(bytes(100_000) + b"abc")
    parts = [chunk(body[at : at + 1]) for at in range(len(body))]
    head = HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    async with Server(answering(head, *parts, b"0\r\n\r\n")) as server:
        assert await stream(transport, server.request()) == bytes(100_000) + b"abc"
        assert await read(transport, server.request()) == bytes(100_000) + b"abc"
        assert server.connections == 1


@pytest.mark.parametrize("kind", ["aiohttp"])
async def test_gzip_may_have_several_members(transport: Transport) -> None:
    """pyreqwest 0.15.1 takes one."""
    body = gzip.compress(b"abc") + gzip.compress(b"def")
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with Server(answering(head + body)) as server:
        assert await read(transport, server.request()) == b"abcdef"


async def test_what_comes_before_the_answer_is_passed_over(transport: Transport) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with Server(answering(early, early + HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        for _ in range(2):
            assert await read(transport, server.request()) == b"abc"
        assert server.connections == 1


async def test_a_redirect_is_an_answer_like_others(transport: Transport) -> None:
    answer = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with Server(answering(answer)) as server, transport.send(server.request()) as response:
        assert response.status == 302
        assert response.header("location") == "/elsewhere"
        assert await response.read(0) == b""


async def test_a_hundred_requests_at_once(transport: Transport) -> None:
    async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server, asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(transport, server.request())) for _ in range(100)]
        assert await asyncio.gather(*tasks) == [b"abc"] * 100


@pytest.mark.parametrize("kind", get_args(TransportKind))
def test_runs_on_uvloop(kind: TransportKind) -> None:
    async def main() -> None:
        transport = open_transport(kind, LONG)
        async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
            assert await read(transport, server.request()) == b"abc"
            assert await stream(transport, server.request()) == b"abc"
            assert server.connections == 1
        async with Server(stalling(CHUNKED + chunk(b"abc"))) as server:
            async with transport.send(server.request()) as response:
                await anext(response.chunks())
            await asyncio.wait_for(server.ended.wait(), 1)
        await transport.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# Leaving early


@pytest.mark.parametrize("body", [b"", chunk(b"abc"), chunk(b"x" * 1000) * 1000])
async def test_leaving_early_closes_the_connection(transport: Transport, body: bytes) -> None:
    async with Server(stalling(CHUNKED + body)) as server:
        async with transport.send(server.request()) as response:
            if body:
                async with aclosing(response.chunks()) as chunks:
                    async for _ in chunks:
                        break
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_leaving_by_an_exception_closes_the_connection(transport: Transport) -> None:
    async with Server(stalling(CHUNKED + chunk(b"abc"))) as server:

        async def run() -> None:
            async with transport.send(server.request()) as response, aclosing(response.chunks()) as chunks:
                await anext(chunks)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run()
        await asyncio.wait_for(server.ended.wait(), 1)


@READERS
@pytest.mark.parametrize("body", [b"", chunk(b"abc")])
async def test_cancelling_closes_the_connection(
    transport: Transport, consume: Callable[[Transport, UpstreamRequest], Awaitable[bytes]], body: bytes
) -> None:
    """Whether the body has begun or only the head was sent."""
    async with Server(stalling(CHUNKED + body)) as server:
        entered = asyncio.Event()

        async def run() -> None:
            async with transport.send(server.request()) as response:
                entered.set()
                async with aclosing(response.chunks()) as chunks:
                    _ = await response.read(100) if consume is read else [part async for part in chunks]

        task = asyncio.create_task(run())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_cancelling_before_the_head_closes_the_connection(
    kind: TransportKind, request: pytest.FixtureRequest
) -> None:
    """pyreqwest 0.15.1 closes it only with the head or after `read_s`: no call of it ends a pending request."""
    if kind == "pyreqwest":
        request.applymarker(pytest.mark.xfail(strict=True, raises=TimeoutError, reason="a limit of pyreqwest 0.15.1"))
    transport = open_transport(kind, Timeouts(connect_s=5, read_s=2, pool_s=5))
    arrived = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.until_closed()

    async with Server(handle) as server:
        task = asyncio.create_task(read(transport, server.request()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        try:
            await asyncio.wait_for(server.ended.wait(), 1)
        finally:
            await asyncio.wait_for(server.ended.wait(), 5)  # the bound that holds for both
            await transport.aclose()


async def test_cancelling_while_a_request_is_written_sends_no_more_of_it(
    kind: TransportKind, request: pytest.FixtureRequest
) -> None:
    if kind == "pyreqwest":
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason="a limit of pyreqwest 0.15.1"))
    transport = open_transport(kind, Timeouts(read_s=2))
    arrived, go_on = asyncio.Event(), asyncio.Event()
    received: list[bytes] = []

    async def handle(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await go_on.wait()
        while data := await connection.reader.read(1 << 20):
            received.append(data)

    async with Server(handle) as server:
        long = replace(server.request(), body=b"x" * LONG_BODY)
        task = asyncio.create_task(read(transport, long))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.wait_for(server.ended.wait(), 5)
    await transport.aclose()
    assert sum(map(len, received)) < LONG_BODY


async def test_a_request_cancelled_before_the_head_is_closed_when_the_body_begins(transport: Transport) -> None:
    """What is left of it ends as soon as the provider answers, long before the body's end."""
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await answer.wait()
        await connection.send(CHUNKED + chunk(b"abc"))
        await connection.until_closed()

    async with Server(handle) as server:
        task = asyncio.create_task(read(transport, server.request()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer.set()
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_aclose_closes_kept_connections_and_refuses_requests(kind: TransportKind) -> None:
    async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        transport = open_transport(kind, LONG)
        assert await read(transport, server.request()) == b"abc"
        assert not server.ended.is_set()
        await transport.aclose()
        with pytest.raises(Unavailable, match="closed by this service"):
            await read(transport, server.request())
        del transport
        await asyncio.wait_for(server.ended.wait(), 1)


@READERS
@pytest.mark.parametrize("sent", [b"", CHUNKED, CHUNKED + chunk(b"abc")])
@pytest.mark.parametrize("kind", ["aiohttp"])
async def test_aclose_ends_requests_under_way(
    kind: TransportKind, consume: Callable[[Transport, UpstreamRequest], Awaitable[bytes]], sent: bytes
) -> None:
    """pyreqwest 0.15.1 lets them go on."""
    transport = open_transport(kind, LONG)
    arrived = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(sent)
        arrived.set()
        await connection.until_closed()

    async with Server(handle) as server:
        task = asyncio.ensure_future(consume(transport, server.request()))
        await arrived.wait()
        await asyncio.sleep(0.05)  # for the answer to get through
        await transport.aclose()
        with pytest.raises(Unavailable, match="closed by this service"):
            await asyncio.wait_for(task, 2)
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_aclose_ends_a_request_that_waits_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyreqwest looks names up out of Python's reach."""
    asked = asyncio.Event()

    async def look_up(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with proxy_environment(monkeypatch, ""):
        transport = open_transport("aiohttp", LONG)
    task = asyncio.create_task(read(transport, request_to("http://nowhere.invalid/")))
    await asked.wait()
    await transport.aclose()
    with pytest.raises(Unavailable, match="closed by this service"):
        await task


# What goes wrong

CUT_GZIP = gzip.compress(b"abc" * 1000)[:-12]
GOES_WRONG: list[tuple[str, Handler, type[Exception], str]] = [
    ("closes before the head", answering_once(b""), Unavailable, "broke"),
    ("resets before the head", answering_once(b"", abort=True), Unavailable, "broke"),
    ("closes within the head", answering_once(HEAD), Unavailable, "broke"),
    ("stalls before the head", stalling(b""), Timeout, "sent nothing for 0.2 s"),
    ("stalls after the head", stalling(CHUNKED), Timeout, "sent nothing for 0.2 s"),
    ("stalls within the body", stalling(CHUNKED + chunk(b"abc")), Timeout, "sent nothing for 0.2 s"),
    ("cuts between chunks", answering_once(CHUNKED + chunk(b"abc")), Unavailable, "broke"),
    ("cuts within a chunk", answering_once(CHUNKED + b"ff\r\nabc"), Unavailable, "broke"),
    ("cuts a body of known length", answering_once(HEAD + b"content-length: 9\r\n\r\nabc"), Unavailable, "broke"),
    ("resets within the body", answering_once(CHUNKED + chunk(b"abc"), abort=True), Unavailable, "broke"),
    ("speaks no HTTP", answering_once(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Malformed, "rules of HTTP"),
    ("sends a broken chunk", answering_once(CHUNKED + b"zz\r\nabc\r\n"), Malformed, "rules of HTTP"),
    ("breaks a later chunk", answering_once(CHUNKED + chunk(b"abc") + b"zz\r\n"), Malformed, "rules of HTTP"),
    (
        "sends a head without end",
        answering_once(HEAD + b"x-long: " + b"x" * 1_000_000 + b"\r\n\r\n"),
        Malformed,
        "rules of HTTP",
    ),
    (
        "sends what is no gzip",
        answering_once(HEAD + b"content-encoding: gzip\r\ncontent-length: 10\r\n\r\n0123456789"),
        Malformed,
        "can't be decompressed",
    ),
    (
        "cuts its gzip",
        answering_once(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(CUT_GZIP) + CUT_GZIP),
        Malformed,
        "can't be decompressed",
    ),
]


@READERS
@pytest.mark.parametrize(("handler", "error", "says"), [row[1:] for row in GOES_WRONG], ids=[r[0] for r in GOES_WRONG])
async def test_what_a_server_does_wrong_is_told(
    hasty: Transport,
    consume: Callable[[Transport, UpstreamRequest], Awaitable[bytes]],
    handler: Handler,
    error: type[Exception],
    says: str,
) -> None:
    async with Server(handler) as server:
        with pytest.raises(error, match=says) as caught:
            await consume(hasty, server.request())
        assert server.connections == 1, "tried again by itself"
        await asyncio.wait_for(server.ended.wait(), 1)
    assert_safe(caught.value)


def assert_safe(error: BaseException) -> None:
    shown = [str(error), repr(error), *map(str, vars(error).values())]
    assert not any(SECRET in text or "127.0.0.1" in text or "/v1/x" in text for text in shown), shown
    assert error.__suppress_context__


async def breaking_a_chunk(connection: Connection, go_on: asyncio.Event) -> None:
    await connection.send(CHUNKED + chunk(b"abc"))
    await go_on.wait()
    await connection.send(b"zz\r\n")


async def cutting(connection: Connection, go_on: asyncio.Event) -> None:
    await connection.send(CHUNKED + chunk(b"abc"))
    await go_on.wait()


async def resetting(connection: Connection, go_on: asyncio.Event) -> None:
    await cutting(connection, go_on)
    connection.writer.transport.abort()


@pytest.mark.parametrize(
    ("end", "error"), [(breaking_a_chunk, Malformed), (cutting, Unavailable), (resetting, Unavailable)]
)
async def test_a_body_that_ends_badly_while_it_is_waited_for(
    transport: Transport, end: Callable[[Connection, asyncio.Event], Awaitable[None]], error: type[Exception]
) -> None:
    go_on = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await end(connection, go_on)

    async with Server(handle) as server, transport.send(server.request()) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"abc"
        more = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(error) as caught:
            await asyncio.wait_for(more, 2)
    assert_safe(caught.value)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_came_before_a_break_is_handed_out_first(
    kind: TransportKind, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A provider that ends its last event and forgets the last chunk has answered."""

    async def main() -> None:
        transport = open_transport(kind, LONG)
        async with (
            Server(answering_once(CHUNKED + chunk(b"abc"))) as server,
            transport.send(server.request()) as response,
            aclosing(response.chunks()) as chunks,
        ):
            await server.ended.wait()
            await asyncio.sleep(0.05)  # for the break to get through
            assert await anext(chunks) == b"abc"
            with pytest.raises(Unavailable, match="broke"):
                await anext(chunks)
        await transport.aclose()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_a_request_that_is_not_taken_in_is_a_timeout(hasty: Transport) -> None:
    release = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await release.wait()

    async with Server(handle) as server:
        with pytest.raises(Timeout) as caught:
            await asyncio.wait_for(read(hasty, replace(server.request(), body=b"x" * LONG_BODY)), 5)
        release.set()
    assert_safe(caught.value)


async def test_a_reader_that_stops_stops_the_provider(transport: Transport) -> None:
    """But for what the kernel's buffers take."""
    sent = 0

    async def handle(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(CHUNKED)
        while True:
            await connection.send(chunk(b"x" * 10_000))
            sent += 10_000

    async with Server(handle) as server:
        async with transport.send(server.request()) as response, aclosing(response.chunks()) as chunks:
            await anext(chunks)
            before = -1
            while sent > before:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 32_000_000
            if isinstance(response, transport_aiohttp._Exchange):
                assert response._response.content._size < 1_000_000
        await asyncio.wait_for(server.ended.wait(), 1)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_body_may_be_as_long_as_allowed_and_no_longer(
    transport: Transport, *, announced: bool, size: int
) -> None:
    body = b"x" * size
    answer = HEAD + b"content-length: %d\r\n\r\n" % size + body if announced else CHUNKED + chunk(body) + b"0\r\n\r\n"
    async with Server(answering(answer)) as server:
        assert await read(transport, server.request(), size) == body
        assert await read(transport, server.request(), size + 1) == body
        assert server.connections == 1
        with pytest.raises(Malformed, match=f"longer than {size - 1} bytes"):
            await read(transport, server.request(), size - 1)


@pytest.mark.parametrize("head", [HEAD + b"content-length: 1000000000\r\n\r\n", CHUNKED + b"%x\r\n" % 1_000_000_000])
async def test_a_body_that_is_too_long_is_not_waited_for(transport: Transport, head: bytes) -> None:
    async with Server(stalling(head + b"x" * 100_001)) as server:
        with pytest.raises(Malformed, match="longer than 100000 bytes"):
            await read(transport, server.request(), 100_000)
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_the_bound_counts_decompressed_bytes(transport: Transport) -> None:
    body = gzip.compress(b"x" * 1_000_000)
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with Server(answering(head + body)) as server:
        with pytest.raises(Malformed, match="longer than 100000 bytes"):
            await read(transport, server.request(), 100_000)


async def test_a_refused_connection_is_unavailable(transport: Transport) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, not listening: the port is nobody else's
        with pytest.raises(Unavailable, match="refused the connection") as caught:
            await read(transport, request_to(f"http://127.0.0.1:{unheard.getsockname()[1]}/v1/x?key={SECRET}"))
    assert_safe(caught.value)


async def test_an_unknown_host_is_unavailable(kind: TransportKind, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_environment(monkeypatch, ""):
        monkeypatch.delenv("http_proxy")
        transport = open_transport(kind, LONG)
    with pytest.raises(Unavailable, match="name can't be resolved") as caught:
        await read(transport, request_to(f"http://nowhere.invalid/v1/x?key={SECRET}"))
    assert_safe(caught.value)
    await transport.aclose()


async def test_a_tls_handshake_that_stalls_is_a_connect_timeout(kind: TransportKind) -> None:
    transport = open_transport(kind, Timeouts(connect_s=0.2, read_s=30, pool_s=30))

    async def silent(connection: Connection) -> None:
        await connection.until_closed()

    async with Server(silent) as server:
        with pytest.raises(Timeout, match=r"no connection to the provider within 0\.2 s") as caught:
            await read(transport, server.request("https"))
    assert_safe(caught.value)
    await transport.aclose()


async def test_a_full_pool_is_a_timeout(kind: TransportKind) -> None:
    transport = open_transport(kind, Timeouts(connect_s=5, read_s=30, pool_s=0.2), max_connections=1)
    async with Server(stalling(CHUNKED + chunk(b"abc"))) as server:
        async with transport.send(server.request()) as response, aclosing(response.chunks()) as chunks:
            await anext(chunks)
            with pytest.raises(Timeout, match=r"became free within 0\.2 s") as caught:
                await read(transport, server.request())
        async with transport.send(server.request()) as response:
            assert response.status == 200
    assert_safe(caught.value)
    await transport.aclose()


async def test_a_kept_connection_that_the_server_closed_is_not_used(transport: Transport) -> None:
    async with Server(answering_once(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        for _ in range(3):
            assert await read(transport, server.request()) == b"abc"
            await asyncio.wait_for(server.ended.wait(), 1)
            await asyncio.gather(*server.tasks)
        assert server.connections == 3


async def test_an_answer_that_nobody_asked_for_is_nobodys(transport: Transport) -> None:
    """Such as a 408 for the request that did not come in time."""
    go_on = asyncio.Event()

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + b"content-length: 3\r\n\r\nabc")
        if connection.number == 1:
            await go_on.wait()
            await connection.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 3\r\n\r\nold")
        await connection.until_closed()

    async with Server(handle) as server:
        assert await read(transport, server.request()) == b"abc"
        go_on.set()
        await asyncio.sleep(0.1)
        assert await read(transport, server.request()) == b"abc"
        assert server.connections == 2


async def test_a_request_lost_on_a_kept_connection_is_not_sent_again(transport: Transport) -> None:
    """The server may have worked on it: only the caller knows whether to try again."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + b"content-length: 3\r\n\r\nabc")
        await connection.request()

    async with Server(handle) as server:
        assert await read(transport, server.request()) == b"abc"
        with pytest.raises(Unavailable, match="broke"):
            await read(transport, server.request())
        assert server.connections == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:99999/", "/v1/x", "http://", ""])
async def test_a_url_that_can_not_be_asked_is_the_operators_fault(transport: Transport, url: str) -> None:
    with pytest.raises(ConfigError, match="can't be sent") as caught:
        await read(transport, request_to(f"{url}?key={SECRET}"))
    assert_safe(caught.value)


@pytest.mark.parametrize("value", [f"Bearer {SECRET}\r\nx: y", f"{SECRET}\0", f"{SECRET}\ud800"])
async def test_a_header_that_can_not_be_sent_is_the_operators_fault(transport: Transport, value: str) -> None:
    async with Server(answering(HEAD + b"content-length: 0\r\n\r\n")) as server:
        request = UpstreamRequest(server.request().url, b"", {"authorization": value})
        with pytest.raises(ConfigError, match="can't be sent") as caught:
            await read(transport, request)
    assert_safe(caught.value)


# TLS and proxies


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def unsigned(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named("parley test authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1, and the file to trust it by."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    authority = unsigned("parley test authority", authority_key).add_extension(constraints, critical=True)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = unsigned("parley test", key).add_extension(alternative, critical=False)
    pem, chain = folder / "ca.pem", folder / "server.pem"
    encoding = serialization.Encoding.PEM
    pem.write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(encoding))
    chain.write_bytes(
        leaf.sign(authority_key, hashes.SHA256()).public_bytes(encoding)
        + key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return context, pem


async def test_trusts_the_certificates_of_ca_file_and_no_others(kind: TransportKind, tmp_path: Path) -> None:
    context, pem = certificate(tmp_path)
    async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc"), context) as server:
        strict = open_transport(kind, LONG)
        with pytest.raises(Unavailable, match="TLS") as caught:
            await read(strict, server.request("https"))
        assert_safe(caught.value)
        await strict.aclose()
        trusting = open_transport(kind, LONG, ca_file=pem)
        assert await read(trusting, server.request("https")) == b"abc"
        await trusting.aclose()


async def test_plain_http_where_tls_is_expected_is_told(transport: Transport) -> None:
    async def handle(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await connection.until_closed()

    async with Server(handle) as server:
        with pytest.raises(Unavailable, match="TLS") as caught:
            await read(transport, server.request("https"))
    assert_safe(caught.value)


async def test_cancelling_closes_a_tls_connection(kind: TransportKind, tmp_path: Path) -> None:
    context, pem = certificate(tmp_path)
    transport = open_transport(kind, LONG, ca_file=pem)
    async with Server(stalling(CHUNKED + chunk(b"abc")), context) as server:
        async with transport.send(server.request("https")) as response, aclosing(response.chunks()) as chunks:
            assert await anext(chunks) == b"abc"
        await asyncio.wait_for(server.ended.wait(), 1)
    await transport.aclose()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_slow_reader_gets_all_of_a_body_over_tls(
    kind: TransportKind, tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Also where the provider closes when it has sent the answer.

    On uvloop 0.23, a connection whose reading is paused loses what came with its end: hence no more
    than aiohttp's connections take in without a pause.
    """

    async def main() -> None:
        context, pem = certificate(tmp_path)
        transport = open_transport(kind, LONG, ca_file=pem)
        answer = CHUNKED + chunk(b"x" * 5000) * 50 + b"0\r\n\r\n"
        async with (
            Server(answering_once(answer), context) as server,
            transport.send(server.request("https")) as response,
            aclosing(response.chunks()) as chunks,
        ):
            length = 0
            async for part in chunks:
                length += len(part)
                await asyncio.sleep(0.01)
            assert length == 250_000
        await transport.aclose()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_unusable_ca_file_is_a_config_error(kind: TransportKind, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="ca_file"):
        open_transport(kind, LONG, ca_file=file)


async def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(
    kind: TransportKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy_answer = answering(HEAD + b"content-length: 5\r\n\r\nproxy")
    async with Server(proxy_answer) as proxy, Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        with proxy_environment(monkeypatch, f"http://127.0.0.1:{proxy.port}"):
            transport = open_transport(kind, LONG)
            assert await read(transport, server.request()) == b"abc"
            assert await read(transport, request_to(f"http://localhost:{server.port}/")) == b"abc"
            assert await read(transport, request_to("http://nowhere.invalid/")) == b"proxy"
            await transport.aclose()


async def test_a_proxy_that_opens_no_tunnel_is_told(kind: TransportKind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def refuse(connection: Connection) -> None:
        asked.append(await connection.request())
        await connection.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    async with Server(refuse) as proxy:
        with proxy_environment(monkeypatch, ""):
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
            transport = open_transport(kind, LONG)
        with pytest.raises(Unavailable, match="no connection to the provider") as caught:
            await read(transport, request_to("https://nowhere.invalid/"))
        await transport.aclose()
    assert asked[0].startswith(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\n")
    assert re.search(rb"proxy-authorization: Basic ", asked[0], re.IGNORECASE)
    assert b"Bearer" not in asked[0]
    assert_safe(caught.value)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://a.example/", None),
        ({"http_proxy": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "https://u:w@p:1"}, "https://a.example/", "https://u:w@p:1"),
        ({"https_proxy": "p:1"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://localhost/", None),
        ({"ALL_PROXY": "http://p:1"}, "https://[::1]:8/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://a.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "b, .Example"}, "https://A.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:443"}, "https://a.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:444"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,fd00::/8"}, "https://10.2.3.4/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,fd00::/8"}, "https://[fd00::1]/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://11.2.3.4/", "http://p:1"),
    ],
)
def test_the_environment_names_proxies(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    with proxy_environment(monkeypatch, ""):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found = Proxies().proxy_for(URL(url))
    assert found == (None if proxy is None else URL(proxy))


@pytest.mark.parametrize("proxy", ["socks5://p:1", "http://", "http://p:99999"])
async def test_a_proxy_that_can_not_be_used_is_a_config_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Asking the provider without it might be what the network's owner forbids."""
    with proxy_environment(monkeypatch, proxy):
        transport = open_transport("aiohttp", LONG)
    with pytest.raises(ConfigError, match="HTTP_PROXY"):
        await read(transport, request_to("http://nowhere.invalid/"))
    await transport.aclose()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("[::1]:80", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("example.com", False),
        ("127.0.0.1@example.com", False),
        ("[", False),
    ],
)
def test_loopback_is_told_by_the_host_alone(host: str, *, loopback: bool) -> None:
    assert is_loopback(f"http://{host}/127.0.0.1?localhost") is loopback


# The tables


def classes_of(module: object) -> set[type[Exception]]:
    named = vars(module).values()
    return {value for value in named if isinstance(value, type) and issubclass(value, Exception)}


def test_every_exception_of_pyreqwest_is_sorted() -> None:
    """A new one after an upgrade needs a place in the table."""
    theirs = {each for each in classes_of(pyreqwest.exceptions) if each.__module__ == "pyreqwest.exceptions"}
    assert theirs == set(transport_pyreqwest.FAILURES)


def test_every_exception_of_aiohttp_is_sorted() -> None:
    """All but the one of a wrong use of websockets, and beside them what Python itself raises."""
    module = aiohttp.client_exceptions
    theirs = {each for each in classes_of(module) if each.__module__ == module.__name__}
    own = {HttpProcessingError, OSError, TimeoutError, ValueError, RuntimeError}
    assert (theirs - {aiohttp.WSMessageTypeError}) | own == set(transport_aiohttp.FAILURES)


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_an_error(failure: Failure) -> None:
    assert str(error_of(failure, SHORT))


def test_an_exception_without_an_entry_counts_as_its_nearest_base() -> None:
    class NewError(pyreqwest.exceptions.ReadTimeoutError):
        pass

    class NewAiohttpError(aiohttp.SocketTimeoutError):
        pass

    assert transport_pyreqwest.failure_of(NewError("", {"causes": None})) is Failure.READ_TIMEOUT
    assert transport_aiohttp.failure_of(NewAiohttpError()) is Failure.READ_TIMEOUT


def missing(monkeypatch: pytest.MonkeyPatch, name: str) -> AbstractContextManager[pytest.MonkeyPatch]:
    """Make an import of the package fail, as where it is not installed."""
    import sys  # noqa: PLC0415 - for this alone

    for module in list(sys.modules):
        if module in {f"service.providers.transport_{name}", name} or module.startswith(f"{name}."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Missing(name), *sys.meta_path])
    return monkeypatch.context()


class Missing:
    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_missing_client_is_a_config_error(kind: TransportKind, monkeypatch: pytest.MonkeyPatch) -> None:
    with missing(monkeypatch, kind), pytest.raises(ConfigError, match=f"pip install {kind}"):
        open_transport(kind, LONG)
