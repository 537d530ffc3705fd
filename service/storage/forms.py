"""Stored completions in the form that the contract shows them in. Pure."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.chat_service_pb2 import StoredChatCompletion, StoredMessage, StoredTarget
from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.message_pb2 import ContentPart, Message
from service.answers.ids import completion_name
from service.storage.record import Record, Summary

_OPTIONAL = ("error_reason", "user", "project", "campaign", "arm", "first_token_ms", "duration_ms")


def stored_completion(record: Summary, *, with_request: bool = False) -> StoredChatCompletion:
    """The completion; `with_request` needs a `Record`, and leaves the request's messages out."""
    answer = record.completion
    stored = StoredChatCompletion(
        id=completion_name(record.id),
        object="chat.completion",
        created=answer.created if answer.HasField("created") else record.created,
        model=record.model,
        choices=answer.choices,
        usage=answer.usage if answer.HasField("usage") else None,
        service_tier=answer.service_tier if answer.HasField("service_tier") else None,
        system_fingerprint=answer.system_fingerprint if answer.HasField("system_fingerprint") else None,
        moderation=answer.moderation if answer.HasField("moderation") else None,
        session_id=str(record.session_id),
        status=record.status,
        request_id=record.request_id,
        metadata=record.labels,
        tags=record.tags,
    )
    for name in _OPTIONAL:
        if (value := getattr(record, name)) is not None:
            setattr(stored, name, value)
    if record.provider is not None:
        stored.target.CopyFrom(StoredTarget(provider=record.provider, model=record.upstream_model or ""))
    if answer.HasField("usage"):
        stored.usage_estimated = record.is_usage_estimated
    if with_request and isinstance(record, Record):
        stored.request.CopyFrom(record.request)
        stored.request.ClearField("messages")
    return stored


def stored_messages(record: Record) -> list[StoredMessage]:
    """The messages that the completion answers, oldest first."""
    name = completion_name(record.id)
    return [_stored_message(f"{name}-{place}", message) for place, message in enumerate(record.request.messages)]


def _stored_message(message_id: str, message: Message) -> StoredMessage:
    stored = StoredMessage(
        id=message_id,
        role=message.role,
        content_parts=_parts_of(message),
        tool_calls=message.tool_calls,
        tool_events=message.tool_events,
        name=message.name if message.HasField("name") else None,
        tool_call_id=message.tool_call_id if message.HasField("tool_call_id") else None,
        refusal=message.refusal if message.HasField("refusal") else None,
        completion_id=message.completion_id if message.HasField("completion_id") else None,
        function_call=message.function_call if message.HasField("function_call") else None,
        metadata=message.metadata if message.HasField("metadata") else None,
    )
    if message.content.WhichOneof("kind") == "string_value":
        stored.content = message.content.string_value
    if message.HasField("reasoning_content") or message.HasField("reasoning"):
        stored.reasoning_content = message.reasoning_content or message.reasoning
    return stored


def _parts_of(message: Message) -> list[JsonObject]:
    if message.parts:
        return [_part_object(part) for part in message.parts]
    return [
        JsonObject.FromString(part.struct_value.SerializeToString(deterministic=True))
        for part in message.content.list_value.values
        if part.HasField("struct_value")
    ]


def _part_object(part: ContentPart) -> JsonObject:
    """A typed part as the JSON that it stands for; ordered objects within it are wire-equal to a Struct."""
    value = Value()
    for field, content in part.ListFields():
        member = value.struct_value.fields[field.name]
        if isinstance(content, JsonObject):
            member.struct_value.MergeFromString(content.SerializeToString())
        elif isinstance(content, str):
            member.string_value = content
        else:
            member.struct_value.update(MessageToDict(content, preserving_proto_field_name=True))
    return JsonObject.FromString(value.struct_value.SerializeToString())
