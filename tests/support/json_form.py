"""The contract's messages from REST's JSON, and back: what Envoy does on its way, by the descriptors alone."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.json_pb2 import JsonObject
from service.json_values import json_object, object_to_json, value_to_json


def to_proto(body: dict[str, Any]) -> ChatCompletionRequest:
    """The request that Envoy makes of a REST body; ordered objects are made in the body's order."""
    if isinstance(body.get("stop"), str):
        body = body | {"stop": [body["stop"]]}
    return ParseDict(_with_entries(ChatCompletionRequest.DESCRIPTOR, body), ChatCompletionRequest())


def _with_entries(descriptor: Descriptor, body: dict[str, Any]) -> dict[str, Any]:
    """The body with its ordered objects in the form that protobuf's JSON reader knows."""
    known = {}
    for name, value in body.items():
        field = descriptor.fields_by_name.get(name)
        kind = field.message_type if field is not None else None
        if kind is None or kind.file.package != "parley.v1" or kind.GetOptions().map_entry:
            known[name] = value
        elif isinstance(value, list):
            known[name] = [_entries_of(kind, item) for item in value]
        else:
            known[name] = _entries_of(kind, value)
    return known


def _entries_of(kind: Descriptor, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if kind.full_name == JsonObject.DESCRIPTOR.full_name:
        return MessageToDict(json_object(value))
    return _with_entries(kind, value)


def json_of(message: Message) -> dict[str, Any]:
    """What Envoy prints of a message; ordered objects as plain ones."""
    members: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.enum_type is not None:  # the marks by which the gateway prints empty lists
            members[field.name.removeprefix("empty_")] = []
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            members[field.name] = dict(value)
        elif field.is_repeated:
            members[field.name] = [_shown(item) for item in value]
        else:
            members[field.name] = _shown(value)
    if isinstance(message, ChatCompletionChunk):  # gRPC's callers need no mark
        members.setdefault("choices", [])
    return members


def _shown(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return object_to_json(value)
    if isinstance(value, Value):
        return value_to_json(value)
    return json_of(value) if isinstance(value, Message) else value
