"""What a provider or a model can't follow: refused by name, or dropped and told."""

from __future__ import annotations

from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.dispatch.call import Journal
from service.errors import Reason, RequestError
from service.json_values import object_to_json
from service.providers.abilities import within_abilities
from service.providers.omissions import PARLEYS_OWN, Omissions, asks_for_nothing
from service.providers.provider import Identity, ProviderCall
from service.rpc.call import Call
from service.rpc.told import initial_metadata
from tests.support.json_form import to_proto

USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
IDENTITY = Identity(id="chatcmpl-own", created=1, model="public")


def call_of(body: dict[str, Any], known: Capabilities, *, may_drop: bool = False) -> ProviderCall:
    request = to_proto({"model": "m", "messages": [USER]} | body)
    return ProviderCall(request, "up-1", IDENTITY, known, Omissions("acme", may_drop=may_drop))


def test_what_cannot_be_followed_is_refused_with_its_name_and_the_providers() -> None:
    with pytest.raises(RequestError) as raised:
        Omissions("acme", may_drop=False).omit("seed", "has no such parameter")

    error = raised.value
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, "seed")
    assert error.message == ("`seed`: the provider `acme` has no such parameter; leave it out, or set `drop_params`.")
    assert error.metadata == {"provider": "acme"}


def test_dropped_parameters_are_told_once_and_in_order() -> None:
    omissions = Omissions("acme", may_drop=True)
    for name in ("seed", "top_k", "seed"):
        omissions.omit(name, "has no such parameter")

    assert omissions.dropped == ["seed", "top_k"]


def test_places_in_lists_are_told_in_errors_and_not_among_what_was_dropped() -> None:
    omissions = Omissions("acme", may_drop=True)
    for index in range(1000):
        omissions.omit(f"messages[{index}].tool_calls[3].x", "has no such thing")
    assert omissions.dropped == ["messages[].tool_calls[].x"]

    with pytest.raises(RequestError) as raised:
        Omissions("acme", may_drop=False).omit("messages[7].name", "knows no names")
    assert raised.value.param == "messages[7].name"


@pytest.mark.parametrize("name", ["é", "x" * 200, "a b", "a\nb"])
def test_a_name_of_the_callers_own_is_told_by_where_it_stands(name: str) -> None:
    omissions = Omissions("acme", may_drop=True)

    omissions.omit(f"reasoning.{name}", "has no such setting")

    assert omissions.dropped == ["reasoning"]


def test_padding_is_left_out_by_name() -> None:
    request = to_proto({"messages": [USER], "stream_options": {"include_obfuscation": True, "include_usage": True}})
    omissions = Omissions("acme", may_drop=True)

    omissions.omit_others(request, frozenset({"messages"}))

    assert omissions.dropped == ["stream_options.include_obfuscation"]


def test_metadata_has_room_for_whatever_was_dropped() -> None:
    dropped = [f"reasoning.{'x' * 60}{number}" for number in range(500)]
    call = Call(request_id="r", method="m", journal=Journal(dropped=dropped), first_token=1.0)

    _, (name, value) = initial_metadata(call)

    assert name == "x-parley-dropped-params"
    assert value.startswith(f"{dropped[0]}, ")
    assert value.endswith(", +450")
    assert len(value) < 6000


def test_content_is_refused_even_where_parameters_may_be_dropped() -> None:
    with pytest.raises(RequestError) as raised:
        Omissions("acme", may_drop=True).refuse("messages[0].content[1].type", "hears nothing")

    assert raised.value.message == "`messages[0].content[1].type`: the provider `acme` hears nothing."


@pytest.mark.parametrize(
    ("field", "nothing", "something"),
    [
        ("max_tokens", 0, 1),
        ("max_completion_tokens", 0, 1),
        ("n", 1, 2),
        ("presence_penalty", 0, 0.5),
        ("frequency_penalty", 0, -0.5),
        ("repetition_penalty", 1, 1.1),
        ("top_k", 0, 5),
        ("min_p", 0, 0.1),
        ("top_a", 0, 0.1),
        ("min_tokens", 0, 5),
        ("logprobs", False, True),
        ("top_logprobs", 0, 5),
        ("modalities", ["text"], ["text", "audio"]),
        ("response_format", {"type": "text"}, {"type": "json_object"}),
        ("service_tier", "auto", "flex"),
        ("service_tier", "default", "priority"),
        ("parallel_tool_calls", True, False),
        ("tool_choice", "auto", "none"),
        ("typical_p", 1, 0.9),
        ("include_reasoning", True, False),
        ("thinking", {}, {"type": "enabled"}),
        ("reasoning", {}, {"effort": "low"}),
        ("chat_template_kwargs", {}, {"k": None}),
        ("prompt_cache_options", {}, {"mode": "explicit"}),
        ("web_search_options", None, {}),
        ("search_parameters", None, {}),
        ("safe_prompt", False, True),
        ("seed", None, 0),
        ("user", None, "u"),
    ],
)
def test_values_that_ask_for_nothing_need_no_provider_that_knows_them(
    field: str, nothing: object, something: object
) -> None:
    asked = to_proto({"messages": [USER], field: something})
    with pytest.raises(RequestError) as raised:
        Omissions("acme", may_drop=False).omit_others(asked, frozenset({"messages"}))
    assert raised.value.param == field

    if nothing is not None:
        silent = to_proto({"messages": [USER], field: nothing})
        assert [asks_for_nothing(found.name, value) for found, value in silent.ListFields()] == [False, True]
        Omissions("acme", may_drop=False).omit_others(silent, frozenset({"messages"}))


def test_known_fields_and_parleys_own_are_let_pass() -> None:
    request = to_proto({"model": "m", "messages": [USER], "drop_params": False, "seed": 1, "extra_body": {"x": 1}})
    omissions = Omissions("acme", may_drop=True)

    omissions.omit_others(request, frozenset({"messages", "seed"}))

    assert omissions.dropped == []
    assert set(ChatCompletionRequest.DESCRIPTOR.fields_by_name) > PARLEYS_OWN


@pytest.mark.parametrize(
    ("known", "body", "param"),
    [
        (Capabilities(tools=False), {"tools": [FUNCTION]}, "tools"),
        (Capabilities(tools=False), {"functions": [{"name": "f"}]}, "functions"),
        (Capabilities(reasoning="none"), {"reasoning_effort": "low"}, "reasoning_effort"),
        (Capabilities(reasoning_efforts=("low", "high")), {"reasoning_effort": "max"}, "reasoning_effort"),
        (Capabilities(reasoning="none"), {"reasoning": {"effort": "high"}}, "reasoning.effort"),
        (Capabilities(reasoning_efforts=("low", "high")), {"reasoning": {"effort": "xhigh"}}, "reasoning.effort"),
        (Capabilities(reasoning_efforts=("low", "high")), {"reasoning": {"enabled": False}}, "reasoning.enabled"),
        (Capabilities(sampling=False), {"temperature": 0.5}, "temperature"),
        (Capabilities(sampling=False), {"top_p": 0.5}, "top_p"),
        (Capabilities(sampling=False), {"logit_bias": {"5": 1}}, "logit_bias"),
        (Capabilities(sampling=False), {"temperature": 0.5, "reasoning_effort": "low"}, "temperature"),
        (
            Capabilities(sampling=False, reasoning="adaptive"),
            {"temperature": 0.5, "reasoning_effort": "none"},
            "temperature",
        ),
    ],
)
def test_a_parameter_that_the_model_cannot_follow_is_refused_or_dropped(
    known: Capabilities, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        within_abilities(call_of(body, known))
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    assert "up-1" in raised.value.message
    assert "acme" in raised.value.message

    call = call_of(body, known, may_drop=True)
    followed = within_abilities(call)
    assert call.omissions.dropped == [param]
    assert param.partition(".")[0] not in {field.name for field, _ in followed.request.ListFields()}
    assert param.partition(".")[0] in {field.name for field, _ in call.request.ListFields()}, (
        "the caller's request is left as it was"
    )


@pytest.mark.parametrize(
    ("known", "body"),
    [
        (Capabilities(), {"tools": [FUNCTION], "reasoning_effort": "max", "temperature": 0.5}),
        (Capabilities(tools=False), {"tool_choice": "none"}),
        (Capabilities(reasoning="none"), {"reasoning_effort": "none"}),
        (Capabilities(reasoning_efforts=("low",)), {"reasoning_effort": "low"}),
        (Capabilities(reasoning="none"), {"reasoning": {"effort": "none", "enabled": False}}),
        (Capabilities(reasoning_efforts=("low",)), {"reasoning": {"enabled": True, "effort": "low"}}),
        (Capabilities(reasoning_efforts=("low",)), {"reasoning": {"max_tokens": 5, "effort": 7, "enabled": "x"}}),
        (Capabilities(sampling=False, reasoning="effort"), {"temperature": 0.5, "reasoning": {"effort": "none"}}),
        (Capabilities(sampling=False, reasoning="effort"), {"temperature": 0.5, "reasoning": {"enabled": False}}),
        (Capabilities(sampling=False), {"temperature": 1, "top_p": 1, "presence_penalty": 0}),
        (Capabilities(sampling=False, reasoning="effort"), {"temperature": 0.5, "reasoning_effort": "none"}),
        (Capabilities(input_kinds=("text", "image")), {"messages": [{"role": "user", "content": [IMAGE]}]}),
        (Capabilities(input_kinds=("text",)), {"messages": [USER, {"role": "assistant", "content": None}]}),
    ],
)
def test_what_the_model_can_follow_or_may_is_handed_on_as_it_is(known: Capabilities, body: dict[str, Any]) -> None:
    call = call_of(body, known)

    assert within_abilities(call) is call
    assert call.omissions.dropped == []


def test_of_reasoning_only_the_effort_is_dropped() -> None:
    both = {"reasoning_effort": "max", "reasoning": {"exclude": True, "effort": "max"}}
    call = call_of(both, Capabilities(reasoning_efforts=("low",)), may_drop=True)

    followed = within_abilities(call)

    assert call.omissions.dropped == ["reasoning_effort", "reasoning.effort"]
    assert not followed.request.reasoning_effort
    assert object_to_json(followed.request.reasoning) == {"exclude": True}


@pytest.mark.parametrize("may_drop", [False, True])
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}, "messages[1].content[1].type"),
        ({"role": "user", "parts": [IMAGE]}, "messages[1].parts[0].type"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
            "messages[1].content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}]},
            "messages[1].content[0].type",
        ),
    ],
)
def test_input_that_the_model_cannot_read_is_refused_and_never_dropped(
    message: dict[str, Any],
    param: str,
    may_drop: bool,  # noqa: FBT001 - a column of the table
) -> None:
    with pytest.raises(RequestError) as raised:
        within_abilities(call_of({"messages": [USER, message]}, Capabilities(input_kinds=("text",)), may_drop=may_drop))

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)
