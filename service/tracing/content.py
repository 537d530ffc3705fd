"""What was asked and answered, as the conventions for traces have it: JSON, of a bounded size. Pure.

Images, sounds and files are told by their kind alone.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-input-messages.json and
gen-ai-output-messages.json (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage, ChatCompletion
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import ToolCall

_MOST_BYTES: Final = 16 * 1024
"""Of texts in one attribute. A span has three at most, and a receiver takes 4 MiB at once: 64 spans and more."""
_PART_BYTES: Final = 64
"""What a part counts beside its texts; so the number of parts is bounded, too."""
_QUOTES: Final = 2
_INSTRUCTING: Final = frozenset({"system", "developer"})
_encode = msgspec.json.Encoder().encode

_Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounded:
    """A text for an attribute."""

    text: str
    is_cut: bool = False
    """Whether something is missing of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model was asked."""

    instructions: Bounded | None
    """Messages of the roles system and developer, where the conversation begins with some."""
    messages: Bounded
    """The others."""


class _Room:
    """How much may still be said."""

    __slots__ = ("is_cut", "left")

    def __init__(self) -> None:
        self.left = _MOST_BYTES
        self.is_cut = False

    def text(self, text: str) -> str:
        """As much of the text as there is room for."""
        left = max(self.left, 0)
        fitting = text[:left]  # no character takes less than a byte
        while fitting and (size := len(_encode(fitting)) - _QUOTES) > left:  # as JSON, a character may take 6
            fitting = fitting[: len(fitting) * left // size]
        self.left -= len(_encode(fitting)) - _QUOTES
        self.is_cut |= len(fitting) < len(text)
        return fitting


def asked(messages: Sequence[Message]) -> Asked:
    """The conversation; where it is too long, its end."""
    begin = 0
    while begin < len(messages) and messages[begin].role in _INSTRUCTING:
        begin += 1
    instructions = None
    if begin:
        room = _Room()
        parts = [part for message in messages[:begin] for part in _within(room, _content(message, room))]
        instructions = Bounded(_encode(parts).decode(), room.is_cut)
    room = _Room()
    told: list[_Part] = []
    for index in range(len(messages) - 1, begin - 1, -1):
        if room.left <= 0:
            room.is_cut = True
            break
        room.left -= _PART_BYTES
        message = messages[index]
        told.append({"role": message.role, "parts": list(_within(room, _parts_of(message, room)))})
    return Asked(instructions, Bounded(_encode(told[::-1]).decode(), room.is_cut))


def answered(completion: ChatCompletion) -> Bounded:
    """The answer."""
    room = _Room()
    told = []
    for choice in completion.choices:
        if room.left <= 0:
            room.is_cut = True
            break
        room.left -= _PART_BYTES
        parts = list(_within(room, _parts_of_answer(choice.message, room)))
        told.append({"role": "assistant", "parts": parts, "finish_reason": choice.finish_reason})
    return Bounded(_encode(told).decode(), room.is_cut)


def bounded(text: str) -> Bounded:
    """A text as it is, or its beginning."""
    room = _Room()
    fitting = room.text(text)
    return Bounded(fitting, room.is_cut)


def _within(room: _Room, parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts for which there is room."""
    each = iter(parts)
    while True:
        is_full = room.left <= 0
        part = next(each, None)
        if part is None:
            return
        if is_full:
            room.is_cut = True
            return
        room.left -= _PART_BYTES
        yield part


def _parts_of(message: Message, room: _Room) -> Iterator[_Part]:
    if message.role == "tool":
        text = "".join(part.get("content", "") for part in _content(message, room))
        yield {"type": "tool_call_response", "id": room.text(message.tool_call_id), "response": text}
        return
    if message.reasoning_content:
        yield {"type": "reasoning", "content": room.text(message.reasoning_content)}
    yield from _content(message, room)
    yield from _calls(message.tool_calls, room)


def _parts_of_answer(message: AssistantMessage, room: _Room) -> Iterator[_Part]:
    if message.reasoning_content:
        yield {"type": "reasoning", "content": room.text(message.reasoning_content)}
    if text := message.content or message.refusal:
        yield {"type": "text", "content": room.text(text)}
    yield from _calls(message.tool_calls, room)


def _content(message: Message, room: _Room) -> Iterator[_Part]:
    """The content, whichever way it was given; all of it has been validated."""
    if message.content.string_value:
        yield {"type": "text", "content": room.text(message.content.string_value)}
    for value in message.content.list_value.values:
        fields = value.struct_value.fields
        yield _part(fields["type"].string_value, fields["text"].string_value if "text" in fields else "", room)
    for part in message.parts:
        yield _part(part.type, part.text, room)


def _part(kind: str, text: str, room: _Room) -> _Part:
    return {"type": "text", "content": room.text(text)} if kind == "text" else {"type": room.text(kind)}


def _calls(calls: Sequence[ToolCall], room: _Room) -> Iterator[_Part]:
    for call in calls:
        name, arguments = call.function.name, call.function.arguments
        if call.HasField("custom"):
            name, arguments = call.custom.name, call.custom.input
        id_, name = room.text(call.id), room.text(name)
        yield {"type": "tool_call", "id": id_, "name": name, "arguments": room.text(arguments)}
