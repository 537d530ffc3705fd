"""A provider that bears thousands of streams: `python -m tests.support.quick_upstream`, a process of its own.

It speaks OpenAI's, Anthropic's, Gemini's and Cohere's chat API, chosen by the request's path, and
answers in numbered words. A text `say:WORDS:GAP_MS:NAME` within the request sets how many words there
are, the pause before each, and a name to find the request by. `Reader` below is its other end.

Texts `call:NAME+NAME` within a request to OpenAI's API have it call these functions, with arguments that may be
none: those of the first text in the first turn, of the second in the next, and then it answers in words.

    GET /seen         what became of the named requests, and the connections that are open
    POST /close-idle  close the connections on which no request is running
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

ROOT = Path(__file__).resolve().parents[2]
_ORDER = re.compile(rb"say:(\d{1,6}):(\d{1,6}):([a-z0-9-]{1,64})")
_CALLS = re.compile(rb"call:([A-Za-z0-9_+-]{1,200})")
_STREAM = re.compile(rb'"stream" ?: ?true')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_WORDS = 3
_ARGUMENTS = (
    "{}", '{"text":"a"}', '{"text":"a"}', '{"text":1,"more":[]}', '{"text":"a","text":"b"}', '{"size":100000}', '{"size":1000}',
    '{"size":-1}', '{"size":1e400}', "", " ", "{", "[]", "null", "NaN", '"a"', '{"text":"\\ud800\\u0000"}', '{"text":"\x00"}',
    json.dumps({"text": "x" * 70_000}), '{"a":' * 200 + "1" + "}" * 200,
)  # fmt: skip


@dataclass
class Seen:
    """One request; times are of the monotonic clock, which all processes of a machine share."""

    began: float
    ended: float | None = None
    is_left: bool = False
    """Whether the connection was closed before the answer's end."""


@dataclass
class Told:
    """What the provider tells of itself."""

    connections: int = 0
    running: int = 0
    requests: int = 0
    names: dict[str, list[Seen]] = field(default_factory=dict)


def text_of(words: int) -> str:
    """The answer of that many words."""
    return "".join(f"w{number} " for number in range(words))


@dataclass
class Reader:
    """The provider as its user sees it."""

    base_url: str
    """Without a path."""

    def seen(self) -> Told:
        with urllib.request.urlopen(f"{self.base_url}/seen", timeout=30) as answer:
            told = json.load(answer)
        names = {name: [Seen(**each) for each in several] for name, several in told.pop("names").items()}
        # This question's own connection and request are none of the service's.
        return Told(told["connections"] - 1, told["running"] - 1, told["requests"], names)

    def close_idle(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.base_url}/close-idle", method="POST"), timeout=30):
            pass

    def providers(self) -> dict[str, Any]:
        """The `providers` of a configuration: one of each API, named like its kind."""
        return {
            kind: {"kind": kind, "base_url": self.base_url + ("/v1" if kind == "openai" else "")}
            for kind in ("openai", "anthropic", "gemini", "cohere")
        }


@contextmanager
def quick_upstream(host: str = "127.0.0.1") -> Iterator[Reader]:
    """Run the provider at an address of this machine until the block is left."""
    command = [sys.executable, "-m", "tests.support.quick_upstream", host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield Reader(process.stdout.readline().strip())
        finally:
            process.terminate()
            process.wait(20)


class _Connection(asyncio.Protocol):
    """Reads requests of HTTP/1.1 one after another, as strictly as its only client needs."""

    def __init__(self, told: Told, all_: set[_Connection]) -> None:
        self._told, self._all = told, all_
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which derives from no asyncio class
        self._all.add(self)
        self._told.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        self._told.connections -= 1
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[: head_end + 2])
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        body = bytes(self._buffer[head_end + 4 : head_end + 4 + length])
        del self._buffer[: head_end + 4 + length]
        path = head.split(b" ", 2)[1].decode("latin-1")
        self._task = asyncio.get_running_loop().create_task(self._answer(path, body))

    def close_if_idle(self) -> None:
        if self._task is None and self._transport is not None:
            self._transport.close()

    async def _answer(self, path: str, body: bytes) -> None:
        self._told.running += 1
        seen = Seen(time.monotonic())
        try:
            if path == "/seen":
                self._send_whole(asdict(self._told))
            elif path == "/close-idle":
                for connection in list(self._all):
                    connection.close_if_idle()
                self._send_whole({})
            else:
                await self._chat(path, body, seen)
        except asyncio.CancelledError:
            seen.is_left = True
            raise
        finally:
            seen.ended = time.monotonic()
            self._told.running -= 1
            self._task = None

    async def _chat(self, path: str, body: bytes, seen: Seen) -> None:
        self._told.requests += 1
        words, gap_s = _WORDS, 0.0
        if order := _ORDER.search(body):
            words, gap_s = int(order[1]), int(order[2]) / 1000
            self._told.names.setdefault(order[3].decode(), []).append(seen)
        api = _api_of(path)
        calls = _calls_for(body) if api == "openai" else []
        if not (_STREAM.search(body) or "stream" in path):
            await asyncio.sleep(words * gap_s)
            self._send_whole(_whole(api, text_of(words), calls))
            return
        self._write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n", _head(api)
        )
        for number in range(words):
            if gap_s:
                await asyncio.sleep(gap_s)
            self._write(b"", _word(api, f"w{number} "))
        self._write(b"", _tail(api, calls), b"0\r\n\r\n")

    def _send_whole(self, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        assert self._transport is not None
        self._transport.write(head.encode() + body)

    def _write(self, head: bytes, events: bytes, tail: bytes = b"") -> None:
        assert self._transport is not None
        chunk = b"%x\r\n%b\r\n" % (len(events), events) if events else b""
        self._transport.write(head + chunk + tail)


def _api_of(path: str) -> str:
    for part, api in (("/messages", "anthropic"), ("enerateContent", "gemini"), ("/v2/chat", "cohere")):
        if part in path:
            return api
    return "openai"


def _calls_for(body: bytes) -> list[dict[str, Any]]:
    """The calls of the turn that is asked for."""
    if not (told := _CALLS.findall(body)):
        return []
    asked = json.loads(body)
    turn = 0
    for message in reversed(asked["messages"]):
        if message["role"] not in {"assistant", "tool"}:
            break
        turn += message["role"] == "assistant"
    if turn >= len(told) or asked.get("tool_choice") == "none":
        return []
    chance = zlib.crc32(body)
    return [
        {
            "index": index,
            "id": f"call_{turn}_{index}",
            "type": "function",
            "function": {"name": name, "arguments": _ARGUMENTS[(chance + index) % len(_ARGUMENTS)]},
        }
        for index, name in enumerate(filter(None, told[turn].decode().split("+")))
    ]


def _event(value: Any, kind: str = "") -> bytes:
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def _head(api: str) -> bytes:
    if api == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m"}
        start = {"type": "message_start", "message": {**message, "usage": {"input_tokens": 7, "output_tokens": 1}}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return _event(start, "message_start") + _event(block, "content_block_start")
    if api == "cohere":
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        begin = {"type": "message-start", "id": "m", "delta": {"message": message}}
        block = {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}
        return _event(begin, "message-start") + _event(block, "content-start")
    return _chunk({"role": "assistant", "content": ""}) if api == "openai" else b""


def _word(api: str, text: str) -> bytes:
    if api == "anthropic":
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        return _event(delta, "content_block_delta")
    if api == "cohere":
        message = {"message": {"content": {"text": text}}}
        return _event({"type": "content-delta", "index": 0, "delta": message}, "content-delta")
    if api == "gemini":
        return _event({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}]})
    return _chunk({"content": text})


def _tail(api: str, calls: list[dict[str, Any]]) -> bytes:
    if api == "anthropic":
        stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
        return (
            _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
            + _event(stop, "message_delta")
            + _event({"type": "message_stop"}, "message_stop")
        )
    if api == "cohere":
        delta = {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 7, "output_tokens": 5}}}
        end = {"type": "message-end", "id": "m", "delta": delta}
        return _event({"type": "content-end", "index": 0}, "content-end") + _event(end, "message-end")
    if api == "gemini":
        return _event(_whole(api, ""))
    usage = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": _USAGE}
    finish = _chunk({}, "tool_calls" if calls else "stop")
    return _told_calls(calls) + finish + _event(usage) + b"data: [DONE]\n\n"


def _told_calls(calls: list[dict[str, Any]]) -> bytes:
    """Each in two pieces."""
    pieces = b""
    for call in calls:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {**call, "function": {"name": name, "arguments": arguments[:3]}}
        rest = {"index": call["index"], "function": {"arguments": arguments[3:]}}
        pieces += _chunk({"tool_calls": [begun]}) + _chunk({"tool_calls": [rest]})
    return pieces


_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def _whole(api: str, text: str, calls: list[dict[str, Any]] | None = None) -> Any:
    if api == "anthropic":
        content = [{"type": "text", "text": text}]
        usage = {"input_tokens": 7, "output_tokens": 5}
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content}
        return {**message, "stop_reason": "end_turn", "usage": usage}
    if api == "cohere":
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        tokens = {"tokens": {"input_tokens": 7, "output_tokens": 5}}
        return {"id": "m", "finish_reason": "COMPLETE", "message": message, "usage": tokens}
    if api == "gemini":
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": _USAGE}


async def _serve(host: str) -> None:
    told, connections = Told(), set[_Connection]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(told, connections), host, 0, backlog=4096)
    sys.stdout.write(f"http://{host}:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:] or ["127.0.0.1"]))
