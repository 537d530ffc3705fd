"""The tools that the Messages API is offered, and which of them it has to call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.catalogue import Capabilities
from service.errors import Malformed, Reason
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import (
    BUDGET,
    NO_SCHEMA,
    answer_of,
    call_of,
    choice,
    chunks_of,
    deltas_of,
    events_of_answer,
    merged,
    refused,
    sent_further,
    translated,
    without,
)

PARAMETERS: Json = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}
SEARCH: Json = {"type": "web_search_20260318", "name": "web_search", "max_uses": 2}


def function(name: str, **fields: Any) -> Json:
    return {"type": "function", "function": {"name": name, **fields}}


def named(name: str) -> Json:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> Json:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


def encoded(name: str) -> Json:
    return {"name": name, "input_schema": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (function("f"), encoded("f")),
        (function("f", parameters={}), encoded("f")),
        (
            function("f", description="", parameters=PARAMETERS),
            {"name": "f", "description": "", "input_schema": PARAMETERS},
        ),
        (
            function("f", parameters={"properties": {"z": {}}}),
            {"name": "f", "input_schema": {"type": "object", "properties": {"z": {}}}},
        ),
        (function("f", strict=True), encoded("f") | {"strict": True}),
        (
            function("f") | {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
            encoded("f") | {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ),
        ({"type": "provider", "provider": SEARCH}, SEARCH),
        (
            {"type": "provider", "provider": SEARCH, "cache_control": {"type": "ephemeral"}},
            SEARCH | {"cache_control": {"type": "ephemeral"}},
        ),
    ],
)
def test_a_tool_is_translated(tool: Json, expected: Json) -> None:
    body = sent_further({"tools": [tool]})
    assert body == {"tools": [expected]}
    assert json.dumps(body["tools"][0].get("input_schema")) == json.dumps(expected.get("input_schema"))  # in its order


F, G, P = function("f"), function("g"), {"type": "provider", "provider": SEARCH}
BOTH = [encoded("f"), encoded("g")]


@pytest.mark.parametrize(
    ("tool_choice", "tools", "expected"),
    [
        ("auto", BOTH, {"type": "auto"}),
        ("none", BOTH, {"type": "none"}),
        ("required", BOTH, {"type": "any"}),
        (named("g"), BOTH, {"type": "tool", "name": "g"}),
        (allowed("auto", "g"), [encoded("g")], {"type": "auto"}),
        (allowed("required", "g"), BOTH, {"type": "tool", "name": "g"}),
        (allowed("required", "f", "g"), BOTH, {"type": "any"}),
    ],
)
def test_a_choice_is_translated(tool_choice: Json | str, tools: list[Json], expected: Json) -> None:
    assert sent_further({"tools": [F, G], "tool_choice": tool_choice}) == {"tools": tools, "tool_choice": expected}


def test_what_is_not_allowed_is_not_offered() -> None:
    nameless = {"type": "provider", "provider": {"type": "later", "name": {"x": 1}}}
    body = sent_further({"tools": [F, G, P, nameless], "tool_choice": allowed("required", "f", "g")})
    assert body == {"tools": BOTH, "tool_choice": {"type": "any"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_calls_one_at_a_time(fields: Json, expected: Json | None) -> None:
    assert sent_further({"tools": [F], **fields}).get("tool_choice") == expected


@pytest.mark.parametrize("fields", [{"tool_choice": "auto"}, {"tool_choice": "none"}, {"parallel_tool_calls": False}])
def test_without_tools_there_is_no_choice(fields: Json) -> None:
    assert sent_further(fields) == {}


@pytest.mark.parametrize("tool_choice", ["required", named("f")])
def test_no_model_has_to_call_a_tool_that_is_given_a_budget_to_think(tool_choice: Json | str) -> None:
    body = {"tools": [F], "tool_choice": tool_choice, "reasoning_effort": "low"}
    assert refused(body, BUDGET).param == "tool_choice"
    dropped, further = without(body, BUDGET)
    assert (dropped, further["tool_choice"]) == (["tool_choice"], {"type": "auto"})
    assert sent_further(body, Capabilities(reasoning="adaptive"))["tool_choice"]["type"] in {"any", "tool"}


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_what_forces_no_call_stays_beside_a_budget_to_think(choice: str) -> None:
    assert sent_further({"tools": [F], "tool_choice": choice, "reasoning_effort": "low"}, BUDGET)["tool_choice"] == {
        "type": choice
    }


FREE: Json = {"type": "custom", "custom": {"name": "c"}}


@pytest.mark.parametrize("tool", [FREE, {"custom": {"name": "c"}}])
def test_free_text_tools_are_refused_or_dropped(tool: Json) -> None:
    body = {"tools": [F, tool]}
    assert refused(body).param == "tools[1].custom"
    assert without(body) == (["tools[].custom"], {"tools": [encoded("f")]})


ONLY_FREE: Json = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FREE]}}


@pytest.mark.parametrize("tool_choice", [FREE, ONLY_FREE])
def test_a_choice_of_a_tool_that_is_dropped_is_dropped_with_it(tool_choice: Json) -> None:
    dropped, further = without({"tools": [F, FREE], "tool_choice": tool_choice})
    assert dropped == ["tools[].custom", "tool_choice"]
    assert further == {"tools": [encoded("f")], "tool_choice": {"type": "auto"}}


def test_a_choice_where_all_tools_are_dropped_is_dropped_with_them() -> None:
    assert without({"tools": [FREE], "tool_choice": "required"}) == (["tools[].custom", "tool_choice"], {})


def test_of_the_allowed_tools_those_that_are_there_remain() -> None:
    allowed_tools = {"mode": "required", "tools": [named("g"), FREE]}
    dropped, further = without(
        {"tools": [F, G, FREE], "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed_tools}}
    )
    assert dropped == ["tools[].custom"]
    assert further["tool_choice"] == {"type": "tool", "name": "g"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"search_context_size": "medium"}, {}),
        (
            {"user_location": {"type": "approximate", "approximate": {"city": "Paris", "country": "FR"}}},
            {"user_location": {"type": "approximate", "city": "Paris", "country": "FR"}},
        ),
    ],
)
def test_a_search_of_the_web_is_a_tool_of_the_providers(options: Json, expected: Json) -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", **expected}
    assert sent_further({"web_search_options": options}) == {"tools": [tool]}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"search_context_size": "high"}, "web_search_options.search_context_size"),
        ({"filters": {"x": 1}}, "web_search_options"),
        ({"depth": "medium"}, "web_search_options"),
    ],
)
def test_other_options_of_a_search_are_refused_or_dropped(options: Json, param: str) -> None:
    assert refused({"web_search_options": options}).param == param
    assert without({"web_search_options": options})[0] == [param]


CITY: Json = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "city", "description": "A city.", "schema": PARAMETERS},
    }
}
CITY_ALONE: Json = {"type": "tool", "name": "json_schema_city", "disable_parallel_tool_use": True}
CITY_TOOL: Json = {"name": "json_schema_city", "description": "A city.", "input_schema": PARAMETERS}


def test_for_a_model_that_holds_to_no_schema_a_tool_stands_for_the_answer() -> None:
    assert sent_further(CITY, NO_SCHEMA) == {"tools": [CITY_TOOL], "tool_choice": CITY_ALONE}


@pytest.mark.parametrize("response_format", [{}, {"response_format": {"type": "text"}}])
def test_without_a_schema_no_tool_stands_for_the_answer(response_format: Json) -> None:
    assert sent_further({"tools": [F], **response_format}, NO_SCHEMA) == {"tools": [encoded("f")]}


def test_the_schema_of_an_answer_has_a_type_at_its_top() -> None:
    body = {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": {"properties": {}}}}}
    (tool,) = sent_further(body, NO_SCHEMA)["tools"]
    assert tool["input_schema"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("fields", "tools", "tool_choice"),
    [
        ({}, [*BOTH, CITY_TOOL], {"type": "any"}),
        ({"tool_choice": "auto"}, [*BOTH, CITY_TOOL], {"type": "any"}),
        ({"parallel_tool_calls": False}, [*BOTH, CITY_TOOL], {"type": "any", "disable_parallel_tool_use": True}),
        ({"tool_choice": "none"}, [*BOTH, CITY_TOOL], CITY_ALONE),
        ({"tool_choice": allowed("auto", "g")}, [encoded("g"), CITY_TOOL], {"type": "any"}),
        # Who has to call a tool writes no text, so that it has no format.
        ({"tool_choice": "required"}, BOTH, {"type": "any"}),
        ({"tool_choice": named("g")}, BOTH, {"type": "tool", "name": "g"}),
        ({"tool_choice": allowed("required", "f", "g")}, BOTH, {"type": "any"}),
    ],
)
def test_beside_a_schema_a_choice_stays_what_it_is(fields: Json, tools: list[Json], tool_choice: Json) -> None:
    assert sent_further(CITY | {"tools": [F, G], **fields}, NO_SCHEMA) == {"tools": tools, "tool_choice": tool_choice}


def test_beside_a_budget_to_think_no_tool_can_stand_for_the_answer() -> None:
    capabilities = Capabilities(structured_output=False, reasoning="budget")
    body = CITY | {"tools": [F], "reasoning_effort": "low"}
    assert refused(body, capabilities).param == "response_format"
    dropped, further = without(body, capabilities)
    assert (dropped, further["tools"]) == (["response_format"], [encoded("f")])


@pytest.mark.parametrize(
    ("tool_choice", "dropped", "told"),
    [("none", ["response_format"], "none"), ("required", ["tool_choice", "response_format"], "auto")],
)
def test_beside_a_budget_to_think_a_choice_is_kept_or_named(tool_choice: str, dropped: list[str], told: str) -> None:
    capabilities = Capabilities(structured_output=False, reasoning="budget")
    body = CITY | {"tools": [F], "tool_choice": tool_choice, "reasoning_effort": "low"}
    assert refused(body, capabilities).param == dropped[0]
    left_out, further = without(body, capabilities)
    assert (left_out, further["tools"], further["tool_choice"]) == (dropped, [encoded("f")], {"type": told})


def test_the_name_of_the_tool_that_stands_for_the_answer_is_taken() -> None:
    error = refused(CITY | {"tools": [function("json_schema_city")]}, NO_SCHEMA)
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "tools[0].function.name")


ANSWER: Json = {"type": "tool_use", "id": "t1", "name": "json_schema_city", "input": {"z": "é", "a": 1.0}}
CALL: Json = {"type": "tool_use", "id": "t2", "name": "f", "input": {}}


def test_the_input_of_the_tool_that_stands_for_the_answer_is_the_text() -> None:
    call = call_of(CITY, NO_SCHEMA)
    assert choice(answer_of([ANSWER], "tool_use"), call) == {
        "index": 0,
        "message": {"role": "assistant", "content": json.dumps(ANSWER["input"])},
        "finish_reason": "stop",
        "native_finish_reason": "tool_use",
    }


def test_it_is_streamed_as_it_comes() -> None:
    call = call_of(CITY, NO_SCHEMA)
    events = events_of_answer(answer_of([ANSWER], "tool_use"))
    assert [set(delta) for delta in deltas_of(events, call)] == [{"content"}, {"content"}]
    assert merged(chunks_of(events, call)) == translated(answer_of([ANSWER], "tool_use"), call)


def test_a_call_of_another_tool_is_a_call() -> None:
    call = call_of(CITY | {"tools": [F]}, NO_SCHEMA)
    only = choice(answer_of([CALL], "tool_use"), call)
    assert (only["finish_reason"], only["message"]["tool_calls"][0]["function"]["name"]) == ("tool_calls", "f")
    both = answer_of([ANSWER, CALL], "tool_use")
    assert choice(both, call)["finish_reason"] == "tool_calls"
    assert merged(chunks_of(events_of_answer(both), call)) == translated(both, call)


def test_two_answers_are_malformed() -> None:
    call = call_of(CITY, NO_SCHEMA)
    twice = answer_of([ANSWER, ANSWER | {"id": "t2"}], "tool_use")
    with pytest.raises(Malformed, match="twice"):
        choice(twice, call)
    with pytest.raises(Malformed, match="twice"):
        chunks_of(events_of_answer(twice), call)


def test_a_tool_of_that_name_is_a_tool_where_no_schema_is_asked_for() -> None:
    assert choice(answer_of([ANSWER], "tool_use"))["message"]["tool_calls"][0]["id"] == "t1"
