"""The table of dialects: which parameters each API is sent, in which form, and which are left out."""

from __future__ import annotations

from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.providers.omissions import PARLEYS_OWN
from service.providers.openai.dialect import Dialect
from service.providers.openai.dialects import DIALECTS, EMBEDDED
from tests.support.openai_asking import USER, sent, sent_leniently

ALL = {**DIALECTS, "embedded": EMBEDDED}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHOICE_OF_ONE = {"type": "function", "function": {"name": "f"}}

COMMON: dict[str, Any] = {
    "messages": [{"role": "developer", "content": "Be brief."}, USER],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_completion_tokens": 64,
    "stop": ["END"],
    "tools": [FUNCTION],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
}
DEVELOPER = {"openai", "azure", "groq", "openrouter", "cerebras", "huggingface", "xai", "generic"}
"""Dialects that know the role."""
MAX_TOKENS = {"mistral", "deepseek", "together", "huggingface", "ollama", "zai"}
"""Dialects whose name of the limit it is."""
NO_STREAM_OPTIONS = {"mistral"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ALL)
def test_the_common_parameters_are_sent_as_each_api_knows_them(name: str, *, stream: bool) -> None:
    expected = {"model": "up-1"} | COMMON
    if name not in DEVELOPER:
        expected["messages"] = [{"role": "system", "content": "Be brief."}, USER]
    if name in MAX_TOKENS:
        expected["max_tokens"] = expected.pop("max_completion_tokens")
    if stream:
        expected["stream"] = True
        if name not in NO_STREAM_OPTIONS:
            expected["stream_options"] = {"include_usage": True}

    assert sent(ALL[name], COMMON, stream=stream) == expected


SAMPLES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 64,
    "max_completion_tokens": 64,
    "stop": ["END"],
    "n": 1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"7": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 7,
    "tools": [FUNCTION],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "functions": [{"name": "f"}],
    "function_call": "none",
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text", "audio"],
    "audio": {"format": "wav", "voice": "alloy"},
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {"search_context_size": "low"},
    "service_tier": "flex",
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
    "moderation": {"model": "omni"},
    "top_k": 5,
    "min_p": 0.1,
    "top_a": 0.1,
    "typical_p": 0.5,
    "repetition_penalty": 1.1,
    "min_tokens": 5,
    "thinking": {"type": "enabled"},
    "reasoning": {"effort": "low"},
    "include_reasoning": False,
    "reasoning_format": "parsed",
    "enable_thinking": True,
    "thinking_budget": 512,
    "chat_template_kwargs": {"k": 1},
    "safe_prompt": True,
    "prompt_mode": "reasoning",
    "random_seed": 7,
    "cache_control": {"type": "ephemeral"},
    "safety_settings": [{"category": "C"}],
    "search_parameters": {"mode": "auto"},
}
"""Every parameter of the contract, set to something."""

_FUNCTIONS = "functions function_call "
_ELSEWHERE = "prompt_cache_retention prompt_cache_options moderation "
_VENDORS = "safe_prompt prompt_mode random_seed safety_settings "
_OPENAI = (
    "top_k min_p top_a typical_p repetition_penalty min_tokens thinking include_reasoning reasoning_format "
    "enable_thinking thinking_budget chat_template_kwargs cache_control search_parameters " + _VENDORS
)
NOT_TAKEN = {
    "generic": "",
    "openai": _OPENAI,
    "azure": _OPENAI,
    "groq": "logit_bias logprobs top_logprobs verbosity modalities audio prediction web_search_options top_k min_p "
    "top_a typical_p repetition_penalty min_tokens safety_identifier prompt_cache_key thinking enable_thinking "
    "thinking_budget chat_template_kwargs cache_control search_parameters " + _ELSEWHERE + _VENDORS,
    "mistral": "logit_bias verbosity modalities audio web_search_options user safety_identifier min_p top_a typical_p "
    "thinking include_reasoning reasoning_format enable_thinking thinking_budget chat_template_kwargs cache_control "
    "safety_settings search_parameters " + _ELSEWHERE + _FUNCTIONS,
    "deepseek": "n logit_bias seed parallel_tool_calls verbosity modalities audio prediction web_search_options "
    "service_tier user safety_identifier prompt_cache_key top_k min_p top_a typical_p repetition_penalty min_tokens "
    "include_reasoning reasoning_format thinking_budget chat_template_kwargs cache_control search_parameters "
    + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "openrouter": "n safety_identifier prompt_cache_retention moderation typical_p min_tokens reasoning_format "
    "chat_template_kwargs search_parameters " + _FUNCTIONS + _VENDORS,
    "cerebras": "verbosity modalities audio web_search_options safety_identifier top_k min_p top_a typical_p "
    "repetition_penalty thinking include_reasoning enable_thinking thinking_budget chat_template_kwargs cache_control "
    "search_parameters " + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "together": "logprobs top_logprobs parallel_tool_calls functions verbosity modalities audio prediction "
    "web_search_options service_tier user safety_identifier prompt_cache_key top_a typical_p min_tokens "
    "include_reasoning reasoning_format thinking_budget cache_control search_parameters " + _ELSEWHERE + _VENDORS,
    "huggingface": "cache_control search_parameters " + _ELSEWHERE + _VENDORS,
    "xai": "logit_bias verbosity modalities audio prediction safety_identifier prompt_cache_key top_k min_p top_a "
    "typical_p repetition_penalty min_tokens thinking include_reasoning reasoning_format enable_thinking "
    "thinking_budget chat_template_kwargs cache_control " + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "ollama": "n logit_bias parallel_tool_calls verbosity modalities audio prediction web_search_options service_tier "
    "top_k min_p top_a typical_p repetition_penalty min_tokens thinking include_reasoning reasoning_format "
    "enable_thinking thinking_budget chat_template_kwargs cache_control search_parameters "
    + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "vllm": "verbosity modalities audio prediction web_search_options service_tier top_a typical_p thinking "
    "reasoning_format cache_control search_parameters " + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "llamacpp": "verbosity audio prediction web_search_options service_tier top_a min_tokens thinking reasoning "
    "include_reasoning reasoning_format thinking_budget cache_control search_parameters "
    + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "zai": "n presence_penalty frequency_penalty logit_bias logprobs top_logprobs seed parallel_tool_calls verbosity "
    "modalities audio prediction web_search_options service_tier safety_identifier prompt_cache_key top_k min_p top_a "
    "typical_p repetition_penalty min_tokens include_reasoning reasoning_format thinking_budget chat_template_kwargs "
    "cache_control search_parameters " + _ELSEWHERE + _FUNCTIONS + _VENDORS,
    "embedded": "reasoning_effort verbosity modalities audio prediction web_search_options service_tier top_a "
    "repetition_penalty min_tokens thinking reasoning include_reasoning reasoning_format enable_thinking "
    "thinking_budget cache_control search_parameters " + _ELSEWHERE + _FUNCTIONS + _VENDORS,
}  # fmt: skip
"""By dialect, the parameters of which it is known that the API does not take them."""
ASKING_FOR_NOTHING = {"n"}
"""Of `SAMPLES`, what every API does without it."""


def test_every_parameter_of_the_contract_has_a_sample_and_every_dialect_a_row() -> None:
    assert set(SAMPLES) | PARLEYS_OWN | {"messages"} == set(ChatCompletionRequest.DESCRIPTOR.fields_by_name)
    assert set(NOT_TAKEN) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_is_sent_or_left_out_by_name(name: str) -> None:
    dialect, bare = ALL[name], sent(ALL[name], {})
    refused = set()
    for parameter, sample in SAMPLES.items():
        body, dropped = sent_leniently(dialect, {parameter: sample})
        if body == bare:
            refused.add(parameter)
            assert dropped == ([] if parameter in ASKING_FOR_NOTHING else [parameter])
        else:
            assert dropped == []
            assert sent(dialect, {parameter: sample}) == body

    assert refused == set(NOT_TAKEN[name].split())


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(name, parameter) for name, row in NOT_TAKEN.items() for parameter in row.split()],
)
def test_a_parameter_that_an_api_does_not_take_is_refused_by_name(name: str, parameter: str) -> None:
    sample = 2 if parameter == "n" else SAMPLES[parameter]
    with pytest.raises(RequestError) as raised:
        sent(ALL[name], {parameter: sample})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, parameter)
    assert raised.value.metadata == {"provider": "acme"}
    assert raised.value.message == (
        f"`{parameter}`: the provider `acme` has no such parameter; leave it out, or set `drop_params`."
    )


@pytest.mark.parametrize("name", ALL)
def test_what_asks_for_nothing_is_never_refused(name: str) -> None:
    nothing = {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "repetition_penalty": 1,
        "top_k": 0,
        "min_p": 0,
        "logprobs": False,
        "top_logprobs": 0,
        "modalities": ["text"],
        "response_format": {"type": "text"},
        "service_tier": "auto",
        "tool_choice": None,
        "safe_prompt": False,
        "max_tokens": 0,
        "store": False,
        "typical_p": 1,
        "include_reasoning": True,
        "thinking": {},
        "reasoning": {},
        "chat_template_kwargs": {},
        "prompt_cache_options": {},
    }
    body, dropped = sent_leniently(ALL[name], nothing)

    assert dropped == []
    assert sent(ALL[name], nothing) == body


TRANSLATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("mistral", {"seed": 7}, {"random_seed": 7}),
    ("mistral", {"seed": 7, "random_seed": 7}, {"random_seed": 7}),
    ("mistral", {"max_tokens": 5, "max_completion_tokens": 5}, {"max_tokens": 5}),
    ("openai", {"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ("openai", {"reasoning": {"effort": "low", "enabled": True, "exclude": False}}, {"reasoning_effort": "low"}),
    ("openai", {"reasoning": {"enabled": False}}, {"reasoning_effort": "none"}),
    ("openai", {"max_tokens": 5}, {"max_tokens": 5}),
    ("openrouter", {"reasoning": {"effort": "low", "exclude": True}}, {"reasoning": {"effort": "low", "exclude": True}}),
    ("openrouter", {"thinking": {"type": "enabled", "budget_tokens": 512}}, {"reasoning": {"max_tokens": 512}}),
    ("openrouter", {"thinking": {"type": "adaptive"}}, {"reasoning": {"enabled": True}}),
    ("openrouter", {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
    (
        "openrouter",
        {"reasoning": {"exclude": True}, "enable_thinking": True, "thinking_budget": 512},
        {"reasoning": {"exclude": True, "enabled": True, "max_tokens": 512}},
    ),
    ("deepseek", {"enable_thinking": False}, {"thinking": {"type": "disabled"}}),
    ("deepseek", {"thinking": {"type": "enabled"}, "enable_thinking": True}, {"thinking": {"type": "enabled"}}),
    ("together", {"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
    ("together", {"enable_thinking": True}, {"reasoning": {"enabled": True}}),
    ("vllm", {"thinking_budget": 512}, {"thinking_token_budget": 512}),
    (
        "vllm",
        {"enable_thinking": False, "chat_template_kwargs": {"k": 1}},
        {"chat_template_kwargs": {"enable_thinking": False, "k": 1}},
    ),
    ("llamacpp", {"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
    ("llamacpp", {"reasoning_effort": "high"}, {"chat_template_kwargs": {"reasoning_effort": "high"}}),
    ("zai", {"user": "u", "enable_thinking": True}, {"user_id": "u", "thinking": {"type": "enabled"}}),
    ("zai", {"thinking": {"type": "enabled", "clear_thinking": False}}, {"thinking": {"type": "enabled", "clear_thinking": False}}),
    ("ollama", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_", "expected"), TRANSLATED)
def test_a_parameter_is_sent_in_the_form_that_the_api_knows(
    name: str, request_: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(ALL[name], request_) == {"model": "up-1", "messages": [USER]} | expected


@pytest.mark.parametrize("name", ["openai", "azure"])
@pytest.mark.parametrize("reasoning", ["always", "effort"])
def test_openais_models_that_reason_take_the_newer_limit_alone(name: str, reasoning: Any) -> None:
    body = sent(ALL[name], {"max_tokens": 5}, capabilities=Capabilities(reasoning=reasoning))

    assert body == {"model": "up-1", "messages": [USER], "max_completion_tokens": 5}


@pytest.mark.parametrize(
    ("name", "reasoning", "limit"),
    [
        ("openai", None, "max_completion_tokens"),
        ("openai", "none", "max_completion_tokens"),
        ("openai", "effort", "max_completion_tokens"),
        ("azure", None, "max_tokens"),
        ("azure", "none", "max_tokens"),
        ("azure", "effort", "max_completion_tokens"),
    ],
)
def test_of_two_limits_openai_is_sent_one(name: str, reasoning: Any, limit: str) -> None:
    both = {"max_tokens": 5, "max_completion_tokens": 5}
    body = sent(ALL[name], both, capabilities=Capabilities(reasoning=reasoning))

    assert body == {"model": "up-1", "messages": [USER], limit: 5}


@pytest.mark.parametrize("name", ALL)
def test_to_choose_none_of_no_tools_is_never_refused(name: str) -> None:
    assert sent(ALL[name], {"tool_choice": "none"}) == sent(ALL[name], {}), "OpenAI refuses a choice without tools"


@pytest.mark.parametrize(
    ("name", "is_known"), [("ollama", False), ("zai", False), ("openai", True), ("embedded", True)]
)
def test_where_an_api_has_no_word_for_none_it_is_given_no_tools(name: str, is_known: bool) -> None:  # noqa: FBT001 - a column of the table
    body = sent(ALL[name], {"tools": [FUNCTION], "tool_choice": "none"})

    assert ("tools" in body, body.get("tool_choice")) == ((True, "none") if is_known else (False, None))


LIMITED: list[tuple[str, dict[str, Any], str]] = [
    ("groq", {"n": 2}, "n"),
    ("zai", {"stop": ["a", "b"]}, "stop"),
    ("deepseek", {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, "response_format"),
    ("zai", {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, "response_format"),
    ("openai", {"reasoning": {"max_tokens": 512}}, "reasoning"),
    ("openai", {"reasoning": {"effort": "low", "exclude": True}}, "reasoning"),
    ("openrouter", {"thinking": {"type": "enabled", "display": "omitted"}}, "thinking"),
    ("together", {"thinking": {"type": "enabled", "budget_tokens": 512}}, "thinking"),
    ("ollama", {"tools": [FUNCTION], "tool_choice": "required"}, "tool_choice"),
    ("zai", {"tools": [FUNCTION], "tool_choice": "required"}, "tool_choice"),
    ("llamacpp", {"tools": [FUNCTION], "tool_choice": CHOICE_OF_ONE}, "tool_choice"),
    ("embedded", {"tools": [FUNCTION], "tool_choice": "required"}, "tool_choice"),
    ("embedded", {"tools": [FUNCTION], "tool_choice": CHOICE_OF_ONE}, "tool_choice"),
    ("groq", {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
]


@pytest.mark.parametrize(("name", "request_", "param"), LIMITED)
def test_a_value_that_an_api_does_not_take_is_left_out_or_refused(
    name: str, request_: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent(ALL[name], request_)
    body, dropped = sent_leniently(ALL[name], request_)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    assert dropped == [param]
    assert param not in body


@pytest.mark.parametrize("parameter", ["presence_penalty", "frequency_penalty", "stop"])
def test_xais_models_that_reason_take_fewer_parameters(parameter: str) -> None:
    request = {parameter: SAMPLES[parameter]}
    with pytest.raises(RequestError) as raised:
        sent(ALL["xai"], request, capabilities=Capabilities(reasoning="effort"))

    assert raised.value.param == parameter
    for known in (Capabilities(reasoning="none"), Capabilities()):
        assert parameter in sent(ALL["xai"], request, capabilities=known)
    unreasoned = request | {"reasoning_effort": "none"}
    assert parameter in sent(ALL["xai"], unreasoned, capabilities=Capabilities(reasoning="effort"))


CONTRADICTING: list[tuple[str, dict[str, Any], str]] = [
    ("mistral", {"seed": 7, "random_seed": 8}, "random_seed"),
    ("openai", {"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
    ("openrouter", {"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
    ("generic", {"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
    ("openrouter", {"reasoning": {"enabled": True}, "enable_thinking": False}, "enable_thinking"),
    ("openrouter", {"thinking": {"type": "enabled", "budget_tokens": 512}, "thinking_budget": 8}, "thinking_budget"),
    ("deepseek", {"thinking": {"type": "enabled"}, "enable_thinking": False}, "enable_thinking"),
    ("vllm", {"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
]


@pytest.mark.parametrize(("name", "request_", "param"), CONTRADICTING)
def test_parameters_that_contradict_each_other_are_refused_by_the_second(
    name: str, request_: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(ALL[name], request_)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


@pytest.mark.parametrize("name", ALL)
def test_padding_is_asked_for_where_the_api_knows_it(name: str) -> None:
    wish = {"stream_options": {"include_obfuscation": False}}
    unwanted = sent(ALL[name], wish, stream=True)
    padded, dropped = sent_leniently(ALL[name], {"stream_options": {"include_obfuscation": True}}, stream=True)

    if name in {"openai", "azure", "generic"}:
        assert unwanted["stream_options"] == {"include_usage": True, "include_obfuscation": False}
        assert padded["stream_options"] == {"include_usage": True, "include_obfuscation": True}
    else:
        assert unwanted.get("stream_options", {"include_usage": True}) == {"include_usage": True}
        assert dropped == ["stream_options.include_obfuscation"]
        assert padded == unwanted


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"provider": {"order": ["a"]}}, {"provider": {"order": ["a"]}}),
        ({"reasoning": {"summary": "auto"}}, {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
    ],
)
def test_extra_body_adds_to_what_the_request_made(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(ALL["openrouter"], {"reasoning": {"effort": "low"}, "extra_body": extra})

    assert body == {"model": "up-1", "messages": [USER], "reasoning": {"effort": "low"}} | expected


@pytest.mark.parametrize(
    ("dialect", "request_", "extra", "param"),
    [
        ("openrouter", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "high"}}, "extra_body.reasoning.effort"),
        ("openrouter", {"reasoning": {"effort": "low"}}, {"reasoning": 5}, "extra_body.reasoning"),
        ("openrouter", {}, {"model": "other"}, "extra_body.model"),
        ("openrouter", {"prompt_cache_options": {"c4n4ry !": 1}}, {"prompt_cache_options": {"c4n4ry !": 2}}, "extra_body.prompt_cache_options"),
        ("mistral", {"seed": 7}, {"random_seed": 8}, "extra_body.random_seed"),
        ("vllm", {"thinking_budget": 5}, {"thinking_token_budget": 6}, "extra_body.thinking_token_budget"),
    ],
)  # fmt: skip
def test_extra_body_can_not_replace_what_the_request_set(
    dialect: str, request_: dict[str, Any], extra: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent(ALL[dialect], request_ | {"extra_body": extra})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)
    assert "c4n4ry" not in raised.value.message


def test_a_dialect_that_is_told_nothing_is_handed_everything() -> None:
    assert DIALECTS["generic"] == Dialect(name="generic")
