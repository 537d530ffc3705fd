"""A scripted OpenAI-compatible provider: answers as the test says, and tells what it was sent.

It runs in a thread of its own, so that tests of any kind can use it. A request is answered by the
script that is registered for its `user`; without one, it is answered with the text of its last
message (an echo), streamed word by word.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Ending = Literal["done", "close", "cut", "hang"]


@dataclass
class Script:
    """How to answer, and what came of it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    """A unary answer: bytes as they are, anything else as JSON."""
    events: list[Any] | None = None
    """A stream: bytes as they are, anything else as the JSON of an event."""
    turns: list[Any] | None = None
    """In the place of `body` and `events`, of one request after another: a list is of events."""
    ending: Ending = "done"
    """After the events: `[DONE]`; a close without it; a cut connection; or nothing, until the client leaves."""
    delay_s: float = 0.0
    """Before the answer's head."""
    delays_s: list[float] = field(default_factory=list)
    """In the place of `delay_s`, of one request after another."""
    gap_s: float = 0.0
    """Before each event."""
    gates: dict[int, threading.Event] = field(default_factory=dict)
    """By number of an event: what to wait for before it is sent."""
    model: str = "echo"
    """The model id to ask for: `impatient` has short timeouts."""
    user: str = field(default_factory=lambda: f"script-{uuid.uuid4().hex}")
    received: list[dict[str, Any]] = field(default_factory=list)
    headers_received: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    """Path and query of each request."""
    began: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the client was gone before the answer's end."""
    bytes_written: int = 0


def chunk(
    content: str | None = None, *, index: int = 0, finish: str | None = None, delta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A chunk as OpenAI sends it."""
    if delta is None:
        delta = {} if content is None else {"content": content}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "upstream-model",
        "choices": [choice],
    }


def usage_chunk(tokens_in: int = 7, tokens_out: int = 5) -> dict[str, Any]:
    """The chunk with the usage, as OpenAI sends it."""
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
    return {**chunk(), "choices": [], "usage": usage}


def completion(message: dict[str, Any] | None = None, *, finish: str = "stop", **extra: Any) -> dict[str, Any]:
    """An answer as OpenAI sends it."""
    message = {"role": "assistant", "content": "Hello!", "refusal": None, **(message or {})}
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "upstream-model",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        **extra,
    }


class FakeUpstream:
    """The provider; `base_url` is as the OpenAI SDK means it."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self.base_url = ""

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @contextmanager
    def scripted(self, script: Script) -> Iterator[Script]:
        """Answer requests whose `user` is `script.user`, or that have it as a text, by the script."""
        self._scripts[script.user] = script
        try:
            yield script
        finally:
            for gate in script.gates.values():
                gate.set()
            del self._scripts[script.user]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        script = self._script_of(body, raw) or _echo(body)
        script.raw.append(raw)
        script.targets.append(request.raw_path)
        script.received.append(body)
        script.headers_received.append({name.lower(): value for name, value in request.headers.items()})
        script.began.set()
        try:
            return await self._play(request, script)
        except (asyncio.CancelledError, ConnectionError):
            script.left.set()
            raise

    def _script_of(self, body: dict[str, Any], raw: bytes) -> Script | None:
        """By the field `user`, or for APIs that have none by a text of the request that is it."""
        if (script := self._scripts.get(body.get("user", ""))) is not None:
            return script
        return next((script for user, script in list(self._scripts.items()) if user.encode() in raw), None)

    async def _play(self, request: web.Request, script: Script) -> web.StreamResponse:
        number = len(script.received) - 1
        await asyncio.sleep(script.delays_s[number] if number < len(script.delays_s) else script.delay_s)
        answer, events = script.body, script.events
        if script.turns is not None:
            turn = script.turns[len(script.received) - 1]
            answer, events = (None, turn) if isinstance(turn, list) else (turn, None)
        if events is None:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            headers = {"content-type": "application/json", **script.headers}
            if script.ending == "cut":
                _abort(request)
            return web.Response(status=script.status, headers=headers, body=body)
        response = web.StreamResponse(
            status=script.status, headers={"content-type": "text/event-stream", **script.headers}
        )
        await response.prepare(request)
        for number, event in enumerate(events):
            if gate := script.gates.get(number):
                await asyncio.to_thread(gate.wait)
            if script.gap_s:
                await asyncio.sleep(script.gap_s)
            data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
            await response.write(data)
            script.bytes_written += len(data)
        if script.ending == "hang":
            await asyncio.Event().wait()
        if script.ending == "cut":
            _abort(request)
        if script.ending == "done":
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def _abort(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionError("cut by the script")


def _echo(body: dict[str, Any]) -> Script:
    content = body["messages"][-1].get("content")
    text = content if isinstance(content, str) else json.dumps(content)
    if not body.get("stream"):
        return Script(body=completion({"content": text}))
    words = re.findall(r"\S*\s*", text)[:-1] or [""]
    first = chunk(delta={"role": "assistant", "content": ""})
    events = [first, *(chunk(word) for word in words), chunk(finish="stop"), usage_chunk()]
    return Script(events=events)
