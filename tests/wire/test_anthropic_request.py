"""What the Messages API is sent for each parameter: exact bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.errors import Reason
from service.providers.anthropic.request import KNOWN, encode_request
from service.providers.omissions import PARLEYS_OWN
from tests.support.dropped import unplaced
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import (
    ADAPTIVE,
    ASKED,
    BUDGET,
    HELLO,
    NO_SCHEMA,
    call_of,
    refused,
    sent,
    sent_further,
    without,
)

SCHEMA: Json = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}


def test_a_plain_request() -> None:
    assert sent({}) == {"model": "claude", "max_tokens": 4096, "messages": ASKED}


def test_a_stream_is_asked_for() -> None:
    assert sent({}, stream=True)["stream"] is True


@pytest.mark.parametrize(
    ("body", "capabilities", "expected"),
    [
        ({}, Capabilities(), 4096),
        ({}, Capabilities(max_output_tokens=32_000), 32_000),
        ({"max_tokens": 0}, Capabilities(), 4096),
        ({"max_tokens": 7}, Capabilities(max_output_tokens=32_000), 7),
        ({"max_completion_tokens": 8}, Capabilities(), 8),
        ({"max_completion_tokens": 0, "max_tokens": 9}, Capabilities(), 9),
    ],
)
def test_the_limit_of_the_answer(body: Json, capabilities: Capabilities, expected: int) -> None:
    assert sent(body, capabilities)["max_tokens"] == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 1}, {"temperature": 1}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"top_k": 0}, {}),
        ({"stop": ["END", "\n\nHuman:"]}, {"stop_sequences": ["END", "\n\nHuman:"]}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "standard_only"}, {"service_tier": "standard_only"}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"safety_identifier": "h1"}, {"metadata": {"user_id": "h1"}}),
        ({"safety_identifier": "h1", "user": "h1"}, {"metadata": {"user_id": "h1"}}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ({"response_format": {"type": "text"}}, {}),
        ({"n": 1, "presence_penalty": 0, "modalities": ["text"], "logprobs": False}, {}),
        ({"store": False, "tags": [], "drop_params": False}, {}),
    ],
)
def test_a_parameter_is_translated(body: Json, expected: Json) -> None:
    assert sent_further(body) == expected


@pytest.mark.parametrize(
    ("body", "capabilities", "param", "expected"),
    [
        ({"temperature": 1.5}, None, "temperature", {}),
        ({"temperature": 0.5, "reasoning_effort": "low"}, ADAPTIVE, "temperature", None),
        ({"top_p": 0.9, "reasoning_effort": "low"}, ADAPTIVE, "top_p", None),
        ({"top_k": 5, "reasoning_effort": "low"}, ADAPTIVE, "top_k", None),
        ({"stop": ["x", " \n"]}, None, "stop[1]", {"stop_sequences": ["x"]}),
        ({"stop": ["\n"]}, None, "stop[0]", {}),
        ({"service_tier": "priority"}, None, "service_tier", {}),
        ({"user": "u1", "safety_identifier": "h1"}, None, "user", {"metadata": {"user_id": "h1"}}),
        ({"response_format": {"type": "json_object"}}, None, "response_format", {}),
        ({"functions": [{"name": "f"}]}, None, "functions", {}),
        ({"n": 2}, None, "n", {}),
        ({"messages": [{"role": "user", "content": "Hello", "name": "Ann"}]}, None, "messages[0].name", {}),
    ],
)
def test_what_the_provider_cannot_follow_is_refused_by_name_or_dropped(
    body: Json, capabilities: Capabilities | None, param: str, expected: Json | None
) -> None:
    error = refused(body, capabilities)
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    assert f"`{param}`: the provider `acme` " in error.message
    dropped, further = without(body, capabilities)
    assert dropped == [unplaced(param)]
    assert expected is None or further == expected
    assert expected is not None or param not in further


def test_a_temperature_of_one_goes_with_thinking() -> None:
    body = sent({"temperature": 1.0, "top_p": 0.95, "reasoning_effort": "low"}, BUDGET)
    assert (body["temperature"], body["top_p"]) == (1, 0.95)


@pytest.mark.parametrize(
    ("body", "capabilities"),
    [
        ({"reasoning_effort": "none"}, BUDGET),
        ({"thinking": {"type": "disabled"}}, ADAPTIVE),
        ({"enable_thinking": False}, Capabilities()),
    ],
)
def test_sampling_is_free_where_thinking_is_turned_off(body: Json, capabilities: Capabilities) -> None:
    told = sent({"temperature": 0.5, "top_p": 0.5, "top_k": 5, **body}, capabilities)
    assert (told["temperature"], told["top_p"], told["top_k"]) == (0.5, 0.5, 5)
    assert told["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize("value", [0, 1])
def test_whole_numbers_are_written_as_such(value: int) -> None:
    encoded = encode_request(call_of({"temperature": value, "top_p": value}), stream=False).body
    assert f'"temperature":{value},"top_p":{value}}}'.encode() in encoded


WISHES: Json = {
    "n": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 1,
    "functions": [{"name": "f"}],
    "function_call": "auto",
    "verbosity": "low",
    "modalities": ["text", "audio"],
    "audio": {"format": "wav", "voice": "v"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "implicit"},
    "moderation": {"model": "m"},
    "min_p": 0.1,
    "top_a": 0.1,
    "typical_p": 0.1,
    "repetition_penalty": 1.1,
    "min_tokens": 1,
    "reasoning_format": "parsed",
    "chat_template_kwargs": {"x": 1},
    "safe_prompt": True,
    "prompt_mode": "reasoning",
    "random_seed": 1,
    "safety_settings": [{"category": "c"}],
    "search_parameters": {"mode": "on"},
}
"""A value that asks for something, for every parameter that has no counterpart."""


def test_every_parameter_of_the_contract_is_translated_refused_or_parleys_own() -> None:
    contract = {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields}
    assert contract == KNOWN | PARLEYS_OWN | set(WISHES)
    assert not KNOWN & set(WISHES)


@pytest.mark.parametrize("name", WISHES)
def test_a_parameter_without_a_counterpart_is_refused_or_dropped(name: str) -> None:
    error = refused({name: WISHES[name]})
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, name)
    assert without({name: WISHES[name]}) == ([name], {})


def format_of(**fields: Any) -> Json:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, **fields}}}


def test_a_schema_is_the_providers_to_hold_to() -> None:
    body = sent_further(format_of(strict=True))
    assert body == {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    assert list(body["output_config"]["format"]["schema"]["properties"]) == ["b", "a"]


def test_the_description_of_an_answer_stands_within_its_schema() -> None:
    schema = sent_further(format_of(description="A city."))["output_config"]["format"]["schema"]
    assert schema == {"description": "A city.", **SCHEMA}


def test_a_second_description_of_an_answer_has_no_place() -> None:
    body = format_of(description="A city.", schema={"description": "Of a city.", **SCHEMA})
    assert refused(body).param == "response_format.json_schema.description"
    assert without(body)[1]["output_config"]["format"]["schema"]["description"] == "Of a city."


@pytest.mark.parametrize("capabilities", [Capabilities(), NO_SCHEMA])
def test_an_answer_without_a_schema_is_refused(capabilities: Capabilities) -> None:
    error = refused({"response_format": {"type": "json_schema", "json_schema": {"name": "city"}}}, capabilities)
    assert (error.reason, error.param) == (Reason.PARAMETER_MISSING, "response_format.json_schema.schema")


def test_a_schema_and_an_effort_stand_side_by_side() -> None:
    assert set(sent(format_of() | {"reasoning_effort": "low"}, ADAPTIVE)["output_config"]) == {"effort", "format"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"extra_body": {"container": "c1"}}, {"container": "c1"}),
        ({"extra_body": {"output_config": {"task_budget": 1}}}, {"output_config": {"task_budget": 1}}),
        (
            {"reasoning_effort": "low", "extra_body": {"output_config": {"task_budget": 1}}},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low", "task_budget": 1}},
        ),
    ],
)
def test_extra_members_are_joined(body: Json, expected: Json) -> None:
    assert sent_further(body) == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (
            {"extra_body": {"system": "x"}, "messages": [{"role": "system", "content": "y"}, *HELLO]},
            "extra_body.system",
        ),
        (
            {"extra_body": {"output_config": {"effort": "max"}}, "reasoning_effort": "low"},
            "extra_body.output_config.effort",
        ),
    ],
)
def test_extra_members_replace_nothing(body: Json, param: str) -> None:
    error = refused(body)
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, param)


def test_the_request_is_left_as_it_was() -> None:
    call = call_of({"extra_body": {"x": {"y": 1}}, "temperature": 0.5})
    before = call.request.SerializeToString(deterministic=True)
    first = encode_request(call, stream=False)
    assert call.request.SerializeToString(deterministic=True) == before
    assert json.loads(first.body) == json.loads(encode_request(call, stream=False).body)
