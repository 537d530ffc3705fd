"""One request to the fault provider, and the means to answer it rightly or wrongly."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.faults import wire
from tests.support.upstream import chunk, completion, usage_chunk

WORDS = ("one", " two", " three", " four", " five", " six", " seven", " eight", " nine", " ten")
"""The whole answer: what is missing in it, or comes twice, shows."""
TEXT = "".join(WORDS)

Ending = Literal["keep", "close", "reset"]


@dataclass
class Connection:
    """A connection of a client."""

    number: int
    requests: int = 0
    """How many have come on it."""
    closed_s: float | None = None
    """When it ended, by the clock `time.monotonic`; None while it stands."""


@dataclass
class Seen:
    """A request that came, and what became of it. Times are of the clock `time.monotonic`, in seconds."""

    model: str
    is_stream: bool
    connection: Connection
    place: int
    """Which of the connection's requests it is, from 1 on."""
    began_s: float
    """When it had arrived as a whole."""
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    ended_s: float | None = None
    """When the answer had been sent, or was given up."""
    completed: bool = False
    """Whether all was sent that the fault has to send, and the connection may be kept."""
    closed_by_client_after_s: float | None = None
    """When the client closed the connection before that, counted from `began_s`; None where it did not."""

    @property
    def is_connection_kept(self) -> bool:
        """Whether the connection served another request after this one, or still stands for one."""
        is_last = self.connection.requests == self.place
        return not is_last or (self.completed and self.connection.closed_s is None)


@dataclass(frozen=True)
class Asked:
    """What a request asks for, as far as it matters here."""

    model: str
    user: str
    """The request's `user`, or else its messages: requests that are equal in it belong together."""
    is_stream: bool
    wants_usage: bool


def asked_of(body: bytes) -> Asked:
    """Read the body of a request.

    Raises:
        ValueError: It is no JSON object with a `model`.
    """
    value = json.loads(body)
    if not isinstance(value, dict) or not isinstance(value.get("model"), str):
        raise ValueError("expected a JSON object with a `model`")  # noqa: TRY004 - as what json raises
    options = value.get("stream_options")
    return Asked(
        model=value["model"],
        user=str(value.get("user") or json.dumps(value.get("messages"))),
        is_stream=value.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


class Exchange:
    """A request, and the way to answer it.

    Args:
        asked: What it asks for.
        earlier: What became of requests of the same user to the same model.
        now_s: When it came.
        writer: Takes the bytes of the answer.
    """

    def __init__(self, asked: Asked, earlier: Sequence[Seen], now_s: float, writer: asyncio.StreamWriter) -> None:
        self.asked = asked
        self.earlier = earlier
        self.now_s = now_s
        self.ending: Ending = "keep"
        """What becomes of the connection after the answer."""
        self._writer = writer

    @property
    def is_stream(self) -> bool:
        return self.asked.is_stream

    @property
    def content_type(self) -> str:
        """The right one."""
        return "text/event-stream" if self.is_stream else "application/json"

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; waits while the client does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of an answer in chunks."""
        told = {"content-type": self.content_type, "transfer-encoding": "chunked"}
        await self.send(wire.head(200, told | dict(headers or {})))

    async def piece(self, data: bytes) -> None:
        """Send a chunk."""
        await self.send(wire.chunk(data))

    async def end(self) -> None:
        """End the chunks."""
        await self.send(wire.NO_CHUNK)

    async def whole(self, body: bytes, headers: Mapping[str, str] | None = None, *, status: int = 200) -> None:
        """Send an answer whose length is told."""
        told = {"content-type": self.content_type, "content-length": str(len(body))}
        await self.send(wire.head(status, told | dict(headers or {})) + body)

    async def error(self, status: int, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer that tells of a failure."""
        told = {"content-type": "application/json"} | dict(headers or {})
        await self.whole(json.dumps(error_value(kind)).encode(), told, status=status)

    def events(self, texts: Iterable[str] = WORDS) -> list[bytes]:
        """The events of a whole answer: the opening one, one for each text, the finish reason, the usage, `[DONE]`."""
        values = [chunk(delta={"role": "assistant", "content": ""}), *map(chunk, texts), chunk(finish="stop")]
        if self.asked.wants_usage:
            values.append(usage_chunk(tokens_out=len(WORDS)))
        return [*map(event, values), DONE]

    def body(self, content: str = TEXT) -> bytes:
        """A whole answer in one piece."""
        return json.dumps(completion({"content": content})).encode()

    async def first(self, events: float) -> None:
        """Send the head, and the first events; of an answer in one piece, half of it in place of any number of them."""
        await self.begin()
        if self.is_stream:
            for data in self.events()[: int(events)]:
                await self.piece(data)
        elif events:
            await self.piece(self.body()[: len(self.body()) // 2])

    async def healthy(self, texts: Sequence[str] = WORDS) -> None:
        """Answer as it should be."""
        if not self.is_stream:
            await self.whole(self.body("".join(texts)))
            return
        await self.begin()
        for data in self.events(texts):
            await self.piece(data)
        await self.end()


DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    """An event with that JSON."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def error_value(kind: str) -> dict[str, Any]:
    """A failure as OpenAI tells it."""
    return {"error": {"message": "A fault that was asked for.", "type": kind, "param": None, "code": None}}


async def wait(seconds: float) -> None:
    """Wait, for ever where `seconds` is infinite."""
    if math.isinf(seconds):
        await asyncio.Event().wait()
    await asyncio.sleep(seconds)
