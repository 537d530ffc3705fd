"""JSON values between their protobuf forms and Python.

Both `google.protobuf.Value` and the contract's ordered `JsonValue` are read; numbers become `int`
where they are integral, so that a provider is sent `1` and not `1.0`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


_MAX_DEPTH = 30
"""Objects and arrays within each other. Each takes up to three levels of messages, and protobuf reads
no more than 100 (Python, Java and C++ alike)."""


class InvalidJsonError(ValueError):
    """A message that stands for a JSON value is none; the text says why and quotes nothing."""


def value_to_json(value: Value) -> Json:
    """Read a `google.protobuf.Value`.

    Raises:
        InvalidJsonError: A value is unset, or a number is not finite.
    """
    if text := value.string_value:  # the usual kind, asked for first: of another kind it reads as empty
        return text
    match value.WhichOneof("kind"):
        case "struct_value":
            return {key: item.string_value or value_to_json(item) for key, item in value.struct_value.fields.items()}
        case "list_value":
            return [value_to_json(item) for item in value.list_value.values]
        case "string_value":
            return text
        case "number_value":
            return json_number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "null_value":
            return None
        case _:
            raise InvalidJsonError("has a value without a kind")


def object_to_json(value: JsonObject) -> dict[str, Json]:
    """Read a `JsonObject`; the keys keep their order.

    Raises:
        InvalidJsonError: A value is unset, a number is not finite, or a key occurs twice.
    """
    entries = value.fields
    members = {entry.key: (item := entry.value).string_value or _ordered_to_json(item) for entry in entries}
    if len(members) != len(entries):
        raise InvalidJsonError("has a key that occurs twice in one object")
    return members


def json_object(members: dict[str, Json]) -> JsonObject:
    """Make a `JsonObject` of a dict, in its order.

    Raises:
        TypeError: A value is none of JSON's types.
        InvalidJsonError: It is nested more deeply than protobuf's readers go.
        OverflowError: An integer is beyond the range of doubles.
    """
    return JsonObject(fields=_entries(members, _MAX_DEPTH))


def _entries(members: dict[str, Json], depth: int) -> Any:
    """The entries as protobuf's constructors take them: as dicts, since messages would be copied at each level."""
    if depth == 0:
        raise InvalidJsonError(f"is nested more than {_MAX_DEPTH} levels deep")
    return [{"key": key, "value": _kind_of(item, depth - 1)} for key, item in members.items()]


def _ordered_to_json(value: JsonValue) -> Json:
    match value.WhichOneof("kind"):
        case "struct_value":
            return object_to_json(value.struct_value)
        case "list_value":
            return [item.string_value or _ordered_to_json(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "number_value":
            return json_number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "null_value":
            return None
        case _:
            raise InvalidJsonError("has a value without a kind")


def _kind_of(value: Json, depth: int) -> dict[str, Any]:
    """The fields of a `JsonValue`."""
    match value:
        case str():
            return {"string_value": value}
        case None:
            return {"null_value": NULL_VALUE}
        case bool():
            return {"bool_value": value}
        case int() | float():
            return {"number_value": value}
        case list():
            if depth == 0:
                raise InvalidJsonError(f"is nested more than {_MAX_DEPTH} levels deep")
            return {"list_value": {"values": [_kind_of(item, depth - 1) for item in value]}}
        case dict():
            return {"struct_value": {"fields": _entries(value, depth)}}
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON type")


def json_number(number: float) -> int | float:
    """The number as JSON has it: an integral one without a decimal point.

    Raises:
        InvalidJsonError: It is not finite.
    """
    if number.is_integer():
        return int(number)
    if number - number != 0:  # infinite, or not a number
        raise InvalidJsonError("has a number that is not finite")
    return number
