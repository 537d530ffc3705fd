"""From Cohere's stream of events to the contract's chunks. Pure.

Source: https://docs.cohere.com/docs/streaming and https://docs.cohere.com/docs/tool-use-streaming
(2026-11-22).
"""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1.tool_pb2 import FunctionCall, ToolCallDelta
from service.errors import Interrupted, Malformed
from service.json_values import json_object
from service.providers.cohere.response import Call, Content, Usage, citation_of, finish_reason_of, usage_of
from service.providers.provider import ProviderCall
from service.providers.reading import malformed_if_unreadable
from service.providers.sse import SseEvent


class MessageDelta(msgspec.Struct):
    """What an event adds to the message: one of these. The event that opens it has (empty) lists of them."""

    content: Content | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: Call | list[Any] | None = None
    citations: dict[str, Any] | list[Any] | None = None


class Delta(msgspec.Struct):
    """What an event adds."""

    message: MessageDelta | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


class Event(msgspec.Struct):
    """An event; fields and types that are not told here are let pass."""

    type: str
    id: str | None = None
    delta: Delta | None = None


_decode = msgspec.json.Decoder(Event).decode


class StreamTranslator:
    """Translates one stream. See `chat_api.StreamTranslator`."""

    def __init__(self, provider: str, call: ProviderCall) -> None:
        self._provider = provider
        self._identity = call.identity
        self._id = ""
        self._calls = 0
        self._usage: pb.Usage | None = None
        self.is_over = False

    def translate(self, event: SseEvent) -> list[pb.ChatCompletionChunk]:
        """See `chat_api.StreamTranslator`."""
        if event.data == b"[DONE]":
            return []
        with malformed_if_unreadable(self._provider):
            told = _decode(event.data)
            delta = told.delta or Delta()
            match told.type:
                case "message-start":
                    self._id = told.id or self._identity.id
                    return [self._chunk(pb.Delta(role="assistant", content=""))]
                case "message-end" if self._id:
                    return self._end(delta)
                case _ if delta.message is not None and not self.is_over:
                    if not self._id:
                        raise Malformed(
                            "The provider's stream has no beginning.", metadata={"provider": self._provider}
                        )
                    added = self._delta(told.type, delta.message)
                    return [self._chunk(added)] if added.ByteSize() else []
                case _:
                    return []

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """See `chat_api.StreamTranslator`."""
        if not self.is_over:
            message = "The provider's stream ended before the answer was complete."
            raise Interrupted(message, metadata={"provider": self._provider})
        if self._usage is None:
            return []
        chunk = self._chunk(None)
        chunk.usage.CopyFrom(self._usage)
        return [chunk]

    def _delta(self, kind: str, message: MessageDelta) -> pb.Delta:
        delta = pb.Delta()
        if isinstance(message.content, Content):
            delta = pb.Delta(content=message.content.text or None, reasoning_content=message.content.thinking or None)
        if message.tool_plan:
            delta.reasoning_content = message.tool_plan
        if isinstance(message.tool_calls, Call):
            delta.tool_calls.append(self._call(message.tool_calls, is_first=kind == "tool-call-start"))
        if isinstance(message.citations, dict):
            delta.annotations.append(json_object(citation_of(message.citations)))
        return delta

    def _call(self, call: Call, *, is_first: bool) -> ToolCallDelta:
        function = FunctionCall(name=call.function.name if is_first else None, arguments=call.function.arguments or "")
        self._calls += is_first
        index = max(self._calls - 1, 0)
        if not is_first:
            return ToolCallDelta(index=index, function=function)
        return ToolCallDelta(index=index, id=call.id or f"call_{self._id}_{index}", type="function", function=function)

    def _end(self, delta: Delta) -> list[pb.ChatCompletionChunk]:
        if self.is_over:
            return []
        reason = finish_reason_of(self._provider, delta.finish_reason or "ERROR")
        self.is_over = True
        self._usage = usage_of(delta.usage)
        chunk = self._chunk(pb.Delta())
        chunk.choices[0].finish_reason.string_value = reason
        chunk.choices[0].native_finish_reason = delta.finish_reason or ""
        return [chunk]

    def _chunk(self, delta: pb.Delta | None) -> pb.ChatCompletionChunk:
        chunk = pb.ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._identity.created,
            model=self._identity.model,
        )
        if delta is not None:
            chunk.choices.add(index=0, delta=delta, finish_reason=Value(null_value=NULL_VALUE))
        return chunk
