"""What a request may say of storing, sessions, campaigns and server-side tools: each bad value by its name."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.json_pb2 import JsonList, JsonObject, JsonValue
from service.errors import ParleyError, Reason
from service.json_values import json_object
from service.rpc.validation import validate
from tests.support.json_form import to_proto

UUID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "completion_id": UUID}
FUNCTION = {"type": "function", "function": {"name": "f"}}
SWITCH = {"id": "files__read", "enabled": True}
NUL = "a\0b"
DATA: list[Any] = ["text", 1, False, [], {"a": [1]}]


def choice_of(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(name: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [choice_of(name)]}}


TAKEN: dict[str, dict[str, Any]] = {
    "nothing": {"store": False, "labels": {}, "metadata": {}, "tags": [], "session_id": None, "use_tools": False},
    "all": {
        "store": True,
        "labels": {"key": "value"},
        "metadata": {"key": "value"},
        "tags": ["value"],
        "session_id": UUID,
        "user": "ada@example.com",
        "ab_campaign": UUID,
        "use_tools": True,
        "tools": [SWITCH],
        "system_prompt_args": {"key": [1, None]},
    },
    "an empty session": {"session_id": ""},
    "a session in capitals": {"session_id": UUID.upper()},
    "as many and as long labels as there may be": {
        "labels": {f"{number:02}" + "ü" * 62: "ü" * 512 for number in range(16)}
    },
    "a label without a value": {"metadata": {"key": ""}},
    "as many and as long tags as there may be": {"tags": ["ü" * 64] * 64},
    "the longest names": {"user": "ü" * 256, "ab_campaign": "ü" * 256},
    "a message's own data": {"messages": [USER | {"metadata": data} for data in DATA]},
    "an id beside content": {"messages": [ASSISTANT | {"content": "Hello"}, USER | {"completion_id": UUID}]},
    "an answer to be filled in": {"messages": [ASSISTANT, {"role": "assistant", "id": "msg_1"}]},
    "an answer that tools ran for": {"messages": [{"role": "assistant", "tool_events": [{"id": "call"}]}]},
    "switches beside functions": {"tools": [FUNCTION, SWITCH, {"id": "files__write", "enabled": False}]},
}


def request_of(fields: dict[str, Any]) -> Any:
    return to_proto({"model": "m", "messages": [USER], **fields})


@pytest.mark.parametrize("case", TAKEN)
def test_a_good_value_is_taken(case: str) -> None:
    validate(request_of(TAKEN[case]), stream=False)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a session that is no UUID": ({"session_id": "CANARY"}, "session_id"),
    "a session without hyphens": ({"session_id": UUID.replace("-", "")}, "session_id"),
    "a session with more behind it": ({"session_id": f"{UUID}\n"}, "session_id"),
    "too many labels": ({"labels": {str(number): "" for number in range(17)}}, "labels"),
    "too many metadata": ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    "a label without a name": ({"labels": {"": "value"}}, "labels"),
    "a label with a long name": ({"labels": {"CANARY" * 11: "value"}}, "labels"),
    "a label with a long value": ({"labels": {"key": "v" * 513}}, "labels"),
    "a label with a NUL in its name": ({"labels": {NUL: "value"}}, "labels"),
    "a label with a NUL in its value": ({"metadata": {"key": NUL}}, "metadata"),
    "labels and metadata that differ": ({"labels": {"key": "value"}, "metadata": {"key": "other"}}, "metadata"),
    "more metadata than labels": ({"labels": {"a": "1"}, "metadata": {"a": "1", "b": "2"}}, "metadata"),
    "too many tags": ({"tags": ["tag"] * 65}, "tags"),
    "an empty tag": ({"tags": ["tag", ""]}, "tags[1]"),
    "a long tag": ({"tags": ["CANARY" * 11]}, "tags[0]"),
    "a tag with a NUL": ({"tags": ["tag", NUL]}, "tags[1]"),
    "a long user": ({"user": "u" * 257}, "user"),
    "a user with a NUL": ({"user": NUL}, "user"),
    "a long campaign": ({"ab_campaign": "c" * 257}, "ab_campaign"),
    "a campaign with a NUL": ({"ab_campaign": NUL}, "ab_campaign"),
    "an answer's id that is no UUID": (
        {"messages": [{"role": "assistant", "completion_id": "CANARY"}]},
        "messages[0].completion_id",
    ),
    "an answer's id that is no UUID, beside content": (
        {"messages": [USER, {"role": "assistant", "content": "x", "completion_id": "CANARY"}]},
        "messages[1].completion_id",
    ),
    "an answer's id of a user's message": (
        {"messages": [{"role": "user", "completion_id": UUID}]},
        "messages[0].completion_id",
    ),
    "tools that ran for a user's message": (
        {"messages": [USER | {"tool_events": [{"id": "call"}]}]},
        "messages[0].tool_events",
    ),
    "a switch beside a type": ({"tools": [SWITCH | {"type": "function"}]}, "tools[0].type"),
    "a switch beside a function": ({"tools": [FUNCTION, SWITCH | FUNCTION]}, "tools[1].type"),
    "a switch beside a provider's tool": ({"tools": [SWITCH | {"provider": {"a": 1}}]}, "tools[0].provider"),
    "a switch that occurs twice": ({"tools": [SWITCH, SWITCH | {"enabled": False}]}, "tools[1].id"),
    "too many switches": ({"tools": [{"id": str(number), "enabled": True} for number in range(129)]}, "tools"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_value_is_refused_by_name(case: str) -> None:
    fields, param = REFUSED[case]
    with pytest.raises(ParleyError) as caught:
        validate(request_of(fields), stream=False)

    assert (caught.value.reason, caught.value.param) == (Reason.PARAMETER_INVALID, param)
    assert f"`{param}`" in caught.value.message
    assert "CANARY" not in caught.value.message


MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "a switch that does not say which way": ({"tools": [{"id": "files__read"}]}, "tools[0].enabled"),
    "a switch of nothing": ({"tools": [{"enabled": True}]}, "tools[0].id"),
    "a function that is switched": ({"tools": [FUNCTION | {"enabled": False}]}, "tools[0].id"),
    "an answer that says nothing": ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_named(case: str) -> None:
    fields, param = MISSING[case]
    with pytest.raises(ParleyError) as caught:
        validate(request_of(fields), stream=False)

    assert (caught.value.reason, caught.value.param) == (Reason.PARAMETER_MISSING, param)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_messages_own_data_is_json(number: float) -> None:
    request = request_of({})
    request.messages[0].metadata.CopyFrom(Value(number_value=number))
    with pytest.raises(ParleyError) as caught:
        validate(request, stream=False)

    assert (caught.value.reason, caught.value.param) == (Reason.PARAMETER_INVALID, "messages[0].metadata")


NO_JSON = {
    "without a value": JsonObject(fields=[JsonObject.Entry(key="CANARY")]),
    "with a key twice": JsonObject(fields=[JsonObject.Entry(key="CANARY", value=JsonValue(bool_value=True))] * 2),
    "without an end": JsonObject(fields=[JsonObject.Entry(key="CANARY", value=JsonValue(number_value=math.inf))]),
}
PLACES: dict[str, dict[str, Any]] = {
    "extra_body": {"extra_body": {}},
    "safety_settings[1]": {"safety_settings": [{}, {}]},
    "tools[0].function.parameters": {"tools": [FUNCTION | {"function": {"name": "f", "parameters": {}}}]},
    "messages[1].annotations[0]": {"messages": [USER, {"role": "assistant", "content": "x", "annotations": [{}]}]},
    "messages[0].tool_events[0].extra_content": {
        "messages": [{"role": "assistant", "tool_events": [{"id": "call", "extra_content": {}}]}]
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", NO_JSON)
def test_what_is_stored_is_json_though_no_provider_reads_it(case: str, place: str) -> None:
    stored, other = request_of({"store": True, **PLACES[place]}), request_of(PLACES[place])
    validate(stored, stream=False)
    for request in (stored, other):
        part = request
        for step in re.findall(r"\w+", place):
            part = part[int(step)] if step.isdecimal() else getattr(part, step)
        part.CopyFrom(NO_JSON[case])

    with pytest.raises(ParleyError) as caught:
        validate(stored, stream=False)

    assert (caught.value.reason, caught.value.param) == (Reason.PARAMETER_INVALID, place)
    assert "CANARY" not in caught.value.message


def test_an_empty_key_of_what_is_stored_is_written_though_its_caller_left_it_out() -> None:
    """As callers do whose stubs are of the contract as it stands."""
    inner = JsonObject(fields=[JsonObject.Entry(value=JsonValue(null_value=NULL_VALUE))])
    items = JsonList(values=[JsonValue(struct_value=inner)])
    outer = JsonObject(fields=[JsonObject.Entry(value=JsonValue(list_value=items))])
    request = request_of({"store": True})
    request.extra_body.CopyFrom(outer)
    validate(request, stream=False)

    assert request.extra_body.SerializeToString() == json_object({"": [{"": None}]}).SerializeToString()
    assert outer.SerializeToString() != request.extra_body.SerializeToString()


def test_the_content_of_what_is_stored_is_json() -> None:
    part = {"type": "text", "text": "x", "more": {"a": 1}}
    request = request_of({"store": True, "messages": [USER, USER | {"content": [part]}]})
    validate(request, stream=False)
    more = request.messages[1].content.list_value.values[0].struct_value.fields["more"]
    more.struct_value.fields["a"].number_value = math.nan
    with pytest.raises(ParleyError) as caught:
        validate(request, stream=False)

    assert (caught.value.reason, caught.value.param) == (Reason.PARAMETER_INVALID, "messages[1].content")
