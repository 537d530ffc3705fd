"""Reads a message's content, whichever way the caller gave it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from google.protobuf.struct_pb2 import Struct, Value

from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.message_pb2 import ContentPart, File, ImageUrl, InputAudio, Message, VideoUrl
from service.errors import Reason, RequestError, invalid
from service.json_values import InvalidJsonError, Json, json_object, object_to_json, value_to_json

_DATA_URL: Final = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<parameters>(;[\w.+-]+=[^;,]*)*);base64,")
_NESTED: Final = {"image_url": ImageUrl, "input_audio": InputAudio, "file": File, "video_url": VideoUrl}
_STRINGS: Final = ("type", "text", "document_url", "refusal")
_OBJECTS: Final = ("cache_control", "prompt_cache_breakpoint")
_SAFE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_OF_EVERY_PART: Final = frozenset({"type", *_OBJECTS})


class Data(NamedTuple):
    """The content of a data URL."""

    media_type: str
    """In lower case, without parameters; empty where the URL has none."""
    base64: str


def parts_of(path: str, message: Message) -> list[ContentPart]:
    """The content as typed parts; a mere string is one part of type text, an empty one is none.

    Args:
        path: Where the message stands, such as `messages[0]`.
        message: Validated.

    Raises:
        RequestError: A part has a member that the contract doesn't know, or that is not its type's, which
            would have to be dropped; or one of a wrong type.
    """
    if message.parts:
        for index, part in enumerate(message.parts):
            for field, _ in part.ListFields():
                if field.name != part.type and field.name not in _OF_EVERY_PART:
                    raise _unknown(f"{path}.parts[{index}]", field.name)
        return list(message.parts)
    if not message.HasField("content"):
        return []
    if message.content.WhichOneof("kind") == "string_value":
        text = message.content.string_value
        return [ContentPart(type="text", text=text)] if text else []
    values = message.content.list_value.values
    return [_typed(f"{path}.content[{index}]", value.struct_value) for index, value in enumerate(values)]


def object_at(path: str, value: JsonObject) -> dict[str, Json]:
    """An ordered object of the request, in its order.

    Raises:
        RequestError: PARAMETER_INVALID: it holds what JSON can't say.
    """
    try:
        return object_to_json(value)
    except InvalidJsonError as error:
        raise RequestError(Reason.PARAMETER_INVALID, f"`{path}` {error}.", param=path) from None


def own_reasoning(path: str, message: Message, own_format: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Path and content of the entries of `reasoning_details` that are of a provider's own format.

    The pieces of a stream tell the format in the first piece of each block, and may be sent back so: an
    entry without one belongs to the block of its type and index.

    Raises:
        RequestError: PARAMETER_INVALID: an entry holds what JSON can't say.
    """
    begun: set[tuple[str, str]] = set()
    for number, item in enumerate(message.reasoning_details):
        place = f"{path}.reasoning_details[{number}]"
        entry = object_at(place, item)
        block = (str(entry.get("type")), str(entry.get("index")))
        if entry.get("format") == own_format:
            begun.add(block)
            yield place, entry
        elif entry.get("format") is None and block in begun:
            yield place, entry


def member_path(path: str, name: str) -> str:
    """The path of a member that the caller has named; that of its object where the name is none to be shown."""
    return f"{path}.{name}" if _SAFE_NAME.fullmatch(name) else path


def read_data_url(url: str) -> Data | None:
    """The content of a data URL in base64; None where `url` is another one."""
    match = _DATA_URL.match(url)
    if match is None:
        return None
    return Data((match["type"] or "").lower(), url[match.end() :])


def _typed(path: str, part: Struct) -> ContentPart:
    typed = ContentPart()
    for name, value in part.fields.items():
        if value.WhichOneof("kind") == "null_value":
            continue
        if name not in _OF_EVERY_PART and name != part.fields["type"].string_value:
            raise _unknown(path, name)
        if name in _STRINGS:
            setattr(typed, name, _string(f"{path}.{name}", value))
        elif name in _NESTED:
            _fill(f"{path}.{name}", getattr(typed, name), value)
        else:
            getattr(typed, name).CopyFrom(_object(f"{path}.{name}", value))
    return typed


def _fill(path: str, target: ImageUrl | InputAudio | File | VideoUrl, value: Value) -> None:
    target.SetInParent()
    fields = target.DESCRIPTOR.fields_by_name
    for name, member in value.struct_value.fields.items():
        field = fields.get(name)
        if field is None:
            raise _unknown(path, name)
        if member.WhichOneof("kind") == "null_value":
            continue
        if field.type == field.TYPE_BOOL:
            if member.WhichOneof("kind") != "bool_value":
                raise invalid(f"{path}.{name}", "true or false")
            setattr(target, name, member.bool_value)
        else:
            setattr(target, name, _string(f"{path}.{name}", member))


def _object(path: str, value: Value) -> JsonObject:
    try:
        members = value_to_json(value)
        if not isinstance(members, dict):
            raise invalid(path, "an object")
        return json_object(members)
    except InvalidJsonError as error:
        raise RequestError(Reason.PARAMETER_INVALID, f"`{path}` {error}.", param=path) from None


def _string(path: str, value: Value) -> str:
    if value.WhichOneof("kind") != "string_value":
        raise invalid(path, "a string")
    return value.string_value


def _unknown(path: str, name: str) -> RequestError:
    param = member_path(path, name)
    message = f"`{param}` is no member of such a part that this provider could be told: leave it out."
    return RequestError(Reason.PARAMETER_UNSUPPORTED, message, param=param)
