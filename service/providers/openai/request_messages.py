"""From the contract's messages to OpenAI's form of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service._gen.parley.v1 import message_pb2, tool_pb2
from service.json_values import Json, object_to_json, value_to_json

_Body = dict[str, Any]
_Encoder = Callable[[Any], Any]


def encode_message(message: message_pb2.Message) -> _Body:
    """A message in OpenAI's form, with all that the contract has beyond it.

    Raises:
        InvalidJsonError: A free-form field holds what JSON can't say.
    """
    body: _Body = {}
    for field, value in message.ListFields():
        name, encoder = _ENCODERS[field]
        if encoder is not None:
            body[name] = encoder(value)
    if "parts" in body:
        body["content"] = body.pop("parts")
    return body


def _same(value: Any) -> Any:
    return value


def _objects(values: Any) -> list[dict[str, Json]]:
    return [object_to_json(value) for value in values]


def _encode_part(part: message_pb2.ContentPart) -> _Body:
    return {field.name: _PART_FIELDS[field.name](value) for field, value in part.ListFields()}


def _encode_flat(message: Any) -> _Body:
    """A message whose fields are all scalars that are sent by their names."""
    return {field.name: value for field, value in message.ListFields()}


def _encode_tool_call(call: tool_pb2.ToolCall) -> _Body:
    body: _Body = {"id": call.id, "type": call.type or ("custom" if call.HasField("custom") else "function")}
    if call.HasField("function"):
        body["function"] = {"name": call.function.name, "arguments": call.function.arguments}
    if call.HasField("custom"):
        body["custom"] = {"name": call.custom.name, "input": call.custom.input}
    if call.HasField("extra_content"):
        body["extra_content"] = object_to_json(call.extra_content)
    return body


_PART_FIELDS: dict[str, _Encoder] = {
    "type": _same,
    "text": _same,
    "image_url": _encode_flat,
    "input_audio": _encode_flat,
    "file": _encode_flat,
    "video_url": _encode_flat,
    "document_url": _same,
    "refusal": _same,
    "cache_control": object_to_json,
    "prompt_cache_breakpoint": object_to_json,
}

# None: accepted so that an answer can be sent back, and of no use to the provider; or refused before.
_MESSAGE_FIELDS: dict[str, _Encoder | None] = {
    "role": _same,
    "content": value_to_json,
    "parts": lambda parts: [_encode_part(part) for part in parts],
    "name": _same,
    "tool_call_id": _same,
    "tool_calls": lambda calls: [_encode_tool_call(call) for call in calls],
    "function_call": lambda call: {"name": call.name, "arguments": call.arguments},
    "refusal": _same,
    "audio": lambda audio: {"id": audio.id},
    "reasoning_content": _same,
    "reasoning": _same,
    "reasoning_details": _objects,
    "annotations": None,
    "cache_control": object_to_json,
    "prefix": _same,
    "id": None,
    "completion_id": None,
    "metadata": None,
    # Of providers that run tools of their own, whose work these APIs do not take back (Groq), and of
    # Anthropic and Gemini.
    "provider_content": None,
    "is_error": None,
    "tool_events": None,  # before a provider is asked, the calls and results that they tell of stand in their place
}

_ENCODERS: Final = {field: (field.name, _MESSAGE_FIELDS[field.name]) for field in message_pb2.Message.DESCRIPTOR.fields}
"""By descriptor, whose name takes longer to read than to look it up."""
