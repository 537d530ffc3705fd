"""From the contract's messages to Gemini's `systemInstruction` and `contents`. Pure.

Source: https://ai.google.dev/api/generate-content and
https://ai.google.dev/gemini-api/docs/function-calling (2026-11-22).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from service._gen.parley.v1.message_pb2 import Message
from service.errors import invalid
from service.providers.content import parts_of
from service.providers.gemini import wire
from service.providers.gemini.history import model_parts
from service.providers.gemini.models import has_media_results
from service.providers.gemini.parts import encode_part, inline_type_of
from service.providers.provider import ProviderCall

_RESULT_MEDIA: Final = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
"""What a result may hold itself, if it is given as data: Vertex AI takes addresses there too, but the Gemini API
does not. Source: https://ai.google.dev/gemini-api/docs/function-calling#multimodal (2026-11-22), and google-genai's
FunctionResponsePart."""

_Parts = list[dict[str, Any]]


class Conversation(NamedTuple):
    """What Gemini is sent of the messages."""

    system: _Parts
    """Parts of `systemInstruction`; may be empty."""
    contents: list[dict[str, Any]]


def encode_messages(call: ProviderCall) -> Conversation:
    """The conversation.

    Gemini has one place for instructions, ahead of the conversation: system and developer messages go there,
    in their order, also those from amid the conversation. Neighbours of one role are joined, for turns have
    to take turns; so are neighbouring results of functions, which belong to one turn of the model.

    Raises:
        RequestError: A message holds what can't be sent.
    """
    system: _Parts = []
    contents = _Contents()
    for index, message in enumerate(call.request.messages):
        path = f"messages[{index}]"
        _omit_marks(path, message, call)
        match message.role:
            case "system" | "developer":
                system += _system_parts(path, message, call)
            case "user":
                contents.add_user(_user_parts(path, message, call))
            case "assistant":
                _refuse_others(path, message, call)
                contents.add_model(model_parts(path, message, call), message)
            case "tool":
                contents.add_result(*_result(path, message, contents.names, call))
            case _:
                call.omissions.refuse(f"{path}.role", 'knows no such role: results of functions have the role "tool"')
    contents.end_results()
    if not contents.done:
        raise invalid("messages", "more than instructions: the provider needs a message to answer")
    return Conversation(system, contents.done)


class _Contents:
    """Collects the turns."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        """Names of the functions that were called, by the call's id."""
        self._last = ""
        self._media: _Parts = []  # of results, which follow when all results of the turn are told

    def add_user(self, parts: _Parts) -> None:
        media, self._media = self._media, []
        self._add("user", "user", media + parts)

    def add_model(self, parts: _Parts, message: Message) -> None:
        self.end_results()
        self.names |= {call.id: call.function.name for call in message.tool_calls}
        self._add("model", "model", parts)

    def add_result(self, part: dict[str, Any], media: _Parts) -> None:
        """Results stand in a turn of their own, beside which the user's text stands in another: as recorded."""
        self._add("results", "user", [part])
        self._media += media

    def end_results(self) -> None:
        if self._media:
            self.add_user([])

    def _add(self, kind: str, role: str, parts: _Parts) -> None:
        if not parts:
            return
        if kind == self._last:
            self.done[-1]["parts"] += parts
        else:
            self.done.append({"role": role, "parts": list(parts)})
        self._last = kind


def _omit_marks(path: str, message: Message, call: ProviderCall) -> None:
    if message.HasField("cache_control"):
        call.omissions.omit(f"{path}.cache_control", "reads no marks for its cache")
    if message.name and message.role not in {"tool", "function"}:
        call.omissions.omit(f"{path}.name", "knows no names of participants")


def _refuse_others(path: str, message: Message, call: ProviderCall) -> None:
    if message.HasField("function_call"):
        call.omissions.refuse(f"{path}.function_call", "reads `tool_calls` only")
    if message.HasField("audio"):
        call.omissions.refuse(f"{path}.audio", "keeps no sound of earlier answers")
    if message.prefix:
        call.omissions.omit(f"{path}.prefix", "has no mark for the beginning of an answer")


def _encoded(path: str, message: Message, call: ProviderCall) -> _Parts:
    name = "parts" if message.parts else "content"
    parts = parts_of(path, message)
    return [encode_part(f"{path}.{name}[{index}]", part, call) for index, part in enumerate(parts)]


def _system_parts(path: str, message: Message, call: ProviderCall) -> _Parts:
    parts = _encoded(path, message, call)
    for index, part in enumerate(parts):
        if "text" not in part:
            name = "parts" if message.parts else "content"
            call.omissions.refuse(f"{path}.{name}[{index}].type", "reads instructions as text only")
    return parts


def _user_parts(path: str, message: Message, call: ProviderCall) -> _Parts:
    """A turn without parts is refused, and one of an empty text is not: as recorded in
    google/test_google_instructions_only_with_tool_calls.
    """  # noqa: D205 - one sentence
    return _encoded(path, message, call) or [{"text": ""}]


def _result(path: str, message: Message, names: dict[str, str], call: ProviderCall) -> tuple[dict[str, Any], _Parts]:
    """The result of a function, and those of its media that it can't hold itself."""
    name = names.get(message.tool_call_id) or message.name
    if not name:
        raise invalid(f"{path}.tool_call_id", "the id of one of the calls before")
    parts = _encoded(path, message, call)
    held: _Parts = []
    following: _Parts = []
    can_hold = has_media_results(call.model)
    for part in parts:
        if "text" not in part:
            (held if can_hold and inline_type_of(part) in _RESULT_MEDIA else following).append(part)
    text = "".join(part["text"] for part in parts if "text" in part)
    has_media = bool(held or following)
    function: dict[str, Any] = {
        "id": message.tool_call_id,
        "name": name,
        "response": _response(text, is_error=message.is_error) if text or not has_media else {},
    }
    if held:
        function["parts"] = held
    return {"functionResponse": function}, following


def _response(text: str, *, is_error: bool) -> dict[str, Any] | msgspec.Raw:
    """A JSON object is the result itself; any other text is its `output`, or its `error`.

    Source: https://ai.google.dev/api/caching#FunctionResponse (2026-11-22).
    """
    if is_error:
        return {"error": text}
    try:
        wire.decode_arguments(text)
    except wire.UNREADABLE:
        return {"output": text}
    return msgspec.Raw(text.encode())
