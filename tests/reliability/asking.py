"""Asks on both faces, many calls at once, and tells what came when."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.support.faces import Face
from tests.support.json_form import json_of, to_proto
from tests.support.stack import Stack

WITHIN_S = 20.0
"""Bounds every call: none of them may hang."""


@dataclass
class Told:
    """What a caller got."""

    status: str = ""
    """REST: the HTTP status; gRPC: the name of the code."""
    reason: str = ""
    """REST: the error's `code`; gRPC: the reason of ErrorInfo, in lower case; empty where nothing failed."""
    text: str = ""
    """The content, as far as it came."""
    pieces: int = 0
    """How many chunks had a content."""
    finish: str | None = None
    is_done: bool = False
    """Whether the answer ended as a whole one does: OK, `[DONE]`, or one in one piece."""
    metadata: dict[str, str] = field(default_factory=dict)
    trouble: str = ""
    """What no answer may do: hang, break off, or have another form than it should."""
    seconds: float = 0.0
    ended_s: float = 0.0
    """When the call ended, by the clock `time.monotonic`."""

    @property
    def attempts(self) -> int:
        return int(self.metadata.get("x-parley-attempts", "0"))

    @property
    def target(self) -> str:
        return self.metadata.get("x-parley-target", "")


class Caller:
    """Clients of a stack: a channel to the service, one to the gateway, and one for REST. Close it."""

    def __init__(self, stack: Stack) -> None:
        self._channels: dict[Face, grpc.aio.Channel] = {
            "grpc": grpc.aio.insecure_channel(stack.grpc_address),
            "grpc-envoy": grpc.aio.insecure_channel(stack.http_address),
        }
        self._http = httpx.AsyncClient(
            base_url=stack.url,
            timeout=WITHIN_S,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def close(self) -> None:
        await self._http.aclose()
        for channel in self._channels.values():
            await channel.close()

    async def ask(self, face: Face, body: dict[str, Any]) -> Told:
        """Ask for an answer, streamed where the body says `stream: true`."""
        told = Told()
        began_s = time.monotonic()
        try:
            if face == "rest":
                await self._ask_rest(body, told)
            else:
                await self._ask_grpc(ChatServiceStub(self._channels[face]), body, told)
        except (httpx.HTTPError, AssertionError, ValueError, LookupError) as error:
            told.trouble = repr(error)
        told.ended_s = time.monotonic()
        told.seconds = told.ended_s - began_s
        return told

    async def _ask_rest(self, body: dict[str, Any], told: Told) -> None:
        answer = await self._http.post("/v1/chat/completions", json=body)
        told.status = str(answer.status_code)
        told.metadata = dict(answer.headers)
        if answer.headers["content-type"] == "text/event-stream":
            _read_events(answer.text, told)
        elif answer.status_code == 200:
            _note_whole(answer.json(), told)
        else:
            told.reason = _reason_of(answer.json())

    async def _ask_grpc(self, stub: Any, body: dict[str, Any], told: Told) -> None:
        request = to_proto(body)
        ask = stub.StreamChatCompletion if body.get("stream") else stub.CreateChatCompletion
        call: Any = ask(request, timeout=WITHIN_S)
        try:
            if body.get("stream"):
                async for chunk in call:
                    _note_chunk(json_of(chunk), told)
                told.is_done = True
            else:
                _note_whole(json_of(await call), told)
        except grpc.aio.AioRpcError as error:
            told.reason = _grpc_reason(error)
        told.status = (await call.code()).name
        for metadata in (await call.initial_metadata(), await call.trailing_metadata()):
            told.metadata |= {name: value for name, value in metadata or () if isinstance(value, str)}


def _read_events(text: str, told: Told) -> None:
    *events, rest = text.split("\n\n")
    assert rest == "", "the stream ends within an event"
    for event in events:
        assert not told.is_done, "something follows `[DONE]`"
        assert not told.reason, "something follows the error"
        if event.startswith(":"):
            continue
        if event == "data: [DONE]":
            told.is_done = True
            continue
        value = json.loads(event.removeprefix("data: "))
        if "error" in value:
            told.reason = _reason_of(value)
        else:
            _note_chunk(value, told)


def _note_chunk(chunk: dict[str, Any], told: Told) -> None:
    for choice in chunk["choices"] or ():
        content = choice["delta"].get("content") or ""
        told.text += content
        told.pieces += bool(content)
        told.finish = choice.get("finish_reason") or told.finish


def _note_whole(answer: dict[str, Any], told: Told) -> None:
    told.text = answer["choices"][0]["message"]["content"]
    told.finish = answer["choices"][0]["finish_reason"]
    told.is_done = True


def _reason_of(value: dict[str, Any]) -> str:
    assert set(value) == {"error"}
    assert set(value["error"]) == {"message", "type", "param", "code"}
    return str(value["error"]["code"])


def _grpc_reason(error: grpc.aio.AioRpcError) -> str:
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert isinstance(raw, bytes), f"no details: {error.code()} {error.details()}"
    info = ErrorInfo()
    assert Status.FromString(raw).details[0].Unpack(info)
    return info.reason.lower()
