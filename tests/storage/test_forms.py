"""What is shown of a stored completion and of its messages."""

from __future__ import annotations

import json
from uuid import UUID

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.chat_service_pb2 import StoredChatCompletion
from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue
from service._gen.parley.v1.message_pb2 import ContentPart, ImageUrl, Message
from service.json_values import json_object, object_to_json
from service.storage.export import line_of
from service.storage.forms import stored_completion, stored_messages
from service.storage.record import Record
from tests.storage.records import SESSION, completion, full_record, record, request
from tests.support.json_form import to_proto

ID = UUID("0198c0de-0000-7000-8000-00000000ab00")
NAME = "chatcmpl-0198c0de00007000800000000000ab00"


def test_everything_that_is_known_of_a_completion_is_shown() -> None:
    answer = completion(ID)
    answer.service_tier = "flex"
    answer.system_fingerprint = "fp"
    answer.moderation.CopyFrom(json_object({"flagged": False}))
    shown = stored_completion(full_record(id=ID, completion=answer))
    assert shown.id == NAME
    assert shown.object == "chat.completion"
    assert shown.choices == answer.choices
    assert shown.usage == answer.usage
    assert (shown.service_tier, shown.system_fingerprint) == ("flex", "fp")
    assert shown.moderation == answer.moderation
    assert shown.session_id == str(SESSION)
    assert (shown.status, shown.error_reason, shown.request_id) == ("partial", "CANCELLED", "request-1")
    assert dict(shown.metadata) == {"topic": "billing", "näme": "välue = % ' \" 🙂"}
    assert list(shown.tags) == ["beta", "Äpfel", "a b"]
    assert (shown.user, shown.project, shown.campaign, shown.arm) == ("ada", "support", "greeting", "warm")
    assert (shown.target.provider, shown.target.model) == ("scripted", "echo-1")
    assert (shown.first_token_ms, shown.duration_ms, shown.usage_estimated) == (12, 345, True)
    assert not shown.HasField("request")


def test_every_field_of_the_contract_is_shown() -> None:
    answer = completion(ID)
    answer.service_tier = answer.system_fingerprint = "x"
    answer.moderation.CopyFrom(json_object({"a": 1}))
    shown = stored_completion(full_record(completion=answer), with_request=True)
    assert {field.name for field, _ in shown.ListFields()} == set(StoredChatCompletion.DESCRIPTOR.fields_by_name)


def test_what_is_not_known_is_absent() -> None:
    answer = completion(ID)
    answer.ClearField("usage")
    shown = stored_completion(record(completion=answer))
    assert {field.name for field, _ in shown.ListFields()} == {
        *("id", "object", "created", "model", "choices", "session_id", "status", "request_id")
    }


def test_the_request_is_shown_without_its_messages() -> None:
    kept = record(request=to_proto({"model": "echo", "seed": 7, "messages": [{"role": "user", "content": "a"}]}))
    shown = stored_completion(kept, with_request=True)
    assert (shown.request.model, shown.request.seed, len(shown.request.messages)) == ("echo", 7, 0)
    assert len(kept.request.messages) == 1


MESSAGES = [
    {"role": "system", "content": "Be brief.", "name": "setup"},
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}], "metadata": {"mine": [1]}},
    {
        "role": "assistant",
        "content": None,
        "refusal": "no",
        "reasoning": "hm",
        "completion_id": "0198c0de-0000-7000-8000-00000000ab01",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "tool_events": [{"index": 0, "id": "c", "tool": "s__t", "arguments": "{}", "status": "ok", "result": "r"}],
    },
    {"role": "tool", "tool_call_id": "c", "content": ""},
    {"role": "assistant", "function_call": {"name": "g", "arguments": "1"}, "reasoning_content": "so"},
]


def test_messages_are_shown_with_what_they_say() -> None:
    shown = stored_messages(record(id=ID, request=to_proto({"model": "echo", "messages": MESSAGES})))
    assert [message.id for message in shown] == [f"{NAME}-{place}" for place in range(5)]
    assert [message.role for message in shown] == ["system", "user", "assistant", "tool", "assistant"]
    assert (shown[0].content, shown[0].name) == ("Be brief.", "setup")
    assert not shown[1].HasField("content")
    assert [object_to_json(part) for part in shown[1].content_parts] == [{"type": "text", "text": "What is it?"}]
    assert shown[1].metadata == ParseDict({"mine": [1]}, Value())
    assert not shown[2].HasField("content")
    assert (shown[2].refusal, shown[2].reasoning_content) == ("no", "hm")
    assert shown[2].completion_id == "0198c0de-0000-7000-8000-00000000ab01"
    assert shown[2].tool_calls[0].function.name == "f"
    assert shown[2].tool_events[0].result == "r"
    assert shown[3].HasField("content")
    assert shown[3].tool_call_id == "c"
    assert (shown[4].function_call.name, shown[4].reasoning_content) == ("g", "so")


def test_typed_parts_are_shown_as_the_json_that_they_stand_for() -> None:
    parts = [
        ContentPart(type="text", text="See:", cache_control=json_object({"type": "ephemeral"})),
        ContentPart(type="image_url", image_url=ImageUrl(url="https://x.test/i.png", detail="low")),
    ]
    asked = request()
    asked.messages.append(Message(role="user", parts=parts))
    shown = stored_messages(record(request=asked))[1]
    assert [object_to_json(part) for part in shown.content_parts] == [
        {"type": "text", "text": "See:", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/i.png", "detail": "low"}},
    ]


def test_an_exported_line_has_all_of_it_as_rest_shows_it() -> None:
    body = {"model": "echo", "seed": 2**60, "extra_body": {"b": 1, "a": [None, 1.5]}, "messages": MESSAGES}
    kept: Record = full_record(id=ID, request=to_proto(body))
    line = line_of(kept)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    shown = json.loads(line)
    assert (shown["tenant"], shown["id"], shown["created"]) == ("acme", NAME, kept.created)
    assert shown["request"]["seed"] == str(2**60)  # ProtoJSON writes 64 bits as strings
    assert list(shown["request"]["extra_body"]) == ["b", "a"]
    assert shown["request"]["extra_body"] == {"b": 1, "a": [None, 1.5]}
    assert "messages" not in shown["request"]
    assert shown["choices"][0]["message"] == {"role": "assistant", "content": "Hello."}
    assert shown["metadata"]["topic"] == "billing"
    assert shown["messages"][1]["content_parts"] == [{"type": "text", "text": "What is it?"}]
    assert shown["messages"][1]["metadata"] == {"mine": [1]}


def test_what_is_no_json_does_not_keep_the_rest_from_being_exported() -> None:
    asked = request()
    broken = JsonObject(fields=[JsonObject.Entry(key="a", value=JsonValue(number_value=float("inf")))])
    asked.thinking.CopyFrom(broken)
    shown = json.loads(line_of(record(request=asked)))
    assert shown["request"]["thinking"]["fields"][0]["key"] == "a"
    assert shown["messages"][0]["content"] == "Hello?"
