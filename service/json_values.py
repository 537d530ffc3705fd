"""JSON values between their protobuf forms and Python.

Both `google.protobuf.Value` and the contract's ordered `JsonValue` are read; numbers become `int`
where they are integral, so that a provider is sent `1` and not `1.0`.
"""

from __future__ import annotations

from typing import TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.json_pb2 import JsonList, JsonObject, JsonValue

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
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "struct_value":
            return {key: value_to_json(item) for key, item in value.struct_value.fields.items()}
        case "list_value":
            return [value_to_json(item) for item in value.list_value.values]
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
    members = {entry.key: _ordered_to_json(entry.value) for entry in value.fields}
    if len(members) != len(value.fields):
        raise InvalidJsonError("has a key that occurs twice in one object")
    return members


def json_object(members: dict[str, Json]) -> JsonObject:
    """Make a `JsonObject` of a dict, in its order.

    Raises:
        TypeError: A value is none of JSON's types.
        InvalidJsonError: It is nested more deeply than protobuf's readers go.
        OverflowError: An integer is beyond the range of doubles.
    """
    return _json_object(members, _MAX_DEPTH)


def _json_object(members: dict[str, Json], depth: int) -> JsonObject:
    if depth == 0:
        raise InvalidJsonError(f"is nested more than {_MAX_DEPTH} levels deep")
    return JsonObject(
        fields=[JsonObject.Entry(key=key, value=_json_value(item, depth - 1)) for key, item in members.items()]
    )


def _ordered_to_json(value: JsonValue) -> Json:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "struct_value":
            return object_to_json(value.struct_value)
        case "list_value":
            return [_ordered_to_json(item) for item in value.list_value.values]
        case "number_value":
            return json_number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "null_value":
            return None
        case _:
            raise InvalidJsonError("has a value without a kind")


def _json_value(value: Json, depth: int) -> JsonValue:
    match value:
        case None:
            return JsonValue(null_value=NULL_VALUE)
        case bool():
            return JsonValue(bool_value=value)
        case int() | float():
            return JsonValue(number_value=value)
        case str():
            return JsonValue(string_value=value)
        case list():
            if depth == 0:
                raise InvalidJsonError(f"is nested more than {_MAX_DEPTH} levels deep")
            return JsonValue(list_value=JsonList(values=[_json_value(item, depth - 1) for item in value]))
        case dict():
            return JsonValue(struct_value=_json_object(value, depth))
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
