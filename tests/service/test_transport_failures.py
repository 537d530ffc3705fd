import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import aiohttp
import pytest
import uvloop
from aiohttp.http_exceptions import HttpProcessingError
from msgspec.structs import replace

from service.errors import ConfigError, Malformed, Timeout, Unavailable
from service.providers.transport import Transport, UpstreamRequest
from service.providers.transport_http1 import Http1Transport
from service.providers.transport_policy import FAILURES, Failure, error_of, failure_of
from tests.service.transport_support import (
    CHUNKED,
    HEAD,
    LONG,
    LONG_BODY,
    READERS,
    SECRET,
    SHORT,
    Connection,
    Handler,
    Reader,
    Server,
    answering,
    answering_once,
    assert_safe,
    chunk,
    proxy_environment,
    read,
    request_to,
    stalling,
)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    opened = Http1Transport(LONG)
    yield opened
    await opened.aclose()


@pytest.fixture
async def hasty() -> AsyncIterator[Transport]:
    opened = Http1Transport(SHORT)
    yield opened
    await opened.aclose()


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
    consume: Reader,
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
def test_what_came_before_a_break_is_handed_out_first(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A provider that ends its last event and forgets the last chunk has answered."""

    async def main() -> None:
        transport = Http1Transport(LONG)
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


async def test_an_unknown_host_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_environment(monkeypatch, ""):
        monkeypatch.delenv("http_proxy")
        transport = Http1Transport(LONG)
    with pytest.raises(Unavailable, match="name can't be resolved") as caught:
        await read(transport, request_to(f"http://nowhere.invalid/v1/x?key={SECRET}"))
    assert_safe(caught.value)
    await transport.aclose()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:99999/", "/v1/x", "http://", "http://[", ""])
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


# The tables


def classes_of(module: object) -> set[type[Exception]]:
    named = vars(module).values()
    return {value for value in named if isinstance(value, type) and issubclass(value, Exception)}


def test_every_exception_of_aiohttp_is_sorted() -> None:
    """All but the one of a wrong use of websockets, and beside them what Python itself raises."""
    module = aiohttp.client_exceptions
    theirs = {each for each in classes_of(module) if each.__module__ == module.__name__}
    own = {HttpProcessingError, OSError, TimeoutError, ValueError, RuntimeError}
    assert (theirs - {aiohttp.WSMessageTypeError}) | own == set(FAILURES)


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_an_error(failure: Failure) -> None:
    assert str(error_of(failure, SHORT))


def test_an_exception_without_an_entry_counts_as_its_nearest_base() -> None:
    class NewError(aiohttp.SocketTimeoutError):
        pass

    assert failure_of(NewError()) is Failure.READ_TIMEOUT
