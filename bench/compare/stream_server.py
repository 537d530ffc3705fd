"""A provider of streams that costs little: `python -m bench.compare.stream_server`, a process of its own.

A text `stream:EVENTS:GAP_MS` in the last message says how many events there are, and the pause between them; with
0 they come as fast as they are read. The text of each event is the time at which it was written, by the monotonic
clock in nanoseconds, which all processes of a machine share. A request without `"stream": true` is answered in one
piece.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from heapq import heappop, heappush
from typing import Any, Final, cast

import uvloop

from bench.compare.answers import ANSWER, CREATED, MODEL, MODELS, USAGE

_ORDER: Final = re.compile(rb"stream:(\d{1,9}):(\d{1,6})")
_IS_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')
_WANTS_USAGE: Final = re.compile(rb'"include_usage"\s*:\s*true')
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_CONTINUE: Final = re.compile(rb"\r\nexpect: *100-continue\r\n", re.IGNORECASE)
_UNREAD_BYTES: Final = 65_536
"""Of one stream, before the server waits for its reader: some hundred events, beside what the system holds."""
_CLOCK_STEP_S: Final = 0.001
"""Of uvloop's clock and timers. A sum that lies next to a step counts as that step, or the loop spins until the next."""
_DIGITS: Final = 19
"""Of the time: as many as 64 bits need, so that every event is as long."""
_END: Final = b"data: [DONE]\n\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _http_chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def _joined(chunks: bytes) -> bytes:
    """The body that came in HTTP chunks, without the last one, which is empty."""
    parts, at = [], 0
    while at < len(chunks):
        line_end = chunks.index(b"\r\n", at)
        begin = line_end + 2
        end = begin + int(chunks[at:line_end], 16)
        parts.append(chunks[begin:end])
        at = end + 2
    return b"".join(parts)


def _event(choices: list[dict[str, Any]], **more: object) -> bytes:
    head = {"id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion.chunk", "created": CREATED}
    rest = {"service_tier": "default", "system_fingerprint": "fp_44709d6fcb"}
    value = {**head, "model": MODEL, **rest, "choices": choices, **more}
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])


_MARK: Final = b"#" * _DIGITS
_BEFORE, _AFTER = _http_chunk(_delta({"content": f"{_MARK.decode()} "})).split(_MARK)
_BEGIN: Final = _STREAM_HEAD + _http_chunk(_delta({"role": "assistant", "content": ""}))
_FINISH: Final = _http_chunk(_delta({}, "stop"))
_TOLD_USAGE: Final = _http_chunk(_event([], usage=USAGE))
_TAIL: Final = _http_chunk(_END) + _LAST_CHUNK


def _whole(body: str) -> bytes:
    encoded = body.encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(encoded),
        encoded,
    )


_ANSWER: Final = _whole(ANSWER)
_MODELS: Final = _whole(MODELS)
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class _Stream:
    """The events of one answer."""

    def __init__(self, connection: _Connection, events: int, pace: _Pace, tail: bytes) -> None:
        self.connection = connection
        self.pace = pace
        self._left = events
        self._tail = tail

    def write(self) -> bool:
        """Write the next event, or behind the last one the end; False: that was it, or nobody reads it any more."""
        connection = self.connection
        if connection.stream is not self:
            return False
        if self._left == 0:
            connection.end(self._tail)
            return False
        self._left -= 1
        connection.write(b"%b%019d%b" % (_BEFORE, time.monotonic_ns(), _AFTER))
        return True


class _Pace:
    """Writes all streams that have the same pause, by one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gap_s: float) -> None:
        self._loop = loop
        self._gap_s = gap_s
        self._due: list[tuple[float, int, _Stream]] = []
        """A heap: when by the loop's clock the next event is to be written, a number of its own, and by whom."""
        self._numbers = itertools.count()
        self._is_set = False

    def add(self, stream: _Stream) -> None:
        """Write the stream's next event now, and the others when they are due."""
        if stream.write():
            self._wait(stream, self._loop.time() + self._gap_s)
            self._set()

    def _wait(self, stream: _Stream, due_s: float) -> None:
        if stream.connection.is_full:
            stream.connection.waiting = stream
        else:
            heappush(self._due, (due_s, next(self._numbers), stream))

    def _set(self) -> None:
        """Have the next turn come; whoever came in between may have to wait for it, but no longer than for its due."""
        if self._is_set or not self._due:
            return
        self._is_set = True
        if self._gap_s:
            self._loop.call_at(self._due[0][0], self._turn)
        else:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Write what is due; of streams without a pause one event each, so that none keeps the others waiting."""
        due, now_s = self._due, self._loop.time()
        for _ in range(len(due)):
            if due[0][0] > now_s + _CLOCK_STEP_S / 2:
                break
            due_s, _, stream = heappop(due)
            if stream.write():
                # What came late does not slow it down. Without a pause all take turns.
                self._wait(stream, due_s + self._gap_s if self._gap_s else now_s)
        self._is_set = False
        self._set()


class _Connection(asyncio.Protocol):
    """Reads requests of HTTP/1.1 one after another, as strictly as gateways need."""

    def __init__(self, paces: dict[int, _Pace]) -> None:
        self.stream: _Stream | None = None
        """What is being answered."""
        self.is_full = False
        """Whether the reader has to catch up."""
        self.waiting: _Stream | None = None
        """What goes on when it has."""
        self._paces = paces
        self._buffer = bytearray()
        self._needed = 0
        """How many bytes there have to be before it is worth while to look again."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which derives from no asyncio class
        self._transport.set_write_buffer_limits(_UNREAD_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.stream = self.waiting = self._transport = None

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        stream, self.waiting = self.waiting, None
        if stream is not None:
            stream.pace.add(stream)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= self._needed and self.stream is None:
            self._read()

    def write(self, data: bytes) -> None:
        """Send it, where there is still somebody."""
        if self._transport is not None:
            self._transport.write(data)

    def end(self, tail: bytes) -> None:
        """Send the end of the stream; the next request may come."""
        self.stream = None
        self.write(tail)
        if self._buffer:
            self._read()

    def _read(self) -> None:
        """Take a request off the buffer, if it is there as a whole, and answer it."""
        buffer = self._buffer
        if (head_end := buffer.find(b"\r\n\r\n")) < 0:
            return
        head, begin = bytes(buffer[: head_end + 2]), head_end + 4
        if _CONTINUE.search(head) and len(buffer) == begin:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if _CHUNKED.search(head):
            # A body that holds these bytes itself is JSON, where a line break is `\n` in letters.
            if (last := buffer.find(b"\r\n" + _LAST_CHUNK, begin - 2)) < 0:
                return
            end = last + 2 + len(_LAST_CHUNK)
            body = _joined(bytes(buffer[begin : last + 2]))
        else:
            self._needed = end = begin + (int(found[1]) if (found := _LENGTH.search(head)) else 0)
            if len(buffer) < end:
                return
            body = bytes(buffer[begin:end])
        del buffer[:end]
        self._needed = 0
        self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST "):
            self.write(_MODELS if head.startswith(b"GET /v1/models ") else _NOT_FOUND)
            return
        if not _IS_STREAM.search(body):
            self.write(_ANSWER)
            return
        orders = _ORDER.findall(body)
        events, gap_ms = map(int, orders[-1]) if orders else (1, 0)
        tail = _FINISH + (_TOLD_USAGE if _WANTS_USAGE.search(body) else b"") + _TAIL
        if gap_ms not in self._paces:
            self._paces[gap_ms] = _Pace(asyncio.get_running_loop(), gap_ms / 1000)
        pace = self._paces[gap_ms]
        self.stream = _Stream(self, events, pace, tail)
        self.write(_BEGIN)
        pace.add(self.stream)


async def _serve() -> None:
    paces: dict[int, _Pace] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(paces), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
