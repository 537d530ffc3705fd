"""The messages that tell a model of its own turns: what it wrote and called, and what came of the calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import FunctionCall, ToolCall, ToolEvent
from service.answers.joining_lists import without_index

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
OK: Final = "ok"
ERROR: Final = "error"
_TEXTS: Final = ("refusal", "reasoning_content")


def turn_messages(written: AssistantMessage, events: Sequence[ToolEvent]) -> list[Message]:
    """A turn, all of whose calls the events answer, as the next turn's request tells of it."""
    message = Message(role="assistant")
    if written.content:
        message.content.string_value = written.content
    for name in _TEXTS:
        if text := getattr(written, name):
            setattr(message, name, text)
    message.reasoning_details.extend(written.reasoning_details)
    message.provider_content.extend(map(without_index, written.provider_content))
    message.tool_calls.extend(map(call_of, events))
    return [message, *map(result_of, events)]


def call_of(event: ToolEvent) -> ToolCall:
    """The call that the event answers, in a form that every provider takes."""
    call = ToolCall(
        id=event.id,
        type="function",
        function=FunctionCall(name=event.tool, arguments=_object_text(event.arguments)),
    )
    if event.HasField("extra_content"):
        call.extra_content.CopyFrom(event.extra_content)
    return call


def result_of(event: ToolEvent) -> Message:
    """What came of the call."""
    message = Message(role="tool", tool_call_id=event.id)
    message.content.string_value = event.result
    if event.status == ERROR:
        message.is_error = True
    return message


def _object_text(arguments: str) -> str:
    """The arguments, or those of a call without any where they are no JSON object: many providers refuse such a
    conversation as a whole, and the result says what was wrong.
    """  # noqa: D205 - one sentence
    try:
        _decode_object(arguments)
    except (msgspec.DecodeError, RecursionError):
        return "{}"
    return arguments
