"""From an assistant's message back to the parts that Gemini wrote. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import ToolCall
from service.errors import invalid
from service.json_values import Json
from service.providers.content import object_at, own_reasoning, parts_of
from service.providers.gemini import wire
from service.providers.gemini.details import FORMAT, REASONING_FORMAT, merged_details
from service.providers.gemini.models import needs_signatures
from service.providers.gemini.parts import encode_part
from service.providers.provider import ProviderCall

_UNSIGNED: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini did not make, or whose signature is lost; without one, Gemini 3
refuses the conversation. Source: https://ai.google.dev/gemini-api/docs/thought-signatures (2026-11-22)."""

_Parts = list[dict[str, Any]]


def model_parts(path: str, message: Message, call: ProviderCall) -> _Parts:
    """The parts of a turn of the model.

    Where the message has `provider_content` of Gemini, the parts are made again in its order; what it does
    not tell of (a text that has grown, further calls) follows. Otherwise the order is: signed thoughts, text,
    calls. Thoughts without a signature, and `reasoning_content` alone, are not sent back: the model does not
    read them.

    Raises:
        RequestError: The message holds what can't be sent.
    """
    name = "parts" if message.parts else "content"
    said = [encode_part(f"{path}.{name}[{index}]", part, call) for index, part in enumerate(parts_of(path, message))]
    said += [{"text": message.refusal}] if message.refusal else []
    turn = _Turn(said, _thoughts(path, message), _calls(path, message, call))
    entries = [object_at(f"{path}.provider_content[{i}]", entry) for i, entry in enumerate(message.provider_content)]
    for index, entry in enumerate(entries):
        if entry.get("format") == FORMAT:
            turn.place(f"{path}.provider_content[{index}]", entry)
    return turn.rest_first() + turn.placed + turn.rest_last()


class _Turn:
    """Puts the pieces of a message into the order of its `provider_content`."""

    def __init__(self, said: _Parts, thoughts: dict[int, dict[str, Any]], calls: dict[str, dict[str, Any]]) -> None:
        self.placed: _Parts = []
        self._said = said
        self._text = "".join(part["text"] for part in said if "text" in part)
        self._told = 0  # characters of the text
        self._thoughts = thoughts
        self._calls = calls

    def place(self, path: str, entry: dict[str, Json]) -> None:
        """Place what the entry tells of; nothing where the caller has taken it out of the message."""
        block = entry.get("block", {})
        if not isinstance(block, dict):
            raise invalid(f"{path}.block", "an object")
        if "text_length" in entry:
            self._place_text(f"{path}.text_length", entry["text_length"], block)
        elif "reasoning_index" in entry:
            index = entry["reasoning_index"]
            thought = self._thoughts.pop(index, None) if isinstance(index, int) else None
            self.placed += [thought] if thought else []
        elif "tool_call_id" in entry:
            call = self._calls.pop(str(entry["tool_call_id"]), None)
            self.placed += [call | block] if call else []
        elif block:
            self.placed.append(block)

    def _place_text(self, path: str, length: Json, block: dict[str, Json]) -> None:
        if not isinstance(length, int) or length < 0:
            raise invalid(path, "a number of characters")
        text = self._text[self._told : self._told + length]
        self._told += len(text)
        if text or block:
            self.placed.append({"text": text, **block})

    def rest_first(self) -> _Parts:
        """Signed thoughts that no entry told of."""
        return list(self._thoughts.values())

    def rest_last(self) -> _Parts:
        """Text, media and calls that no entry told of."""
        said = self._said
        if self._told:
            media = [part for part in said if "text" not in part]
            said = [{"text": self._text[self._told :]}, *media]
        return [part for part in said if part != {"text": ""}] + list(self._calls.values())


def _thoughts(path: str, message: Message) -> dict[int, dict[str, Any]]:
    """The signed ones, by their index."""
    details = []
    for place, detail in own_reasoning(path, message, REASONING_FORMAT):
        index = detail.get("index")
        if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
            raise invalid(f"{place}.index", "a whole number")
        details.append(detail)
    return {
        detail["index"]: {"text": detail.get("text", ""), "thought": True, "thoughtSignature": detail["signature"]}
        for detail in merged_details(details)
        if "signature" in detail
    }


def _calls(path: str, message: Message, call: ProviderCall) -> dict[str, dict[str, Any]]:
    """The calls by their ids, which the API takes whoever made them: as recorded in google/… and google-vertex/…."""
    calls: dict[str, dict[str, Any]] = {}
    for index, made in enumerate(message.tool_calls):
        if made.id in calls:
            raise invalid(f"{path}.tool_calls[{index}].id", "another than that of the calls before")
        calls[made.id] = _call(f"{path}.tool_calls[{index}]", made, call)
    is_signed = any("thoughtSignature" in part for part in calls.values())
    if calls and not is_signed and needs_signatures(call.model):
        next(iter(calls.values()))["thoughtSignature"] = _UNSIGNED  # of several calls, the first has it
    return calls


def _call(path: str, made: ToolCall, call: ProviderCall) -> dict[str, Any]:
    if made.type == "custom" or (not made.type and made.HasField("custom")):
        call.omissions.refuse(f"{path}.type", "knows no calls but of functions")
    arguments = made.function.arguments or "{}"
    try:
        wire.decode_arguments(arguments)
    except wire.UNREADABLE:
        raise invalid(f"{path}.function.arguments", "the JSON text of an object") from None
    function = {"id": made.id, "name": made.function.name, "args": msgspec.Raw(arguments.encode())}
    part: dict[str, Any] = {"functionCall": function}
    extra = object_at(f"{path}.extra_content", made.extra_content).get("google")
    if isinstance(extra, dict) and "thought_signature" in extra:
        if not isinstance(extra["thought_signature"], str):
            raise invalid(f"{path}.extra_content.google.thought_signature", "a string")
        part["thoughtSignature"] = extra["thought_signature"]
    return part
