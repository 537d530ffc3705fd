"""What Gemini is sent of a request's parameters: exact bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.providers.gemini import GEMINI
from service.providers.gemini.request import KNOWN
from service.providers.omissions import PARLEYS_OWN
from tests.support.dropped import unplaced
from tests.wire.gemini_support import HI, NEW, OLD, USER, Json, call_of, sent, sent_by

SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}, "required": ["z"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "F", "parameters": SCHEMA}}
DECLARED = {"name": "f", "description": "F", "parametersJsonSchema": SCHEMA}
BARE = {"type": "function", "function": {"name": "g"}}
STRICT = {"type": "function", "function": {"name": "s", "strict": True}}
LOGPROBS = {"responseLogprobs": True}


def form(schema: Json | None = SCHEMA, **fields: Any) -> Json:
    told = {"name": "x", **fields} | ({"schema": schema} if schema is not None else {})
    return {"response_format": {"type": "json_schema", "json_schema": told}}


@pytest.mark.parametrize(
    ("asked", "config"),
    [
        ({"temperature": 0.5, "top_p": 1, "top_k": 5}, {"temperature": 0.5, "topP": 1, "topK": 5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_completion_tokens": 6}, {"maxOutputTokens": 6}),
        ({"max_tokens": 0, "n": 1, "logprobs": False, "top_k": 0}, {}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"n": 2, "seed": 7}, {"candidateCount": 2, "seed": 7}),
        ({"presence_penalty": 0.5, "frequency_penalty": -1}, {"presencePenalty": 0.5, "frequencyPenalty": -1}),
        ({"logprobs": True}, LOGPROBS),
        ({"logprobs": True, "top_logprobs": 3}, LOGPROBS | {"logprobs": 3}),
        ({"modalities": ["text"]}, {"responseModalities": ["TEXT"]}),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (form(), {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}),
        (form(None), {"responseMimeType": "application/json"}),
        (
            form({"type": "object"}, description="D", strict=True),
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object", "description": "D"}},
        ),
    ],
)
def test_parameters_of_the_generation_are_translated(asked: Json, config: Json) -> None:
    told = sent(asked)

    assert told == {"contents": [HI]} | ({"generationConfig": config} if config else {})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "default"}, {"serviceTier": "standard"}),
        ({"service_tier": "flex"}, {"serviceTier": "flex"}),
        ({"service_tier": "priority"}, {"serviceTier": "priority"}),
        (
            {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
            {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]},
        ),
        ({"parallel_tool_calls": True}, {}),
        ({"extra_body": {"cachedContent": "cachedContents/1"}}, {"cachedContent": "cachedContents/1"}),
        (
            {"temperature": 1, "extra_body": {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}},
            {"generationConfig": {"temperature": 1, "mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        ),
        (
            {
                "temperature": 1,
                "extra_body": {
                    "generation_config": {"media_resolution": "MEDIA_RESOLUTION_LOW", "response_schema": {"a_b": 1}},
                    "cached_content": "cachedContents/1",
                    "labels": {"a_b": "c"},
                },
            },
            {
                "generationConfig": {
                    "temperature": 1,
                    "mediaResolution": "MEDIA_RESOLUTION_LOW",
                    "responseSchema": {"a_b": 1},
                },
                "cachedContent": "cachedContents/1",
                "labels": {"a_b": "c"},
            },
        ),
    ],
)
def test_other_parameters_are_translated(asked: Json, told: Json) -> None:
    assert sent(asked) == {"contents": [HI]} | told


@pytest.mark.parametrize(
    ("asked", "extra", "param"),
    [
        ({"temperature": 1}, {"generationConfig": {"temperature": 0}}, "generationConfig.temperature"),
        ({"temperature": 1}, {"generation_config": {"temperature": 0}}, "generationConfig.temperature"),
        ({"top_p": 1}, {"generation_config": {"top_p": 0}}, "generationConfig.topP"),
        ({"service_tier": "flex"}, {"service_tier": "priority"}, "serviceTier"),
        (
            {"messages": [{"role": "system", "content": "A"}, USER]},
            {"system_instruction": {"parts": []}},
            "systemInstruction.parts",
        ),
        ({"safety_settings": [{"category": "C"}]}, {"safety_settings": []}, "safetySettings"),
        (
            {"thinking_budget": 5},
            {"generation_config": {"thinking_config": {"thinking_budget": 6}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        (
            {"tools": [BARE], "tool_choice": "auto"},
            {"tool_config": {"function_calling_config": {"mode": "ANY"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ],
)
def test_extra_body_may_not_replace_what_the_request_sets(asked: Json, extra: Json, param: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent(asked | {"extra_body": extra})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, f"extra_body.{param}")


def test_extra_body_may_not_say_the_same_in_both_spellings() -> None:
    with pytest.raises(RequestError) as raised:
        sent({"extra_body": {"cached_content": "a", "cachedContent": "b"}})

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, "extra_body")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"tools": [TOOL]}, {"tools": [{"functionDeclarations": [DECLARED]}]}),
        ({"tools": [BARE]}, {"tools": [{"functionDeclarations": [{"name": "g"}]}]}),
        (
            {"tools": [{"type": "provider", "provider": {"google_search": {}}}, BARE, TOOL]},
            {"tools": [{"google_search": {}}, {"functionDeclarations": [{"name": "g"}, DECLARED]}]},
        ),
        ({"web_search_options": {}}, {"tools": [{"googleSearch": {}}]}),
        (
            {"web_search_options": {}, "tools": [{"type": "provider", "provider": {"googleSearch": {"x": 1}}}]},
            {"tools": [{"googleSearch": {"x": 1}}]},
        ),
    ],
)
def test_tools_are_translated(asked: Json, told: Json) -> None:
    assert sent(asked) == {"contents": [HI]} | told


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]},
            },
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]},
            },
            {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ),
    ],
)
def test_the_choice_of_tools_is_translated(choice: Any, config: Json) -> None:
    told = sent({"tools": [TOOL, BARE], "tool_choice": choice})

    assert told["toolConfig"] == {"functionCallingConfig": config}


@pytest.mark.parametrize(("choice", "mode"), [(None, "VALIDATED"), ("auto", "VALIDATED"), ("required", "ANY")])
def test_a_strict_function_has_its_calls_validated(choice: str | None, mode: str) -> None:
    told = sent({"tools": [TOOL, STRICT]} | ({"tool_choice": choice} if choice else {}))

    assert told["toolConfig"] == {"functionCallingConfig": {"mode": mode}}


SEARCH = {"type": "provider", "provider": {"google_search": {}}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}
NATIVE = {"type": "provider", "provider": {"function_declarations": [{"name": "n"}]}}


def allowed(mode: str, *tools: Json) -> Json:
    names = [{"type": tool["type"], tool["type"]: {"name": tool[tool["type"]]["name"]}} for tool in tools]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": names}}


@pytest.mark.parametrize(
    ("asked", "config"),
    [
        ({"tool_choice": "none"}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "auto", "tools": [SEARCH]}, None),
        ({"tool_choice": "required", "tools": [SEARCH, BARE]}, {"mode": "ANY"}),
        ({"tool_choice": "none", "tools": [NATIVE]}, {"mode": "NONE"}),
        ({"tool_choice": "required", "tools": [NATIVE]}, {"mode": "ANY"}),
    ],
)
def test_the_choice_is_one_among_functions(asked: Json, config: Json | None) -> None:
    assert sent(asked).get("toolConfig") == (config and {"functionCallingConfig": config})


@pytest.mark.parametrize("choice", ["none", "required"])
def test_a_choice_among_the_providers_own_tools_is_refused_or_dropped(choice: str) -> None:
    asked = {"tool_choice": choice, "tools": [SEARCH]}

    with pytest.raises(RequestError) as raised:
        sent(asked)
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, "tool_choice")

    lenient = call_of(asked, may_drop=True)
    assert "toolConfig" not in sent_by(lenient)
    assert lenient.omissions.dropped == ["tool_choice"]


@pytest.mark.parametrize(
    ("choice", "tools", "config", "dropped"),
    [
        ("required", [CUSTOM], None, ["tools[]", "tool_choice"]),
        ("none", [CUSTOM], None, ["tools[]"]),
        ({"type": "custom", "custom": {"name": "c"}}, [BARE, CUSTOM], None, ["tools[]", "tool_choice"]),
        (
            {"type": "custom", "custom": {"name": "c"}},
            [STRICT, CUSTOM],
            {"mode": "VALIDATED"},
            ["tools[]", "tool_choice"],
        ),
        (allowed("auto", CUSTOM), [BARE, CUSTOM], None, ["tools[]", "tool_choice"]),
        (
            allowed("required", CUSTOM, BARE),
            [BARE, TOOL, CUSTOM],
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
            ["tools[]"],
        ),
    ],
)
def test_a_dropped_tool_is_not_chosen(choice: Any, tools: list[Json], config: Json | None, dropped: list[str]) -> None:
    lenient = call_of({"tool_choice": choice, "tools": tools}, may_drop=True)

    assert sent_by(lenient).get("toolConfig") == (config and {"functionCallingConfig": config})
    assert lenient.omissions.dropped == dropped


def test_the_order_of_a_schemas_keys_is_kept() -> None:
    told = GEMINI.encode(call_of(form() | {"tools": [TOOL]}), False).body  # noqa: FBT003 - ChatApi's form

    assert told.count(json.dumps(SCHEMA, separators=(",", ":")).encode()) == 2


def test_gemini_2_0_is_told_the_order_of_properties() -> None:
    nested = {
        "type": "object",
        "properties": {"propertyOrdering": {"type": "string"}, "a": {"type": "array", "items": SCHEMA}},
        "$defs": {"d": SCHEMA},
        "enum": [{"properties": {"x": 1}}],
    }
    ordered = SCHEMA | {"propertyOrdering": ["z", "a"]}

    told = sent(form(nested), "gemini-2.0-flash")["generationConfig"]["responseJsonSchema"]

    assert told == nested | {
        "properties": {"propertyOrdering": {"type": "string"}, "a": {"type": "array", "items": ordered}},
        "$defs": {"d": ordered},
        "propertyOrdering": ["propertyOrdering", "a"],
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("endpoints/123", "/endpoints/123"),
        ("odd name?", "/models/odd%20name%3F"),
        ("model@001", "/models/model@001"),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    call = call_of(model=model)

    assert GEMINI.encode(call, False).path == f"{path}:generateContent"  # noqa: FBT003 - ChatApi's form
    assert GEMINI.encode(call, True).path == f"{path}:streamGenerateContent?alt=sse"  # noqa: FBT003


BUDGETS, LEVELS = Capabilities(reasoning="budget"), Capabilities(reasoning="level")


@pytest.mark.parametrize(
    ("asked", "known", "config"),
    [
        ({"reasoning_effort": "none"}, BUDGETS, {"thinkingBudget": 0}),
        ({"reasoning_effort": "minimal"}, BUDGETS, {"thinkingBudget": 1024, "includeThoughts": True}),
        ({"reasoning_effort": "low"}, BUDGETS, {"thinkingBudget": 1024, "includeThoughts": True}),
        ({"reasoning_effort": "medium"}, BUDGETS, {"thinkingBudget": 8192, "includeThoughts": True}),
        ({"reasoning_effort": "high"}, BUDGETS, {"thinkingBudget": 24576, "includeThoughts": True}),
        ({"reasoning_effort": "xhigh"}, BUDGETS, {"thinkingBudget": 24576, "includeThoughts": True}),
        ({"reasoning_effort": "max"}, BUDGETS, {"thinkingBudget": 24576, "includeThoughts": True}),
        ({"reasoning_effort": "minimal"}, LEVELS, {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ({"reasoning_effort": "low"}, LEVELS, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ({"reasoning_effort": "medium"}, LEVELS, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ({"reasoning_effort": "high"}, LEVELS, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ({"reasoning_effort": "xhigh"}, LEVELS, {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ({"reasoning_effort": "max"}, LEVELS, {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        # What is not known of the model is told by its name.
        ({"reasoning_effort": "low"}, None, {"thinkingBudget": 1024, "includeThoughts": True}),
        ({"include_reasoning": True}, None, {"includeThoughts": True}),
        ({"include_reasoning": False}, None, None),
        ({"reasoning_effort": "low", "include_reasoning": False}, LEVELS, {"thinkingLevel": "LOW"}),
        ({"reasoning": {"effort": "low", "exclude": True}}, LEVELS, {"thinkingLevel": "LOW"}),
        ({"reasoning": {"max_tokens": 500}}, LEVELS, {"thinkingBudget": 500, "includeThoughts": True}),
        ({"reasoning": {"enabled": True}}, LEVELS, {"includeThoughts": True}),
        ({"reasoning": {"enabled": True}}, BUDGETS, {"thinkingBudget": -1, "includeThoughts": True}),
        ({"enable_thinking": False}, BUDGETS, {"thinkingBudget": 0}),
        ({"thinking": {"type": "adaptive"}}, BUDGETS, {"thinkingBudget": -1, "includeThoughts": True}),
        ({"thinking": {"type": "disabled"}}, BUDGETS, {"thinkingBudget": 0}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 99}},
            BUDGETS,
            {"thinkingBudget": 99, "includeThoughts": True},
        ),
        ({"thinking": {"type": "disabled", "budget_tokens": None}}, BUDGETS, {"thinkingBudget": 0}),
        ({"thinking_budget": 0}, BUDGETS, {"thinkingBudget": 0}),
        ({"thinking_budget": 7, "enable_thinking": True}, BUDGETS, {"thinkingBudget": 7, "includeThoughts": True}),
        ({"reasoning_effort": "none"}, Capabilities(reasoning="none"), None),
        ({"include_reasoning": True}, Capabilities(reasoning="none"), None),
        ({"reasoning": {"exclude": False}}, Capabilities(reasoning="none"), None),
    ],
)
def test_reasoning_is_translated(asked: Json, known: Capabilities | None, config: Json | None) -> None:
    told = sent(asked, OLD, known)

    assert told.get("generationConfig", {}).get("thinkingConfig") == config


def test_a_later_model_thinks_by_levels_where_nothing_is_known() -> None:
    told = sent({"reasoning_effort": "low"}, NEW)

    assert told["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": True}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"reasoning_effort": "low", "thinking_budget": 5}, "thinking_budget"),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning_effort": "none", "enable_thinking": True}, "enable_thinking"),
        ({"reasoning": {"effort": "low", "max_tokens": 5}}, "reasoning.max_tokens"),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled"}, "enable_thinking": False}, "enable_thinking"),
        ({"reasoning": {"exclude": True}, "include_reasoning": True}, "include_reasoning"),
        ({"thinking_budget": 5, "reasoning": {"max_tokens": 6}}, "thinking_budget"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": []}}, "thinking.type"),
        ({"thinking": {"type": {}}}, "thinking.type"),
        ({"thinking": {"budget_tokens": "many"}}, "thinking.budget_tokens"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"reasoning": {"enabled": 1}}, "reasoning.enabled"),
        ({"reasoning": {"exclude": 1}}, "reasoning.exclude"),
    ],
)
def test_contradictions_about_reasoning_name_the_second(asked: Json, param: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent(asked, OLD, BUDGETS)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


UNSUPPORTED: list[tuple[Json, str]] = [
    ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"service_tier": "scale"}, "service_tier"),
    ({"seed": 2**31}, "seed"),
    ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
    ({"tools": [TOOL | {"cache_control": {"type": "ephemeral"}}]}, "tools[0].cache_control"),
    ({"web_search_options": {"search_context_size": "low"}}, "web_search_options.search_context_size"),
    ({"web_search_options": {"user_location": {"type": "approximate"}}}, "web_search_options.user_location"),
    ({"web_search_options": {"filters": {"allowed_domains": ["a.org"]}}}, "web_search_options.filters"),
    ({"web_search_options": {"odd, name": 1}}, "web_search_options"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
    (form(SCHEMA | {"description": "one"}, description="two"), "response_format.json_schema.description"),
    ({"messages": [USER | {"name": "ann"}]}, "messages[0].name"),
    ({"messages": [USER | {"cache_control": {"type": "ephemeral"}}]}, "messages[0].cache_control"),
    ({"messages": [USER, {"role": "assistant", "content": "a", "prefix": True}]}, "messages[1].prefix"),
    ({"user": "u"}, "user"),
    ({"safety_identifier": "u"}, "safety_identifier"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": {"name": "f"}}, "function_call"),
    ({"logit_bias": {"1": 2}}, "logit_bias"),
    ({"verbosity": "low"}, "verbosity"),
    ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    ({"audio": {"format": "wav", "voice": "x"}}, "audio"),
    ({"prompt_cache_key": "k"}, "prompt_cache_key"),
    ({"min_p": 0.1}, "min_p"),
    ({"reasoning_format": "parsed"}, "reasoning_format"),
    ({"random_seed": 1}, "random_seed"),
    ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
]


@pytest.mark.parametrize(("asked", "param"), UNSUPPORTED, ids=[param for _, param in UNSUPPORTED])
def test_what_gemini_has_not_is_refused_by_name_or_dropped(asked: Json, param: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent(asked)
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    assert "`acme`" in raised.value.message

    lenient = call_of(asked, may_drop=True)
    told = sent_by(lenient)
    assert lenient.omissions.dropped == [unplaced(param)]
    assert "ephemeral" not in json.dumps(told)


@pytest.mark.parametrize(
    ("asked", "known", "params"),
    [
        ({"reasoning_effort": "none"}, LEVELS, ["reasoning_effort"]),
        ({"enable_thinking": False}, LEVELS, ["enable_thinking"]),
        ({"reasoning_effort": "none", "enable_thinking": False}, LEVELS, ["reasoning_effort", "enable_thinking"]),
        ({"reasoning": {"effort": "low"}}, Capabilities(reasoning="none"), ["reasoning.effort"]),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5}, "thinking_budget": 5, "enable_thinking": True},
            Capabilities(reasoning="none"),
            ["thinking.type", "thinking.budget_tokens", "thinking_budget", "enable_thinking"],
        ),
    ],
)
def test_reasoning_that_the_model_can_not_do_is_refused_or_dropped(
    asked: Json, known: Capabilities, params: list[str]
) -> None:
    with pytest.raises(RequestError) as raised:
        sent(asked, OLD, known)
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, params[0])

    lenient = call_of(asked, OLD, known, may_drop=True)
    assert "generationConfig" not in sent_by(lenient)
    assert lenient.omissions.dropped == params


def test_every_parameter_of_the_contract_is_known_or_refused() -> None:
    fields = set(ChatCompletionRequest.DESCRIPTOR.fields_by_name)
    refused = {param for _, param in UNSUPPORTED}

    assert fields >= KNOWN | PARLEYS_OWN
    alike = {
        *("prompt_cache_retention", "prompt_cache_options", "moderation", "top_a", "typical_p", "repetition_penalty"),
        *("min_tokens", "chat_template_kwargs", "safe_prompt", "prompt_mode", "search_parameters"),
    }
    assert fields - KNOWN - PARLEYS_OWN - refused == alike
