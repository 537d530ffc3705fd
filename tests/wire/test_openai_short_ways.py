"""The short ways that plain requests and answers take: they lead to where the long ones do."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from service._gen.parley.v1.message_pb2 import Message
from service.catalogue import Capabilities
from service.errors import Malformed, RequestError
from service.providers.openai import wire
from service.providers.openai.dialect import Dialect
from service.providers.openai.dialects import DIALECTS, EMBEDDED
from service.providers.openai.origin import Origin
from service.providers.openai.request import encode_request
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.openai.translations import renamed
from service.providers.sse import SseEvent
from service.rpc.validation import validate
from tests.support.json_form import to_proto
from tests.support.openai_asking import IDENTITY, call_of, sent

ALL = {**DIALECTS, "embedded": EMBEDDED}
ORIGIN = Origin("acme", IDENTITY)
SAMPLES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0,
    "max_tokens": 0,
    "max_completion_tokens": 5,
    "logit_bias": {"1": 2.5},
    "logprobs": False,
    "seed": 7,
    "user": "u",
    "top_k": 3,
    "modalities": ["text"],
    "functions": [{"name": "f"}],
    "function_call": "none",
    "audio": {"format": "wav", "voice": "v"},
    "chat_template_kwargs": {"enable_thinking": True, "k": 1},
    "service_tier": "auto",
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "random_seed": 7,
}
BESIDE_A_TEXT: dict[str, tuple[Any, str]] = {
    "parts": ([{"type": "text", "text": "t"}], "messages[0].parts"),
    "tool_calls": ([{"id": "c", "function": {"name": "f"}}], "messages[0].tool_calls"),
    "function_call": ({"name": "f"}, "messages[0].function_call"),
    "refusal": ("no", "messages[0].refusal"),
    "audio": ({"id": "a"}, "messages[0].audio"),
    "reasoning_content": ("r", "messages[0].reasoning_content"),
    "reasoning": ("r", "messages[0].reasoning"),
    "reasoning_details": ([{"type": "t"}], "messages[0].reasoning_details"),
    "prefix": (True, "messages[0].prefix"),
    "completion_id": ("no UUID", "messages[0].completion_id"),
    "provider_content": ([{"format": "f"}], "messages[0].provider_content"),
    "is_error": (True, "messages[0].is_error"),
    "tool_events": ([{"id": "c", "tool": "t"}], "messages[0].tool_events"),
}
"""What is refused of a user's message, and where."""
ALLOWED = {
    "name": "n",
    "tool_call_id": "c",
    "annotations": [{"a": 1}],
    "cache_control": {"type": "ephemeral"},
    "id": "i",
    "metadata": {"k": 1},
}
HUGE = {"prompt_tokens": 2**32 - 1, "completion_tokens": 2**32 - 1}
"""Each count is one that can be told; their sum is none."""


def outcome(dialect: Dialect, request: dict[str, Any]) -> tuple[object, list[str]]:
    """The body or the error, and what was left out."""
    call = call_of(request, may_drop=True)
    try:
        return encode_request(call, dialect, stream=False), call.omissions.dropped
    except RequestError as error:
        return (error.reason, error.message, error.param), call.omissions.dropped


@pytest.mark.parametrize("name", ALL)
def test_parameters_that_go_as_they_are_go_as_if_each_had_been_looked_at(name: str) -> None:
    dialect = ALL[name]
    long_way = copy.copy(dialect)
    object.__setattr__(long_way, "as_they_are", frozenset())
    requests = [{parameter: value} for parameter, value in SAMPLES.items()]
    requests += [SAMPLES, SAMPLES | {"reasoning_effort": "low", "enable_thinking": False, "max_tokens": 5}]

    assert dialect.as_they_are & SAMPLES.keys()
    for request in requests:
        assert outcome(dialect, request) == outcome(long_way, request)


def test_what_some_models_are_told_in_another_form_or_not_at_all_is_looked_at() -> None:
    dialect = Dialect(
        name="x",
        translations={"seed": renamed("random_seed")},
        reasoning_translations={"max_tokens": renamed("limit")},
        reasoning_lacks=frozenset({"top_p"}),
    )
    request, reasons = {"seed": 1, "max_tokens": 2}, Capabilities(reasoning="always")

    body = sent(dialect, request, capabilities=reasons)

    assert {"random_seed": 1, "limit": 2}.items() <= body.items()
    assert not request.keys() & body.keys()
    with pytest.raises(RequestError, match="top_p"):
        sent(dialect, {"top_p": 0.5}, capabilities=reasons)


def test_a_parameter_joins_what_another_one_has_been_translated_to() -> None:
    request = {"reasoning_effort": "low", "chat_template_kwargs": {"k": 1}}

    body = json.loads(encode_request(call_of(request), DIALECTS["llamacpp"], stream=False))

    assert body["chat_template_kwargs"] == {"reasoning_effort": "low", "k": 1}


def test_every_member_of_messages_is_known_here() -> None:
    assert {"role", "content"} | BESIDE_A_TEXT.keys() | ALLOWED.keys() == set(Message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("member", [*BESIDE_A_TEXT, *ALLOWED])
def test_one_member_beside_the_text_is_enough_for_a_message_to_be_looked_at(member: str) -> None:
    value, param = BESIDE_A_TEXT.get(member, (ALLOWED.get(member), ""))
    request = to_proto({"model": "m", "messages": [{"role": "user", "content": "Hi", member: value}]})

    if not param:
        validate(request, stream=False)
        return
    with pytest.raises(RequestError) as raised:
        validate(request, stream=False)

    assert raised.value.param == param


@pytest.mark.parametrize("role", ["tool", "function", "nobody", ""])
def test_a_text_alone_is_not_enough_for_other_roles(role: str) -> None:
    request = to_proto({"model": "m", "messages": [{"role": role, "content": "Hi"}]})

    with pytest.raises(RequestError, match=r"messages\[0\]"):
        validate(request, stream=False)


@pytest.mark.parametrize("usage", [[], "x", 5, {"prompt_tokens": -1}, {"prompt_tokens": 1.0, "cached_tokens": 2**70}])
def test_an_odd_usage_is_decoded_as_it_is(usage: Any) -> None:
    answer = {"id": "c", "choices": [], "usage": usage}

    decoded = wire.decode_completion(json.dumps(answer).encode())

    assert (decoded.id, decoded.choices, decoded.usage) == ("c", [], usage)


def test_an_odd_usage_hides_no_other_error() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.id"):
        wire.decode_completion(b'{"usage": [], "id": 5}')


def test_counts_whose_sum_is_too_large_are_the_providers_fault() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body = json.dumps({"id": "c", "choices": [choice], "usage": HUGE}).encode()

    with pytest.raises(Malformed, match="out of range"):
        translate_completion(body, ORIGIN)
    with pytest.raises(Malformed, match="out of range"):
        StreamTranslator(ORIGIN).translate(SseEvent("message", body))
