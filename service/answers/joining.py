"""Joins a stream's chunks to the answer in one piece. Pure.

What comes of it is what the same answer would be if it had not been streamed, as far as it has come. The rules
of the lists are the contract's (`Delta`); OpenAI's SDKs join by the same, but know fewer fields.
"""

from __future__ import annotations

from typing import Any, Final

from service._gen.parley.v1.chat_completion_pb2 import (
    AssistantMessage,
    AudioOutput,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    Logprobs,
)
from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.tool_pb2 import FunctionCall, ToolEvent
from service.answers.joining_lists import Blocks, Calls, Members, without_index

_TOLD_ONCE: Final = ("service_tier", "system_fingerprint", "session_id")
_TOLD_ONCE_IN_CHOICE: Final = ("completion_id", "model", "native_finish_reason", "stop_sequence")
_TEXTS: Final = frozenset({"content", "refusal", "reasoning_content"})


class Joining:
    """Takes the chunks of one stream. The time it takes grows with their number and no faster."""

    __slots__ = ("_choices", "_head", "_moderation")

    def __init__(self) -> None:
        self._head = ChatCompletion()
        self._moderation = Members()
        self._choices: dict[int, _Choice] = {}

    @property
    def has_choices(self) -> bool:
        """Whether anything of the answer has come."""
        return bool(self._choices)

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Add what the chunk says; the chunk itself is not held on to."""
        head = self._head
        if not head.object:
            head.object, head.id, head.created, head.model = "chat.completion", chunk.id, chunk.created, chunk.model
        for name in _TOLD_ONCE:
            if told := getattr(chunk, name):
                setattr(head, name, told)
        if chunk.HasField("usage"):
            head.usage.CopyFrom(chunk.usage)
        if chunk.HasField("moderation"):
            self._moderation.update(chunk.moderation)
        for piece in chunk.choices:
            choice = self._choices.get(piece.index)
            if choice is None:
                choice = self._choices[piece.index] = _Choice()
            choice.take(piece)

    def completion(self) -> ChatCompletion:
        """All that has come so far; a choice that has not ended has an empty finish reason."""
        completion = ChatCompletion()
        completion.CopyFrom(self._head)
        if self._moderation:
            completion.moderation.CopyFrom(self._moderation.joined())
        for index, choice in sorted(self._choices.items()):
            choice.fill(completion.choices.add(index=index))
        return completion


class _Choice:
    """The pieces of one choice."""

    __slots__ = ("_filtered", "_head", "_logprobs", "_message")

    def __init__(self) -> None:
        self._head = Choice()
        self._filtered = Members()
        self._logprobs = Logprobs()
        self._message = _Message()

    def take(self, piece: ChunkChoice) -> None:
        self._message.take(piece.delta)
        if reason := piece.finish_reason.string_value:
            self._head.finish_reason = reason
        for name in _TOLD_ONCE_IN_CHOICE:
            if told := getattr(piece, name):
                setattr(self._head, name, told)
        if piece.HasField("logprobs"):
            self._logprobs.MergeFrom(piece.logprobs)
        if piece.HasField("content_filter_results"):
            self._filtered.update(piece.content_filter_results)

    def fill(self, choice: Choice) -> None:
        choice.MergeFrom(self._head)
        self._message.fill(choice.message)
        if self._logprobs.ByteSize():
            choice.logprobs.CopyFrom(self._logprobs)
        if self._filtered:
            choice.content_filter_results.CopyFrom(self._filtered.joined())


class _Message:
    """The deltas of one message. Texts are lists of pieces: a string that grows would be copied each time."""

    __slots__ = ("_annotations", "_blocks", "_calls", "_events", "_head", "_provider_content", "_texts")

    def __init__(self) -> None:
        self._head = AssistantMessage(role="assistant")
        self._texts: dict[str, list[str]] = {}
        self._calls = Calls()
        self._blocks = Blocks()
        self._annotations: list[JsonObject] = []
        self._provider_content: list[JsonObject] = []
        self._events: dict[int, ToolEvent] = {}

    def take(self, delta: Delta) -> None:
        for field, value in delta.ListFields():
            name = field.name
            if name in _TEXTS:
                self._append(name, value)
            else:
                self._take(name, value)

    def fill(self, message: AssistantMessage) -> None:
        message.MergeFrom(self._head)
        for name in _TEXTS:
            if text := self._text(name):
                setattr(message, name, text)
        if self._head.HasField("function_call"):
            message.function_call.arguments = self._text("arguments")
        for name in ("data", "transcript"):
            if text := self._text(name):
                setattr(message.audio, name, text)
        message.tool_calls.extend(self._calls.joined())
        message.reasoning_details.extend(self._blocks.joined())
        message.annotations.extend(self._annotations)
        message.provider_content.extend(self._provider_content)
        message.tool_events.extend(event for _, event in sorted(self._events.items(), key=lambda item: item[0]))

    def _take(self, name: str, value: Any) -> None:
        match name:
            case "id":
                self._head.id = value
            case "tool_calls":
                self._calls.take(value)
            case "reasoning_details":
                self._blocks.take(value)
            case "annotations":
                self._annotations.extend(map(without_index, value))
            case "provider_content":
                self._provider_content.extend(map(without_index, value))
            case "tool_events":
                self._events.update((event.index, _copied(event)) for event in value)
            case "function_call":
                self._take_function_call(value)
            case "audio":
                self._take_audio(value)

    def _append(self, name: str, text: str) -> None:
        pieces = self._texts.get(name)
        if pieces is None:
            self._texts[name] = [text]
        else:
            pieces.append(text)

    def _text(self, name: str) -> str:
        return "".join(self._texts.get(name, ()))

    def _take_function_call(self, call: FunctionCall) -> None:
        self._head.function_call.SetInParent()
        if call.name:
            self._head.function_call.name = call.name
        self._append("arguments", call.arguments)

    def _take_audio(self, audio: AudioOutput) -> None:
        if audio.HasField("id"):
            self._head.audio.id = audio.id
        if audio.HasField("expires_at"):
            self._head.audio.expires_at = audio.expires_at
        self._append("data", audio.data)
        self._append("transcript", audio.transcript)


def _copied(event: ToolEvent) -> ToolEvent:
    copied = ToolEvent()
    copied.CopyFrom(event)
    return copied
