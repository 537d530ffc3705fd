"""Reading a message's content and a request's tool choice, whichever way the caller gave them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import ContentPart
from service.errors import Reason, RequestError
from service.json_values import object_to_json
from service.providers.content import Data, own_reasoning, parts_of, read_data_url
from service.providers.tool_choice import ToolChoice, tool_choice_of
from tests.support.json_form import to_proto

CACHED = {"type": "ephemeral"}
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "a", "cache_control": CACHED},
    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    {"type": "file", "file": {"file_url": "gs://x/y", "mime_type": "image/png", "citations": True}},
    {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
    {"type": "document_url", "document_url": "https://x/y.pdf"},
    {"type": "refusal", "refusal": "no"},
]


def parts(message: dict[str, Any]) -> list[ContentPart]:
    return parts_of("messages[3]", to_proto({"messages": [{"role": "user", **message}]}).messages[0])


def test_values_and_typed_parts_read_the_same() -> None:
    as_values, as_parts = parts({"content": PARTS}), parts({"parts": PARTS})

    assert as_values == as_parts
    assert [part.type for part in as_values] == [part["type"] for part in PARTS]
    assert object_to_json(as_values[0].cache_control) == CACHED
    assert as_values[3].file.citations


@pytest.mark.parametrize(
    ("content", "texts"), [("x", ["x"]), ("", []), (None, []), ([{"type": "text", "text": ""}], [""])]
)
def test_a_string_is_one_part_and_nothing_is_none(content: object, texts: list[str]) -> None:
    assert [part.text for part in parts({"content": content})] == texts


def test_null_members_count_as_absent() -> None:
    (part,) = parts({"content": [{"type": "image_url", "image_url": {"url": "u", "detail": None}, "text": None}]})

    assert not part.image_url.HasField("detail")
    assert not part.HasField("text")


@pytest.mark.parametrize(
    ("part", "param", "reason"),
    [
        ({"type": "text", "text": "x", "citations": []}, "citations", Reason.PARAMETER_UNSUPPORTED),
        (
            {"type": "image_url", "image_url": {"url": "u", "format": "x"}},
            "image_url.format",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        (
            {"type": "text", "text": "x", "image_url": {"url": "u"}},
            "image_url",
            Reason.PARAMETER_UNSUPPORTED,
        ),
        ({"type": "text", "text": "x", "a b\u00e9": 1}, "", Reason.PARAMETER_UNSUPPORTED),
        ({"type": "file", "file": {"file_id": 5}}, "file.file_id", Reason.PARAMETER_INVALID),
        ({"type": "file", "file": {"file_id": "x", "citations": "yes"}}, "file.citations", Reason.PARAMETER_INVALID),
        ({"type": "text", "text": "x", "cache_control": "x"}, "cache_control", Reason.PARAMETER_INVALID),
    ],
)
def test_a_member_that_would_be_lost_is_refused_by_its_path(part: dict[str, Any], param: str, reason: Reason) -> None:
    with pytest.raises(RequestError) as raised:
        parts({"content": [{"type": "text", "text": "ok"}, part]})

    assert raised.value.reason is reason
    assert raised.value.param == ("messages[3].content[1]." + param).rstrip(".")


def test_a_typed_part_with_another_payload_is_refused_too() -> None:
    with pytest.raises(RequestError) as raised:
        parts({"parts": [{"type": "text", "text": "x", "document_url": "https://x/y.pdf"}]})

    assert raised.value.param == "messages[3].parts[0].document_url"


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:image/png;base64,AAAA", Data("image/png", "AAAA")),
        ("data:IMAGE/PNG;base64,", Data("image/png", "")),
        ("data:text/plain;charset=utf-8;base64,eA==", Data("text/plain", "eA==")),
        ("data:;base64,eA==", Data("", "eA==")),
        ("data:image/svg+xml;base64,eA==", Data("image/svg+xml", "eA==")),
        ("data:image/png,raw", None),
        ("https://x/data:image/png;base64,AAAA", None),
    ],
)
def test_data_urls_are_read(url: str, data: Data | None) -> None:
    assert read_data_url(url) == data


def test_pieces_of_a_block_belong_to_the_one_that_told_the_format() -> None:
    mine, other = {"type": "reasoning.text", "index": 0}, {"type": "reasoning.text", "index": 1}
    details = [
        *(mine, mine | {"format": "f", "text": "a"}, mine | {"text": "b"}, mine | {"format": "g"}),
        *(other, other | {"format": "g"}, other, {"type": "reasoning.encrypted", "index": 0}, {"type": ["x"]}),
    ]
    message = to_proto({"messages": [{"role": "assistant", "reasoning_details": details}]}).messages[0]

    assert list(own_reasoning("m", message, "f")) == [
        ("m.reasoning_details[1]", mine | {"format": "f", "text": "a"}),
        ("m.reasoning_details[2]", mine | {"text": "b"}),
    ]


TOOLS = [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        (None, None),
        (NAMED, ToolChoice("required", ("f",))),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("required", ("f",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": TOOLS}},
            ToolChoice("required", ("f", "g")),
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}, ToolChoice("auto", ("f",))),
    ],
)
def test_a_tool_choice_is_read(choice: object, read: ToolChoice | None) -> None:
    assert tool_choice_of(to_proto({"tools": TOOLS, "tool_choice": choice})) == read


@pytest.mark.parametrize(
    ("allowed", "param"),
    [
        (None, ""),
        ({"mode": "none", "tools": [NAMED]}, ".mode"),
        ({"mode": [], "tools": [NAMED]}, ".mode"),
        ({"mode": {"a": 1}, "tools": [NAMED]}, ".mode"),
        ({"mode": "auto"}, ".tools"),
        ({"mode": "auto", "tools": []}, ".tools"),
        ({"mode": "auto", "tools": [NAMED, "f"]}, ".tools[1]"),
    ],
)
def test_allowed_tools_of_another_form_are_refused(allowed: object, param: str) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": allowed}

    with pytest.raises(RequestError) as raised:
        tool_choice_of(to_proto({"tools": TOOLS, "tool_choice": choice}))

    assert raised.value.param == "tool_choice.allowed_tools" + param


@pytest.mark.parametrize(
    "value", [Value(), Value(struct_value=Struct(fields={"CANARY": Value(number_value=math.nan)}))]
)
def test_a_tool_choice_that_is_no_json_is_refused_by_name(value: Value) -> None:
    with pytest.raises(RequestError) as raised:
        tool_choice_of(ChatCompletionRequest(tool_choice=value))

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, "tool_choice")
