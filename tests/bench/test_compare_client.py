from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import grpc
import pytest

from bench.compare.client.__main__ import _do
from bench.compare.client.call import Call, StreamCall, Tally
from bench.compare.client.grpc import Frames, GrpcCaller, frame
from bench.compare.client.job import Job
from bench.compare.client.rest import Reader
from bench.compare.provider import stream_provider

_TIMES = [1_000_000_000_000_000_123, 1_000_000_000_000_000_456, 1_000_000_000_000_000_789]
_EVENTS = [b'data: {"created":1795304003,"choices":[{"delta":{"content":"%d "}}]}\n\n' % each for each in _TIMES]
_STREAM = b'data: {"role":"assistant"}\n\n' + b"".join(_EVENTS) + b"data: [DONE]\n\n"


def _http_chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def test_events_are_counted_however_they_are_split() -> None:
    for at in range(len(_STREAM)):
        tally = Tally(is_counting=True)
        call = StreamCall(tally, 3, ends_with_done=True)
        call.read(_STREAM[:at])
        call.read(_STREAM[at:])
        call.end(None)
        assert (tally.events, len(tally.delays_ns), call.problem) == (3, 3, None), at


async def test_several_events_in_one_chunk_count_each() -> None:
    tally = Tally(is_counting=True)
    call = StreamCall(tally, 3, ends_with_done=False)
    call.read(b'data: {"delta":{"content":"%d %d %d "}}\n\n' % tuple(_TIMES))
    call.end(None)
    assert (tally.events, call.problem) == (3, None)


@pytest.mark.parametrize(
    ("came", "problem"),
    [
        (_STREAM, None),
        (_STREAM.replace(_EVENTS[1], b""), "not as many events as asked for"),
        (_STREAM.replace(b"data: [DONE]\n\n", b""), "no [DONE]"),
    ],
)
async def test_a_stream_that_lacks_something_has_failed(came: bytes, problem: str | None) -> None:
    call = StreamCall(Tally(), 3, ends_with_done=True)
    call.read(came)
    call.end(None)
    assert call.problem == problem


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        + _http_chunk(b"hello")
        + _http_chunk(b" world")
        + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nb;a=b\r\nhello world\r\n0\r\nx-trailer: 1\r\n\r\n",
    ],
)
def test_an_answer_is_read_however_it_is_split(answer: bytes) -> None:
    for first in range(len(answer)):
        for second in range(first, len(answer)):
            reader = Reader()
            body = b"".join(reader.read(piece) for piece in (answer[:first], answer[first:second], answer[second:]))
            assert (reader.status, body, reader.is_over) == (b"200", b"hello world", True), (first, second)


def test_an_answer_without_its_end_is_not_over() -> None:
    reader = Reader()
    reader.read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + _http_chunk(b"hello"))
    assert not reader.is_over


def test_an_answer_that_ends_with_its_connection_is_refused() -> None:
    with pytest.raises(ValueError, match="without a length"):
        Reader().read(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello")


def test_frames_are_read_however_they_are_split() -> None:
    expected = [(0, 1, 5, b"hello"), (6, 0, 0, b"12345678")]
    written = b"".join(frame(*each) for each in expected)
    for at in range(len(written)):
        frames = Frames()
        assert [*frames.read(written[:at]), *frames.read(written[at:])] == expected, at


async def test_streams_of_the_provider_come_as_asked_and_whole() -> None:
    with stream_provider() as address:
        outcome = await _do(_job(address, streams=5, events=40, window_s=0.3, single=4, per_s=20.0))
    assert (outcome.opened, outcome.failed, outcome.problems, outcome.was_full) == (5, 0, {}, True)
    assert outcome.events == len(outcome.delays_ns) > 0
    assert all(0 < delay_ns < 5e9 for delay_ns in outcome.delays_ns)
    assert len(outcome.single_ns) == 4


async def test_streams_without_a_pause_are_left_at_the_end_of_the_window() -> None:
    with stream_provider() as address:
        outcome = await _do(_job(address, streams=3, events=0, window_s=0.2))
    assert (outcome.opened, outcome.failed, outcome.delays_ns) == (3, 0, [])
    assert outcome.events > 0


async def test_where_nobody_listens_everything_has_failed() -> None:
    outcome = await _do(_job("127.0.0.1:1", streams=3, events=5, window_s=0.1, single=2))
    assert (outcome.failed, outcome.problems) == (5, {"no connection": 5})


async def test_calls_of_grpc_are_read_with_their_status() -> None:
    async with _grpc_server() as address:
        tally = Tally(is_counting=True)
        good = StreamCall(tally, 3, ends_with_done=False)
        short = StreamCall(tally, 4, ends_with_done=False)
        failing = Call()
        caller = GrpcCaller(address, "/x.Y/Z", {"x-api-key": "k"})
        await caller.connect(2)
        # Longer altogether than a connection takes before it has told how much it may be.
        many = [StreamCall(Tally(), 3, ends_with_done=False) for _ in range(20)]
        asked = _message(b"good".ljust(16_000))
        for call, body in (
            (good, asked),
            (short, asked),
            (failing, _message(b"bad")),
            *((each, asked) for each in many),
        ):
            await caller.ask(body, call)
        await asyncio.wait_for(asyncio.gather(*(each.over for each in (good, short, failing, *many))), 20)
        caller.close()
    assert [each.problem for each in many] == [None] * 20
    assert (good.problem, short.problem) == (None, "not as many events as asked for")
    assert failing.problem == f"grpc-status {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}"
    assert tally.events == 6


async def test_what_is_cut_has_failed() -> None:
    class Cutting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)
            open_connections.append(self)

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + _http_chunk(_EVENTS[0]))
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            open_connections.remove(self)
            if not open_connections:
                all_closed.set()

    open_connections: list[Cutting] = []
    all_closed = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(Cutting, "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        host, port = server.sockets[0].getsockname()
        outcome = await _do(_job(f"{host}:{port}", streams=1, events=3, window_s=0.1))
        await all_closed.wait()
    assert (outcome.failed, outcome.problems) == (1, {"cut": 1})


def _job(address: str, *, streams: int, events: int, window_s: float, single: int = 0, per_s: float = 1.0) -> Job:
    def asked(many: int, gap_ms: int) -> bytes:
        order = {"role": "user", "content": f"stream:{many}:{gap_ms}"}
        return json.dumps({"model": "m", "stream": True, "messages": [order]}).encode()

    return Job(
        protocol="rest",
        address=address,
        path="/v1/chat/completions",
        headers={},
        stream=asked(events or 999_999_999, 50 if events else 0),
        probe=asked(1, 0),
        streams=streams,
        events=events,
        is_paced=bool(events),
        settle_s=0.05,
        window_s=window_s,
        single=single,
        per_s=per_s,
        limit_s=20,
    )


def _message(content: bytes) -> bytes:
    return struct.pack(">BI", 0, len(content)) + content


@asynccontextmanager
async def _grpc_server() -> AsyncIterator[str]:
    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        if request == b"bad":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no")
        for each in _EVENTS:
            yield each

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            return grpc.unary_stream_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
