"""What an OpenAI-compatible provider's answer becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.struct_pb2 import Struct

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Malformed, Reason, UpstreamError
from service.json_values import object_to_json
from service.providers.openai.origin import Origin
from service.providers.openai.response import translate_completion
from service.providers.provider import Identity

IDENTITY = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
TEXT = {"role": "assistant", "content": "Hi."}
CANARY = "c4n4ry"


def translate(answer: dict[str, Any]) -> ChatCompletion:
    return translate_completion(json.dumps(answer).encode(), Origin("acme", IDENTITY))


def answered(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_710_000_000,
        "model": "up-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
    }


def plain(message: Any) -> dict[str, Any]:
    """`message` as REST clients see it: JsonObjects as ordinary objects."""
    as_dict = MessageToDict(message, preserving_proto_field_name=True)
    restored = _with_objects(as_dict)
    assert isinstance(restored, dict)
    return restored


def _with_objects(item: Any) -> Any:
    if isinstance(item, list):
        return [_with_objects(each) for each in item]
    if not isinstance(item, dict):
        return item
    if set(item) == {"fields"} or not item:
        return object_to_json(Parse(json.dumps(item), JsonObject()))
    return {key: _with_objects(each) for key, each in item.items()}


def only_choice(answer: dict[str, Any]) -> dict[str, Any]:
    (choice,) = plain(translate(answer))["choices"]
    assert isinstance(choice, dict)
    return choice


def test_a_text_answer_is_translated_whole() -> None:
    answer = answered({**TEXT, "refusal": None, "annotations": []}, logprobs=None)
    answer["usage"] = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    answer["service_tier"] = "default"
    answer["system_fingerprint"] = "fp_1"

    assert plain(translate(answer)) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_710_000_000,
        "model": "public",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def test_the_least_answer_is_completed() -> None:
    assert plain(translate({"choices": [{"message": {}}]})) == {
        "id": "chatcmpl-own",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "public",
        "choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}],
    }


def test_a_zero_index_and_zero_counts_are_set_so_that_they_print() -> None:
    answer = answered(TEXT)
    answer["usage"] = {"prompt_tokens": 0}
    completion = translate(answer)

    assert completion.choices[0].HasField("index")
    assert plain(completion.usage) == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"id": "", "created": 0}, ("chatcmpl-own", 1_700_000_000)),
        ({"id": None, "created": None}, ("chatcmpl-own", 1_700_000_000)),
        ({"id": "x", "created": 5}, ("x", 5)),
        ({"created": 5.9}, ("chatcmpl-1", 5)),
        ({"created": -1}, ("chatcmpl-1", 1_700_000_000)),
        ({"created": 2**32}, ("chatcmpl-1", 1_700_000_000)),
        ({"created": 1_710_000_000_000}, ("chatcmpl-1", 1_700_000_000)),
        ({"created": 2**32 - 1}, ("chatcmpl-1", 2**32 - 1)),
    ],
)
def test_id_and_time_are_the_providers_where_they_fit(given: dict[str, Any], made: tuple[str, int]) -> None:
    completion = translate(answered(TEXT) | given)

    assert (completion.id, completion.created) == made


@pytest.mark.parametrize(
    ("call", "translated"),
    [
        pytest.param(
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            id="whole",
        ),
        pytest.param(
            {"index": 7, "function": {"name": "f", "arguments": "{}"}, "id": "Ah0BFgzqX"},
            {"id": "Ah0BFgzqX", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            id="without type (Mistral)",
        ),
        pytest.param(
            {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "call_chatcmpl-1_0_0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            id="empty id (Google)",
        ),
        pytest.param(
            {"type": "function", "function": {"name": "f"}},
            {"id": "call_chatcmpl-1_0_0", "type": "function", "function": {"name": "f", "arguments": ""}},
            id="no id, no arguments",
        ),
        pytest.param(
            {"id": "c", "function": {"name": "f", "arguments": {"b": [1, None], "a": "ü"}}},
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"b":[1,null],"a":"ü"}'}},
            id="arguments as an object (Mistral)",
        ),
        pytest.param(
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}},
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}},
            id="arguments that are no JSON",
        ),
        pytest.param(
            {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
            {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
            id="custom",
        ),
        pytest.param(
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "custom": {"name": "", "input": ""},
            },
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            id="placeholder beside the function (Snowflake)",
        ),
        pytest.param(
            {"id": "c", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "c2ln"}}},
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": ""},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
            id="thought signature (Google)",
        ),
    ],
)
def test_a_tool_call_is_translated(call: dict[str, Any], translated: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [call]}

    assert only_choice(answered(message, finish_reason="tool_calls")) == {
        "index": 0,
        "message": {"role": "assistant", "tool_calls": [translated]},
        "finish_reason": "tool_calls",
    }


def test_calls_without_id_get_ids_that_differ() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    answer = answered({"tool_calls": [call, call]})
    answer["choices"].append({"index": 1, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"})

    completion = translate(answer)

    assert [call.id for choice in completion.choices for call in choice.message.tool_calls] == [
        "call_chatcmpl-1_0_0",
        "call_chatcmpl-1_0_1",
        "call_chatcmpl-1_1_0",
    ]


@pytest.mark.parametrize(
    ("message", "translated"),
    [
        pytest.param(
            {"role": "assistant", "content": None, "refusal": "I can't."},
            {"role": "assistant", "refusal": "I can't."},
            id="refusal",
        ),
        pytest.param({"content": ""}, {"role": "assistant", "content": ""}, id="empty content"),
        pytest.param({"content": "a\x00b"}, {"role": "assistant", "content": "a\x00b"}, id="NUL in the text"),
        pytest.param(
            {"content": "x", "tool_calls": []}, {"role": "assistant", "content": "x"}, id="no calls (Hugging Face)"
        ),
        pytest.param({"role": "model", "content": "x"}, {"role": "assistant", "content": "x"}, id="another role"),
        pytest.param(
            {"content": "4", "reasoning_content": "2+2"},
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            id="reasoning_content (DeepSeek)",
        ),
        pytest.param(
            {"content": "4", "reasoning": "2+2"},
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            id="reasoning (Groq)",
        ),
        pytest.param(
            {
                "content": "4",
                "reasoning": "2+2",
                "reasoning_details": [{"type": "reasoning.text", "text": "2+2", "signature": "s", "index": 0}, {}],
            },
            {
                "role": "assistant",
                "content": "4",
                "reasoning_content": "2+2",
                "reasoning_details": [{"type": "reasoning.text", "text": "2+2", "signature": "s", "index": 0}, {}],
            },
            id="reasoning_details (OpenRouter)",
        ),
        pytest.param(
            {"content": "4", "reasoning_content": "", "reasoning": None, "reasoning_details": []},
            {"role": "assistant", "content": "4"},
            id="empty reasoning",
        ),
        pytest.param(
            {"content": "4", "reasoning_content": "the same", "reasoning": "the same"},
            {"role": "assistant", "content": "4", "reasoning_content": "the same"},
            id="two names of the same reasoning",
        ),
        pytest.param(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "2"}, {"type": "text", "text": "+2"}]},
                    {"type": "text", "text": "It is "},
                    {"type": "reference", "reference_ids": [1]},
                    {"type": "text", "text": "4"},
                ]
            },
            {
                "role": "assistant",
                "content": "It is 4",
                "reasoning_content": "2+2",
                "annotations": [{"type": "reference", "reference_ids": [1], "end_index": 6}],
            },
            id="content parts (Mistral)",
        ),
        pytest.param(
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}]},
            {"role": "assistant", "reasoning_content": "2+2"},
            id="only reasoning (Mistral)",
        ),
        pytest.param({"content": []}, {"role": "assistant"}, id="no parts (Mistral)"),
        pytest.param(
            {"content": "", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}},
            id="function_call",
        ),
        pytest.param(
            {"content": None, "audio": {"id": "audio_1", "data": "UklG", "expires_at": 1_710_003_600, "transcript": "Hi"}},
            {
                "role": "assistant",
                "audio": {"id": "audio_1", "data": "UklG", "expires_at": 1_710_003_600, "transcript": "Hi"},
            },
            id="audio",
        ),
        pytest.param(
            {
                "content": "x",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 9}},
                    {"type": "file", "file": {"content": [{"type": "text", "text": "x"}], "hash": "h"}},
                ],
            },
            {
                "role": "assistant",
                "content": "x",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 9}},
                    {"type": "file", "file": {"content": [{"type": "text", "text": "x"}], "hash": "h"}},
                ],
            },
            id="annotations",
        ),
        pytest.param(
            {
                "content": "x",
                "annotations": None,
                "audio": {"id": "", "data": "", "expires_at": 0, "transcript": ""},
                "function_call": {"name": "", "arguments": ""},
                "refusal": "",
                "tool_calls": None,
            },
            {"role": "assistant", "content": "x"},
            id="placeholders (Snowflake)",
        ),
    ],
)  # fmt: skip
def test_a_message_is_translated(message: dict[str, Any], translated: dict[str, Any]) -> None:
    assert only_choice(answered(message))["message"] == translated


def test_empty_top_level_placeholders_are_absent() -> None:
    """Snowflake sends empty strings; the contract has these fields only where the provider tells."""
    completion = translate(answered(TEXT) | {"service_tier": "", "system_fingerprint": ""})

    assert not completion.HasField("service_tier")
    assert not completion.HasField("system_fingerprint")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_a_finish_reason_is_handed_on(reason: str) -> None:
    assert only_choice(answered(TEXT, finish_reason=reason))["finish_reason"] == reason


@pytest.mark.parametrize("absent", ["", None])
@pytest.mark.parametrize(
    ("message", "reason"),
    [(TEXT, "stop"), ({"tool_calls": []}, "stop"), ({"tool_calls": [{"function": {"name": "f"}}]}, "tool_calls")],
)
def test_a_missing_finish_reason_of_a_whole_answer_is_told_by_its_message(
    message: dict[str, Any], reason: str, absent: str | None
) -> None:
    assert only_choice(answered(message, finish_reason=absent))["finish_reason"] == reason


def test_two_choices_are_translated_in_order() -> None:
    answer = answered(TEXT)
    answer["choices"] = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
    ]

    assert plain(translate(answer))["choices"] == [
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"},
    ]


def test_logprobs_are_translated_with_bytes_and_a_mark_for_an_empty_list() -> None:
    logprobs = {
        "content": [
            {
                "token": "Ø",
                "logprob": -0.25,
                "bytes": [195, 152],
                "top_logprobs": [
                    {"token": "Ø", "logprob": -0.25, "bytes": [195, 152]},
                    {"token": "O", "logprob": -9999.0, "bytes": None},
                ],
            },
            {"token": "<end>", "logprob": 0.0, "bytes": None, "top_logprobs": []},
        ],
        "refusal": None,
    }

    assert only_choice(answered(TEXT, logprobs=logprobs))["logprobs"] == {
        "content": [
            {
                "token": "Ø",
                "logprob": -0.25,
                "bytes": [195, 152],
                "top_logprobs": [
                    {"token": "Ø", "logprob": -0.25, "bytes": [195, 152]},
                    {"token": "O", "logprob": -9999.0},
                ],
            },
            {"token": "<end>", "logprob": 0.0, "empty_top_logprobs": None},
        ]
    }


def test_logprobs_of_a_refusal_are_translated() -> None:
    logprobs = {"content": None, "refusal": [{"token": "No", "logprob": -1.0, "top_logprobs": []}]}

    assert only_choice(answered(TEXT, logprobs=logprobs))["logprobs"] == {
        "refusal": [{"token": "No", "logprob": -1.0, "empty_top_logprobs": None}]
    }


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None, "refusal": None}, {"content": []}, {"content": [], "refusal": []}]
)
def test_no_logprobs_are_absent(logprobs: Any) -> None:
    assert "logprobs" not in only_choice(answered(TEXT, logprobs=logprobs))


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {
                    "cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 3, "image_tokens": 4, "text_tokens": 5,
                    "video_tokens": 6,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 1, "audio_tokens": 2, "accepted_prediction_tokens": 3,
                    "rejected_prediction_tokens": 4, "text_tokens": 5, "image_tokens": 6,
                },
                "cost": 0.5,
            },
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {
                    "cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 3, "image_tokens": 4, "text_tokens": 5,
                    "video_tokens": 6,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 1, "audio_tokens": 2, "accepted_prediction_tokens": 3,
                    "rejected_prediction_tokens": 4, "text_tokens": 5, "image_tokens": 6,
                },
            },
            id="all details",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None}},
            {
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
            id="no total; a zero is set, a null is not",
        ),
        pytest.param(
            {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
            {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
            id="a total that does not add up (Google)",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21, "prompt_cache_hit_tokens": 16},
            {
                "prompt_tokens": 20,
                "completion_tokens": 1,
                "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 16},
            },
            id="cache hits (DeepSeek)",
        ),
        pytest.param(
            {
                "prompt_tokens": 20,
                "completion_tokens": 1,
                "total_tokens": 21,
                "prompt_cache_hit_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 12},
            },
            {
                "prompt_tokens": 20,
                "completion_tokens": 1,
                "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 12},
            },
            id="cache hits told twice",
        ),
        pytest.param(
            {
                "prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21,
                "prompt_cache_hit_tokens": 16, "prompt_tokens_details": {"text_tokens": 20},
            },
            {
                "prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21,
                "prompt_tokens_details": {"cached_tokens": 16, "text_tokens": 20},
            },
            id="cache hits beside other details",
        ),
        pytest.param(
            {"prompt_tokens": 2**32 - 1, "completion_tokens": 0, "total_tokens": 2**32 - 1},
            {"prompt_tokens": 2**32 - 1, "completion_tokens": 0, "total_tokens": 2**32 - 1},
            id="largest",
        ),
    ],
)  # fmt: skip
def test_usage_is_translated(reported: dict[str, Any], usage: dict[str, Any]) -> None:
    assert plain(translate(answered(TEXT) | {"usage": reported}))["usage"] == usage


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        ({"prompt_tokens": 9.0}, {}),
        ({"prompt_tokens": -1}, {"prompt_tokens": 0, "total_tokens": 11}),
        ({"prompt_tokens": 1.5}, {"prompt_tokens": 0, "total_tokens": 11}),
        ({"completion_tokens": 2**32}, {"completion_tokens": 0}),
        ({"total_tokens": [11]}, {}),
        ({"prompt_tokens_details": [1]}, {}),
        ({"prompt_tokens_details": "c4n4ry"}, {}),
        (
            {"prompt_tokens_details": {"cached_tokens": -5, "audio_tokens": 4}},
            {"prompt_tokens_details": {"audio_tokens": 4}},
        ),
        (
            {"completion_tokens_details": {"reasoning_tokens": 1.0, "audio_tokens": {}}},
            {"completion_tokens_details": {"reasoning_tokens": 1}},
        ),
        ({"is_byok": "yes"}, {}),
    ],
)
def test_an_odd_number_in_the_usage_fails_nothing_else(odd: dict[str, Any], read: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    answer = answered(TEXT)
    answer["usage"] = usage | odd

    assert plain(translate(answer).usage) == usage | read


@pytest.mark.parametrize("usage", [[], "c4n4ry", 5, True])
def test_a_usage_of_another_form_is_none(usage: Any) -> None:
    answer = answered(TEXT)
    answer["usage"] = usage

    assert not translate(answer).HasField("usage")


def test_an_index_that_is_null_is_the_first() -> None:
    assert only_choice(answered(TEXT, index=None)) == only_choice(answered(TEXT))


def test_usage_under_x_groq_is_read() -> None:
    answer = answered(TEXT) | {"x_groq": {"id": "req_1", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}}

    assert plain(translate(answer))["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_azures_filter_results_are_handed_on() -> None:
    results = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": True, "severity": "high"}}
    answer = answered(TEXT, content_filter_results=results)
    answer["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": results}]

    assert only_choice(answer) == {
        "index": 0,
        "message": TEXT,
        "finish_reason": "stop",
        "content_filter_results": results,
    }


def test_moderation_results_are_handed_on() -> None:
    moderation = {"input": {"model": "omni", "results": [{"flagged": False, "category_scores": {"x": 0.25}}]}}

    assert plain(translate(answered(TEXT) | {"moderation": moderation}))["moderation"] == moderation


def test_unknown_fields_are_ignored() -> None:
    answer = answered(TEXT, stop_reason=154827, token_ids=[1], seed=5844196810245229000)
    answer |= {"provider": "x", "kv_transfer_params": None, "metrics": [1], "prompt": []}

    assert only_choice(answer) == {"index": 0, "message": TEXT, "finish_reason": "stop"}


def test_free_form_objects_are_wire_equal_to_struct() -> None:
    completion = translate(answered(TEXT) | {"moderation": {"b": 1, "a": [None, {"c": "d"}]}})

    assert MessageToDict(Struct.FromString(completion.moderation.SerializeToString())) == {
        "b": 1.0,
        "a": [None, {"c": "d"}],
    }


NOT_AS_THE_API_SAYS = "The provider's answer is not as its API says: "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider's answer is no valid JSON."),
        (b"\n", "The provider's answer is no valid JSON."),
        (b"<html><body>c4n4ry</body></html>", "The provider's answer is no valid JSON."),
        (b'{"choices": [', "The provider's answer is no valid JSON."),
        (b'{"choices": []} c4n4ry', "The provider's answer is no valid JSON."),
        (b'{"choices":[{"message":{"content":"c4n4ry\xff"}}]}', "The provider's answer is no valid JSON."),
        (b'{"choices":[{"message":{"content":"c4n4ry\\ud800"}}]}', "The provider's answer is no valid JSON."),
        (b"null", NOT_AS_THE_API_SAYS + "Expected `object`, got `null`."),
        (b'"c4n4ry"', NOT_AS_THE_API_SAYS + "Expected `object`, got `str`."),
        (b'["c4n4ry"]', NOT_AS_THE_API_SAYS + "Expected `object`, got `array`."),
        (b"{}", "The provider's answer has no choices."),
        (b'{"choices":null}', "The provider's answer has no choices."),
        (b'{"choices":[],"object":"c4n4ry"}', "The provider's answer has no choices."),
        (b'{"choices":[{"index":0,"finish_reason":"c4n4ry"}]}', "A choice of the provider's answer has no message."),
        (
            b'{"choices":[{"message":{"content":{"c4n4ry":1}}}]}',
            NOT_AS_THE_API_SAYS + "Expected `str | array | null`, got `object` - at `$.choices[0].message.content`.",
        ),
        (
            b'{"choices":[{"message":{"content":["c4n4ry"]}}]}',
            NOT_AS_THE_API_SAYS + "Expected `object`, got `str` - at `$.choices[0].message.content[0]`.",
        ),
        (
            b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f"}},{"function":"c4n4ry"}]}}]}',
            NOT_AS_THE_API_SAYS
            + "Expected `object | null`, got `str` - at `$.choices[0].message.tool_calls[1].function`.",
        ),
        (
            b'{"choices":[{"index":-1,"message":{}}]}',
            NOT_AS_THE_API_SAYS + "Expected `int` >= 0 - at `$.choices[0].index`.",
        ),
        (
            b'{"choices":[{"message":{},"logprobs":{"content":[{"token":"c4n4ry","logprob":-1,"bytes":[256]}]}}]}',
            NOT_AS_THE_API_SAYS + "Expected `int` <= 255 - at `$.choices[0].logprobs.content[0].bytes[0]`.",
        ),
        (
            b'{"choices":[{"message":{"annotations":[{"c4n4ry":1e999}]}}]}',
            NOT_AS_THE_API_SAYS + "Number out of range - at `$.choices[0].message.annotations[0][...]`.",
        ),
    ],
)
def test_what_is_no_answer_is_malformed_and_only_its_path_is_told(body: bytes, message: str) -> None:
    with pytest.raises(Malformed) as raised:
        translate_completion(body, Origin("acme", IDENTITY))

    assert raised.value.reason is Reason.UPSTREAM_MALFORMED
    assert raised.value.message == message
    assert raised.value.metadata == {"provider": "acme"}
    assert CANARY not in f"{raised.value!s}{raised.value!r}"


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"choices":[{"message":{}}],"unknown":' + b"[" * DEEP + b"]" * DEEP + b"}", id="unknown field"),
        pytest.param(
            b'{"choices":[{"message":{}}],"moderation":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
            id="far too deep",
        ),
        pytest.param(
            b'{"choices":[{"message":{}}],"moderation":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}",
            id="deeper than protobuf decodes",
        ),
        pytest.param(
            b'{"choices":[{"message":{}}],"moderation":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
            id="deeper than Python recurses",
        ),
        pytest.param(
            b'{"choices":[{"message":{}}],"moderation":{"a":1' + b"0" * 400 + b"}}", id="integer beyond doubles"
        ),
        pytest.param(
            b'{"choices":[{"message":{}}],"usage":{"prompt_tokens":4294967295,"completion_tokens":1}}',
            id="sum beyond 32 bits",
        ),
    ],
)
def test_an_answer_beyond_all_limits_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed) as raised:
        translate_completion(body, Origin("acme", IDENTITY))

    assert raised.value.metadata == {"provider": "acme"}


def nested(levels: int) -> dict[str, Any]:
    """Objects within each other, `levels` of them."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def test_free_form_objects_of_30_levels_can_be_decoded_wherever_they_stand() -> None:
    call = {"id": "c", "function": {"name": "f"}, "extra_content": nested(30)}
    message = {"annotations": [nested(30)], "reasoning_details": [nested(30)], "tool_calls": [call]}

    completion = translate(answered(message, content_filter_results=nested(30)) | {"moderation": nested(30)})

    arrived = ChatCompletion.FromString(completion.SerializeToString())
    (choice,) = arrived.choices
    objects = [
        arrived.moderation,
        choice.content_filter_results,
        choice.message.annotations[0],
        choice.message.reasoning_details[0],
        choice.message.tool_calls[0].extra_content,
    ]
    assert [object_to_json(item) for item in objects] == [nested(30)] * 5


def test_a_free_form_object_of_31_levels_is_malformed() -> None:
    with pytest.raises(Malformed):
        translate(answered(TEXT) | {"moderation": nested(31)})


@pytest.mark.parametrize(
    ("error", "reason", "metadata"),
    [
        (
            {"message": CANARY, "code": 429, "metadata": {"raw": CANARY}},
            Reason.UPSTREAM_RATE_LIMITED,
            {"provider": "acme", "upstream_status": "429"},
        ),
        ({"message": CANARY, "code": 502}, Reason.UPSTREAM_UNAVAILABLE, {"provider": "acme", "upstream_status": "502"}),
        ({"message": CANARY, "code": "insufficient_quota"}, Reason.UPSTREAM_QUOTA_EXHAUSTED, {"provider": "acme"}),
        ({"message": CANARY}, Reason.UPSTREAM_INTERRUPTED, {"provider": "acme"}),
        (CANARY, Reason.UPSTREAM_INTERRUPTED, {"provider": "acme"}),
    ],
)
def test_an_error_in_a_200_is_told_as_what_it_is(error: Any, reason: Reason, metadata: dict[str, str]) -> None:
    with pytest.raises(UpstreamError) as raised:
        translate({**answered(TEXT), "error": error})

    assert raised.value.reason is reason
    assert raised.value.metadata == metadata
    assert CANARY not in f"{raised.value!s}{raised.value!r}{raised.value.metadata}"


def test_a_null_error_is_none() -> None:
    assert translate({**answered(TEXT), "error": None}).choices[0].message.content == "Hi."
