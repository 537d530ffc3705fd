"""Numbers within the entries of a message's lists. Pure."""

from __future__ import annotations

from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue


def number_in(entry: JsonObject, name: str) -> int | None:
    """The whole number that the entry has under that name."""
    for member in entry.fields:
        if member.key == name and member.value.HasField("number_value"):
            number = member.value.number_value
            return int(number) if number.is_integer() else None
    return None


def put_number(entry: JsonObject, name: str, number: int) -> None:
    """Set it, whether the entry has one or not."""
    for member in entry.fields:
        if member.key == name:
            member.value.number_value = number
            return
    entry.fields.add(key=name, value=JsonValue(number_value=number))


def shift_number(entry: JsonObject, name: str, by: int) -> None:
    """Add to it, where the entry has one."""
    number = number_in(entry, name) if by else None
    if number is not None:
        put_number(entry, name, number + by)
