import asyncio
import gzip
import tomllib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from msgspec.structs import replace

from service.errors import Unavailable
from service.providers import transport_http1
from service.providers.transport import USER_AGENT, Transport
from service.providers.transport_http1 import Http1Transport
from tests.service.transport_support import (
    CHUNKED,
    HEAD,
    LONG,
    LONG_BODY,
    READERS,
    SECRET,
    Connection,
    Reader,
    Server,
    answering,
    answering_once,
    chunk,
    proxy_environment,
    read,
    request_to,
    stalling,
    stream,
)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    opened = Http1Transport(LONG)
    yield opened
    await opened.aclose()


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
    transport: Transport, consume: Reader, answer: bytes
) -> None:
    async with Server(answering(answer[:-4], answer[-4:])) as server:
        for _ in range(3):
            assert await consume(transport, server.request()) == b"abcdef"
        assert server.connections == 1


async def test_a_body_may_end_with_the_connection(transport: Transport) -> None:
    async with Server(answering_once(HEAD + b"\r\nabc")) as server:
        assert await read(transport, server.request()) == b"abc"


@READERS
async def test_gzip_is_decompressed(transport: Transport, consume: Reader) -> None:
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


async def test_gzip_may_have_several_members(transport: Transport) -> None:
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
            assert isinstance(response, transport_http1._Exchange)
            assert response._answer.size < 1_000_000
        await asyncio.wait_for(server.ended.wait(), 1)


def test_runs_on_uvloop() -> None:
    async def main() -> None:
        transport = Http1Transport(LONG)
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
async def test_cancelling_closes_the_connection(transport: Transport, consume: Reader, body: bytes) -> None:
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


async def test_cancelling_before_the_head_closes_the_connection(transport: Transport) -> None:
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
        await asyncio.wait_for(server.ended.wait(), 1)


async def test_cancelling_while_a_request_is_written_sends_no_more_of_it(transport: Transport) -> None:
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
    assert sum(map(len, received)) < LONG_BODY


async def test_aclose_closes_kept_connections_and_refuses_requests() -> None:
    async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        transport = Http1Transport(LONG)
        assert await read(transport, server.request()) == b"abc"
        assert not server.ended.is_set()
        await transport.aclose()
        with pytest.raises(Unavailable, match="closed by this service"):
            await read(transport, server.request())
        del transport
        await asyncio.wait_for(server.ended.wait(), 1)


@READERS
@pytest.mark.parametrize("sent", [b"", CHUNKED, CHUNKED + chunk(b"abc")])
async def test_aclose_ends_requests_under_way(consume: Reader, sent: bytes) -> None:
    transport = Http1Transport(LONG)
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
    asked = asyncio.Event()

    async def look_up(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with proxy_environment(monkeypatch, ""):
        transport = Http1Transport(LONG)
    task = asyncio.create_task(read(transport, request_to("http://nowhere.invalid/")))
    await asked.wait()
    await transport.aclose()
    with pytest.raises(Unavailable, match="closed by this service"):
        await task


# The pool


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
