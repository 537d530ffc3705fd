"""What is checked of free JSON in requests that are stored: no provider may have read it, yet it is printed again."""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue
from service.errors import invalid
from service.json_values import InvalidJsonError, object_to_json, value_to_json


def settle_json(message: Message, path: str = "") -> None:
    """Check that all free JSON in a message is JSON, and write down the empty keys that its caller has left out.

    Envoy, which prints what is stored, does not survive a member without a key, and makes no JSON of what is none.

    Args:
        message: A request, or a part of one.
        path: Where it stands; empty for a request.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind.GetOptions().map_entry:
            continue
        place = f"{path}.{field.name}" if path else field.name
        if field.is_repeated:
            for index, item in enumerate(value):
                _settle(item, f"{place}[{index}]")
        else:
            _settle(value, place)


def _settle(value: Message, place: str) -> None:
    try:
        if isinstance(value, JsonObject):
            object_to_json(value)
            _write_keys(value)
        elif not isinstance(value, Value):
            settle_json(value, place)
        elif not value.HasField("string_value"):  # nothing can be wrong with it, and it may be large
            value_to_json(value)
    except InvalidJsonError as error:
        raise invalid(place, f"JSON; it {error}") from None


def _write_keys(members: JsonObject) -> None:
    for entry in members.fields:
        if not entry.key:
            entry.key = ""
        _write_keys_within(entry.value)


def _write_keys_within(value: JsonValue) -> None:
    match value.WhichOneof("kind"):
        case "struct_value":
            _write_keys(value.struct_value)
        case "list_value":
            for item in value.list_value.values:
                _write_keys_within(item)
        case _:
            pass
