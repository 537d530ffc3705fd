"""What a connection makes of unusual answers, and when it is used again."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
import uvloop
from msgspec.structs import replace

from service.errors import Malformed, Unavailable
from service.providers import transport_connection
from service.providers.transport import Timeouts, Transport, UpstreamRequest
from service.providers.transport_http1 import Http1Transport
from tests.service.transport_support import (
    CHUNKED,
    HEAD,
    LONG,
    LONG_BODY,
    READERS,
    Connection,
    Reader,
    Server,
    answering,
    answering_once,
    chunk,
    read,
    request_to,
    stalling,
    stream,
)

ABC = b"content-length: 3\r\n\r\nabc"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    opened = Http1Transport(LONG)
    yield opened
    await opened.aclose()


def on_each_loop(main: Callable[[], Awaitable[None]]) -> None:
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_bounded(main()))


async def _bounded(main: Awaitable[None]) -> None:
    await asyncio.wait_for(main, 30)


# Unusual answers

KEPT: list[tuple[str, bytes, bytes]] = [
    ("length", HEAD + ABC, b"abc"),
    ("no body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("304 with the length of what it leaves out", b"HTTP/1.1 304 x\r\ncontent-length: 3\r\n\r\n", b""),
    ("HTTP/1.0 that keeps", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n" + ABC, b"abc"),
    ("other case", HEAD + b"CONTENT-Length: 3\r\nConnection: Keep-Alive\r\n\r\nabc", b"abc"),
    ("100", b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + ABC, b"abc"),
    ("offers HTTP/2", HEAD + b"connection: upgrade\r\nupgrade: h2,h2c\r\n" + ABC, b"abc"),
    ("folded header", HEAD + b"x-a: b\r\n c\r\n" + ABC, b"abc"),
    ("line feeds alone", (HEAD + ABC).replace(b"\r\n", b"\n"), b"abc"),
    ("no reason", b"HTTP/1.1 200\r\n" + ABC, b"abc"),
    ("trailers", CHUNKED + chunk(b"abc") + b"0\r\nx-a: b\r\nx-c: d\r\n\r\n", b"abc"),
    ("chunk extensions", CHUNKED + b'3;a="b"\r\nabc\r\n0;c\r\n\r\n', b"abc"),
    ("blanks behind a size", CHUNKED + b"3  \r\nabc\r\n0\r\n\r\n", b"abc"),
]
CLOSED: list[tuple[str, bytes, bytes]] = [
    ("close", HEAD + b"connection: close\r\n" + ABC, b"abc"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + ABC, b"abc"),
    ("another protocol", b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\njunk", b""),
    ("junk behind it", HEAD + ABC + b"junk", b"abc"),
    ("another answer behind it", HEAD + ABC + HEAD + ABC, b"abc"),
    ("the begin of another behind it", HEAD + ABC + b"HTTP/1.1 2", b"abc"),
    ("junk behind the last", HEAD + b"connection: close\r\n" + ABC + b"junk", b"abc"),
]


@READERS
@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(("answer", "body"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
async def test_after_these_answers_the_connection_is_used_again(
    transport: Transport, consume: Reader, answer: bytes, body: bytes, size: int
) -> None:
    parts = [answer[at : at + size] for at in range(0, len(answer), size)]
    async with Server(answering(*parts)) as server:
        for _ in range(3):
            assert await consume(transport, server.request()) == body
        assert server.connections == 1


@READERS
@pytest.mark.parametrize(("answer", "body"), [row[1:] for row in CLOSED], ids=[row[0] for row in CLOSED])
async def test_after_these_answers_the_connection_is_closed(
    transport: Transport, consume: Reader, answer: bytes, body: bytes
) -> None:
    async with Server(stalling(answer)) as server:
        for number in (1, 2):
            assert await consume(transport, server.request()) == body
            await asyncio.wait_for(server.ended.wait(), 5)
            server.ended.clear()
            assert server.connections == number


@READERS
@pytest.mark.parametrize("coding", [b"", b"connection: close\r\n", b"transfer-encoding: identity\r\n"])
async def test_a_body_without_a_length_ends_with_the_connection_but_not_with_a_reset(
    transport: Transport, consume: Reader, coding: bytes
) -> None:
    async with Server(answering_once(HEAD + coding + b"\r\nabc")) as server:
        assert await consume(transport, server.request()) == b"abc"

    async def reset(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + coding + b"\r\nabc")
        linger = b"\1\0\0\0\0\0\0\0"
        connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with Server(reset) as server:
        with pytest.raises(Unavailable, match="broke"):
            await consume(transport, server.request())


async def test_a_header_is_told_without_the_blanks_around_it_and_the_first_of_several(transport: Transport) -> None:
    answer = HEAD + b"X-A:  b c\t \r\nx-a: d\r\nx-e: \xe9\r\ncontent-length: 0\r\n\r\n"
    async with Server(answering(answer)) as server, transport.send(server.request()) as response:
        assert response.header("x-a") == "b c"
        assert response.header("x-e") == "\udce9"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (HEAD, b"x-a: b\r\n"),
        (CHUNKED + b"0\r\n", b"x-a: b\r\n"),
        (CHUNKED + b"3;", b"a"),
    ],
    ids=["interim answers", "headers", "trailers", "a chunk's extension"],
)
async def test_an_answer_that_brings_nothing_without_end_is_given_up(
    transport: Transport, begin: bytes, more: bytes
) -> None:
    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.send(begin)
        while True:
            await connection.send(more * 1000)

    async with Server(handle) as server:
        with pytest.raises(Malformed, match="rules of HTTP"):
            await asyncio.wait_for(read(transport, server.request()), 10)
        await asyncio.wait_for(server.ended.wait(), 5)


# Large bodies


@pytest.mark.parametrize("size", [65_000, 66_000, 5_000_000])
def test_a_long_request_arrives_whole(size: int) -> None:
    body = bytes(range(250)) * (size // 250)

    async def handle(connection: Connection) -> None:
        for _ in range(2):
            whole = await connection.request()
            is_whole = whole.endswith(b"\r\n\r\n" + body)
            await connection.send(HEAD + b"content-length: 5\r\n\r\n%-5s" % str(is_whole).encode())

    async def main() -> None:
        transport = Http1Transport(LONG)
        async with Server(handle) as server:
            for _ in range(2):
                assert await read(transport, replace(server.request(), body=body)) == b"True "
            assert server.connections == 1
            await transport.aclose()

    on_each_loop(main)


def test_an_answer_may_come_before_the_request_is_sent() -> None:
    """Such as a 413; the connection is closed then, for what is left of the request is in its way."""

    async def handle(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nabc")
        await asyncio.Event().wait()

    async def main() -> None:
        transport = Http1Transport(LONG)
        async with Server(handle) as server:
            request = replace(server.request(), body=b"x" * LONG_BODY)
            for _ in range(2):
                async with transport.send(request) as response:
                    assert response.status == 413
                    assert await response.read(3) == b"abc"
            assert server.connections == 2
            await transport.aclose()

    on_each_loop(main)


def test_a_slow_reader_gets_all_of_a_long_body_and_no_timeout() -> None:
    """It is the reader that is slow: nothing is amiss with the provider."""
    answer = HEAD + b"content-length: 3000000\r\n\r\n" + b"x" * 3_000_000

    async def main() -> None:
        transport = Http1Transport(Timeouts(connect_s=5, read_s=0.5))
        async with Server(answering(answer)) as server:
            for _ in range(2):
                length = 0
                async with transport.send(server.request()) as response, aclosing(response.chunks()) as chunks:
                    await anext(chunks)
                    await asyncio.sleep(0.7)  # longer than the provider may take
                    length = 3_000_000 - len(await response.read(3_000_000))
                assert length < 1_000_000
            assert server.connections == 1
            await transport.aclose()

    on_each_loop(main)


# When it is used again


async def test_an_unused_connection_is_closed_after_a_while(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_connection, "_IDLE_S", 0.1)
    async with Server(stalling(HEAD + ABC)) as server:
        assert await read(transport, server.request()) == b"abc"
        await asyncio.wait_for(server.ended.wait(), 5)


async def test_the_connection_used_last_is_taken_first(transport: Transport) -> None:
    seen: list[int] = []
    both = asyncio.Barrier(2)

    async def handle(connection: Connection) -> None:
        await connection.request()
        await both.wait()
        await connection.send(HEAD + ABC)
        while True:
            await connection.request()
            seen.append(connection.number)
            await connection.send(HEAD + ABC)

    async with Server(handle) as server:
        await asyncio.gather(*[read(transport, server.request()) for _ in range(2)])
        for _ in range(4):
            assert await read(transport, server.request()) == b"abc"
        assert server.connections == 2
        assert len(set(seen)) == 1


async def test_origins_do_not_share_connections_and_paths_do(transport: Transport) -> None:
    async with Server(answering(HEAD + ABC)) as first, Server(answering(HEAD + ABC)) as second:
        for path in ("/a", "/b?c=d"):
            for server in (first, second):
                assert await read(transport, request_to(f"http://127.0.0.1:{server.port}{path}")) == b"abc"
        assert (first.connections, second.connections) == (1, 1)


async def test_what_was_left_behind_reads_nothing_of_the_next_answer(transport: Transport) -> None:
    async with Server(answering(HEAD + ABC)) as server:
        async with transport.send(server.request()) as response:
            await response.read(3)
        assert await read(transport, server.request()) == b"abc"
        assert [part async for part in response.chunks()] == []


# What is sent


async def test_the_head_has_the_host_the_length_and_each_header_once(transport: Transport) -> None:
    seen: list[bytes] = []

    async def handle(connection: Connection) -> None:
        while True:
            seen.append(await connection.request())
            await connection.send(HEAD + ABC)

    async with Server(handle) as server:
        url = f"http://localhost:{server.port}/v1/a b?c=d#e"
        request = UpstreamRequest(url, b"{}", {"x-a": "b", "traceparent": "old", "user-agent": "me"})
        await read(transport, replace(request, trace_headers=(("traceparent", "new"),)))
        await read(transport, request)
        host = b"host: localhost:%d\r\n" % server.port
    start = b"POST /v1/a%20b?c=d HTTP/1.1\r\n" + host + b"user-agent: me\r\naccept-encoding: gzip\r\nx-a: b\r\n"
    assert seen == [
        start + b"content-length: 2\r\ntraceparent: new\r\n\r\n{}",
        start + b"traceparent: old\r\ncontent-length: 2\r\n\r\n{}",
    ]


async def test_an_ipv6_address_is_asked(transport: Transport) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + b"connection: close\r\n" + ABC)
        writer.close()

    try:
        listener = await asyncio.start_server(accept, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        assert await stream(transport, request_to(f"http://[::1]:{port}/")) == b"abc"
    assert b"\r\nhost: [::1]:%d\r\n" % port in await seen
