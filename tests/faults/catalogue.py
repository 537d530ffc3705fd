"""The faults, by the name of the model that is asked for."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from tests.faults import wire
from tests.faults.exchange import DONE, TEXT, Exchange, error_value, event, wait
from tests.support.upstream import chunk, completion

Play = Callable[[Exchange, float], Coroutine[Any, Any, None]]
"""Answers a request; the number is what stands in the model's name, or else the default."""

FOREVER: Final = math.inf
_HTML: Final = b"<!doctype html><html><body><h1>Please log in</h1></body></html>\n"
_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""The type of a failure of that status; others are a `server_error`."""
_KEEPALIVE_S: Final = 0.1
_FILLER: Final = "x" * 1000


@dataclass(frozen=True)
class Fault:
    """A way to answer wrongly."""

    name: str
    does: str
    """What a client sees of it; `N` and `S` stand for the number."""
    play: Play
    unit: str = ""
    """`N`: a count; `S`: seconds; empty: the name takes no number."""
    default: float = 0.0

    @property
    def form(self) -> str:
        """The name with its number."""
        return f"{self.name}:{self.unit}" if self.unit else self.name


FAULTS: Final[dict[str, Fault]] = {}
FOLLOWED: Final = "/v1/followed"
"""Where the redirect leads: a client that follows it gets a good answer."""


def find(model: str) -> tuple[Fault, float]:
    """The fault that a model's name stands for, with its number.

    Raises:
        ValueError: There is none of that name, or the number is none.
    """
    name, colon, number = model.partition(":")
    if (fault := FAULTS.get(name)) is None:
        raise ValueError("There is no fault of that name; GET /v1/models lists them.")
    if not colon:
        return fault, fault.default
    try:
        value = float(int(number)) if fault.unit == "N" else float(number)
    except ValueError:
        value = -1.0
    if not fault.unit or not value >= 0:
        raise ValueError(f"Expected `{fault.form}`, with a number from 0 on." if fault.unit else f"Expected `{name}`.")
    return fault, value


def _fault(name: str, does: str, *, count: float | None = None, seconds: float | None = None) -> Callable[[Play], Play]:
    """Enter a function into `FAULTS`, with the default of its number."""

    def enter(play: Play) -> Play:
        unit = "N" if count is not None else "S" if seconds is not None else ""
        FAULTS[name] = Fault(name, does, play, unit, count if count is not None else seconds or 0.0)
        return play

    return enter


# Good answers


@_fault("healthy", "a right answer: the words one to ten")
async def _healthy(exchange: Exchange, _: float) -> None:
    await exchange.healthy()


@_fault("slow-tokens", "a right answer, with S seconds before every event", seconds=0.05)
async def _slow_tokens(exchange: Exchange, seconds: float) -> None:
    await exchange.begin()
    for data in exchange.events() if exchange.is_stream else [exchange.body()]:
        await wait(seconds)
        await exchange.piece(data)
    await exchange.end()


@_fault("long-event", "a right answer whose text is N characters in one event", count=10_000)
async def _long_event(exchange: Exchange, length: float) -> None:
    await exchange.healthy(["x" * int(length)])


@_fault("one-byte-chunks", "a right answer, every byte a chunk and a packet of its own")
async def _one_byte_chunks(exchange: Exchange, _: float) -> None:
    await exchange.begin()
    for byte in b"".join(exchange.events()) if exchange.is_stream else exchange.body():
        await exchange.piece(bytes([byte]))
        await asyncio.sleep(0)
    await exchange.end()


@_fault("no-usage", "a right answer without usage")
async def _no_usage(exchange: Exchange, _: float) -> None:
    if not exchange.is_stream:
        answer = completion({"content": TEXT})
        del answer["usage"]
        await exchange.whole(json.dumps(answer).encode())
        return
    await exchange.begin()
    for data in exchange.events():
        if b'"usage"' not in data:
            await exchange.piece(data)
    await exchange.end()


@_fault("gzip", "a right answer, compressed with gzip though nobody asked for it")
async def _gzip(exchange: Exchange, _: float) -> None:
    await _encoded(exchange, "gzip", gzip.compress)


# Late and silent


@_fault("slow-first-token", "head and opening event at once, then S seconds of silence, then the answer", seconds=5)
async def _slow_first_token(exchange: Exchange, seconds: float) -> None:
    events = exchange.events() if exchange.is_stream else [b"", exchange.body()]
    await exchange.begin()
    for number, data in enumerate(events):
        if number == 1:
            await wait(seconds)
        if data:
            await exchange.piece(data)
    await exchange.end()


@_fault("silence", "nothing, not even a head, for S seconds; then a right answer", seconds=FOREVER)
async def _silence(exchange: Exchange, seconds: float) -> None:
    await wait(seconds)
    await exchange.healthy()


@_fault("role-then-nothing", "the opening event, which says nothing, then silence; unary: the head")
async def _role_then_nothing(exchange: Exchange, _: float) -> None:
    await exchange.first(1 if exchange.is_stream else 0)
    await wait(FOREVER)


@_fault("keepalives-only", "comments, ten a second, and never an event; unary: empty lines, as DeepSeek's")
async def _keepalives_only(exchange: Exchange, _: float) -> None:
    await exchange.begin()
    while True:
        await exchange.piece(b": keepalive\n\n" if exchange.is_stream else b"\n")
        await wait(_KEEPALIVE_S)


@_fault("stall-after-events", "N events, then silence; unary: half of the answer", count=4)
async def _stall_after_events(exchange: Exchange, events: float) -> None:
    await exchange.first(events)
    await wait(FOREVER)


@_fault("endless", "an answer that never ends, a piece of 1,000 characters every S seconds", seconds=0.01)
async def _endless(exchange: Exchange, seconds: float) -> None:
    await exchange.first(1)
    while True:
        await exchange.piece(event(chunk(_FILLER)) if exchange.is_stream else _FILLER.encode())
        await wait(seconds)


@_fault("open-after-done", "a right answer whose body does not end after `[DONE]`; unary: does not end at all")
async def _open_after_done(exchange: Exchange, _: float) -> None:
    await exchange.begin()
    await exchange.piece(b"".join(exchange.events()) if exchange.is_stream else exchange.body())
    await wait(FOREVER)


# Cut


@_fault("cut-after-events", "N events, then the connection closes amid the body; unary: after half of it", count=4)
async def _cut_after_events(exchange: Exchange, events: float) -> None:
    await exchange.first(events)
    exchange.ending = "close"


@_fault("cut-inside-event", "N events and half of one, then the connection closes; unary: as above", count=4)
async def _cut_inside_event(exchange: Exchange, events: float) -> None:
    await exchange.first(events if exchange.is_stream else 1)
    if exchange.is_stream:
        data = event(chunk("half"))
        await exchange.piece(data[: len(data) // 2])
    exchange.ending = "close"


@_fault("reset-after-events", "N events, then the connection is reset; unary: after half of the answer", count=4)
async def _reset_after_events(exchange: Exchange, events: float) -> None:
    await exchange.first(events)
    exchange.ending = "reset"


@_fault("reset", "the connection is reset before the head")
async def _reset(exchange: Exchange, _: float) -> None:
    exchange.ending = "reset"


@_fault("truncated", "a body shorter than its content-length, then the connection closes")
async def _truncated(exchange: Exchange, _: float) -> None:
    body = b"".join(exchange.events()) if exchange.is_stream else exchange.body()
    head = {"content-type": exchange.content_type, "content-length": str(len(body))}
    await exchange.send(wire.head(200, head) + body[: len(body) // 2])
    exchange.ending = "close"


# Ended too early, though by the rules of HTTP


@_fault("close-without-finish", "N events and a clean end, without finish reason; unary: a null one", count=4)
async def _close_without_finish(exchange: Exchange, events: float) -> None:
    await _unfinished(exchange, exchange.events()[: int(events)])


@_fault("done-without-finish", "N events and `[DONE]`, without finish reason; unary: a null one", count=4)
async def _done_without_finish(exchange: Exchange, events: float) -> None:
    await _unfinished(exchange, [*exchange.events()[: int(events)], DONE])


@_fault("finish-without-done", "all but `[DONE]`, and a clean end; unary: a right answer")
async def _finish_without_done(exchange: Exchange, _: float) -> None:
    await _unfinished(exchange, exchange.events()[:-1], finish="stop")


@_fault("finish-alone", "a clean end after the finish reason, without usage and `[DONE]`; unary: a right answer")
async def _finish_alone(exchange: Exchange, _: float) -> None:
    await _unfinished(exchange, [data for data in exchange.events()[:-1] if b'"usage"' not in data], finish="stop")


@_fault("empty", "status 200 and an empty body")
async def _empty(exchange: Exchange, _: float) -> None:
    await exchange.whole(b"")


# No answer of the API


@_fault("garbage-json", "N events, then one that is no JSON; unary: a body that is none", count=4)
async def _garbage_json(exchange: Exchange, events: float) -> None:
    await _spoilt(exchange, int(events), b'{"id":"x","choices":[}')


@_fault("invalid-utf8", "N events, then one with bytes that are no text; unary: such a body", count=4)
async def _invalid_utf8(exchange: Exchange, events: float) -> None:
    broken = json.dumps(chunk("?") if exchange.is_stream else completion()).encode()
    await _spoilt(exchange, int(events), broken.replace(b"?", b"\xff\xfe").replace(b"Hello", b"\xff\xfe"))


@_fault("in-band-error", "status 200, N events, then an error as an event; unary: as the body", count=0)
async def _in_band_error(exchange: Exchange, events: float) -> None:
    await _spoilt(exchange, int(events), json.dumps(error_value("server_error")).encode())


@_fault("html", "a page of a proxy in front of the API, with the status N", count=200)
async def _html(exchange: Exchange, status: float) -> None:
    await exchange.whole(_HTML, {"content-type": "text/html; charset=utf-8"}, status=int(status))


@_fault("wrong-content-type", "a right answer whose content-type is text/plain")
async def _wrong_content_type(exchange: Exchange, _: float) -> None:
    body = b"".join(exchange.events()) if exchange.is_stream else exchange.body()
    await exchange.whole(body, {"content-type": "text/plain"})


@_fault("deflate", "a right answer in an encoding that nobody asked for")
async def _deflate(exchange: Exchange, _: float) -> None:
    await _encoded(exchange, "deflate", zlib.compress)


@_fault("bad-gzip", "an answer that says that it is gzip, and is not")
async def _bad_gzip(exchange: Exchange, _: float) -> None:
    await _encoded(exchange, "gzip", bytes)


@_fault("no-http", "a line that is no HTTP, then the connection closes")
async def _no_http(exchange: Exchange, _: float) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    exchange.ending = "close"


@_fault("redirect", "status 307 to a path where a right answer is")
async def _redirect(exchange: Exchange, _: float) -> None:
    await exchange.whole(b"", {"location": FOLLOWED}, status=307)


# Refused


@_fault("status", "the status N, with an error as OpenAI tells it", count=500)
async def _status(exchange: Exchange, status: float) -> None:
    await exchange.error(int(status), _KINDS.get(int(status), "server_error"))


@_fault("rate-limited", "status 429 without `retry-after`")
async def _rate_limited(exchange: Exchange, _: float) -> None:
    await exchange.error(429, _KINDS[429])


@_fault("rate-limited-for", "status 429 with `retry-after`; right answers to that user after S seconds", seconds=1)
async def _rate_limited_for(exchange: Exchange, seconds: float) -> None:
    began_s = exchange.earlier[0].began_s if exchange.earlier else exchange.now_s
    left_s = seconds - (exchange.now_s - began_s)  # in this order exact at first
    if left_s <= 0:
        await exchange.healthy()
        return
    told = {"retry-after": str(math.ceil(left_s)), "retry-after-ms": str(math.ceil(left_s * 1000))}
    await exchange.error(429, _KINDS[429], told)


@_fault("fail-then-good", "status 500 to the first N requests of a user, then right answers", count=1)
async def _fail_then_good(exchange: Exchange, failures: float) -> None:
    if len(exchange.earlier) < failures:
        await exchange.error(500, "server_error")
    else:
        await exchange.healthy()


async def _encoded(exchange: Exchange, encoding: str, encode: Callable[[bytes], bytes]) -> None:
    body = b"".join(exchange.events()) if exchange.is_stream else exchange.body()
    await exchange.whole(encode(body), {"content-encoding": encoding})


async def _unfinished(exchange: Exchange, events: list[bytes], finish: str | None = None) -> None:
    if not exchange.is_stream:
        answer = completion({"content": TEXT})
        answer["choices"][0]["finish_reason"] = finish
        await exchange.whole(json.dumps(answer).encode())
        return
    await exchange.begin()
    for data in events:
        await exchange.piece(data)
    await exchange.end()


async def _spoilt(exchange: Exchange, events: int, last: bytes) -> None:
    if not exchange.is_stream:
        await exchange.whole(last)
        return
    await exchange.begin()
    for data in exchange.events()[:events]:
        await exchange.piece(data)
    await exchange.piece(b"data: " + last + b"\n\n")
    await exchange.end()
