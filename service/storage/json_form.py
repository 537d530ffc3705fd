"""The JSON that REST shows of a message, without the gateway. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.json_pb2 import JsonObject
from service.json_values import InvalidJsonError, object_to_json, value_to_json

_AS_STRINGS = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}


def json_of(message: Message) -> dict[str, Any]:
    """The message as ProtoJSON with the contract's field names, ordered objects as plain ones.

    What is no JSON although it has JSON's type (an infinite number) stands in the form of its message.
    """
    members: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            members[field.name] = dict(value)
        elif field.is_repeated:
            members[field.name] = [_shown(field, item) for item in value]
        else:
            members[field.name] = _shown(field, value)
    return members


def _shown(field: FieldDescriptor, value: Any) -> Any:
    try:
        if isinstance(value, JsonObject):
            return object_to_json(value)
        if isinstance(value, Value):
            return value_to_json(value)
    except InvalidJsonError:
        return MessageToDict(value) if isinstance(value, JsonObject) else None
    if isinstance(value, Message):
        return json_of(value)
    return str(value) if field.cpp_type in _AS_STRINGS else value
