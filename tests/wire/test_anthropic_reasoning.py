"""How the Messages API is told to think, for each way to ask for it."""

from __future__ import annotations

import pytest

from service.catalogue import Capabilities, find_capabilities
from service.errors import Reason
from service.providers.abilities import within_abilities
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import ADAPTIVE, BUDGET, call_of, refused, sent, without

UNKNOWN = Capabilities()
SMALL = Capabilities(reasoning="budget", max_output_tokens=8192)
NOTHING = Capabilities(reasoning="none")
ALWAYS = Capabilities(reasoning="always")
TIRELESS = Capabilities(reasoning="adaptive", reasoning_efforts=("low", "medium", "high"))
OPUS_4_5 = find_capabilities("anthropic", "claude-opus-4-5")
ON: Json = {"type": "adaptive"}


def budget(tokens: int, **fields: str) -> Json:
    return {"type": "enabled", "budget_tokens": tokens, **fields}


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16_384), ("xhigh", 32_768), ("max", 51_200)],
)
def test_an_effort_becomes_a_budget_that_leaves_room_for_the_answer(effort: str, tokens: int) -> None:
    body = sent({"reasoning_effort": effort}, BUDGET)
    assert (body["thinking"], body["max_tokens"]) == (budget(tokens), 64_000)
    assert "output_config" not in body


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize("capabilities", [ADAPTIVE, UNKNOWN])
def test_an_effort_is_told_to_models_that_think_as_they_see_fit(effort: str, capabilities: Capabilities) -> None:
    body = sent({"reasoning_effort": effort}, capabilities)
    assert (body["thinking"], body["output_config"]) == (ON, {"effort": effort})


@pytest.mark.parametrize(
    ("body", "capabilities", "thinking"),
    [
        ({"reasoning_effort": "none"}, BUDGET, {"type": "disabled"}),
        ({"reasoning_effort": "none"}, ADAPTIVE, {"type": "disabled"}),
        ({"enable_thinking": False}, ADAPTIVE, {"type": "disabled"}),
        ({"enable_thinking": True}, ADAPTIVE, ON),
        ({"enable_thinking": True}, BUDGET, budget(8192)),
        ({"thinking_budget": 0}, ADAPTIVE, {"type": "disabled"}),
        ({"reasoning": {"max_tokens": 0}}, ADAPTIVE, {"type": "disabled"}),
        ({"thinking_budget": 2000}, ADAPTIVE, budget(2000)),
        ({"thinking_budget": 2000}, BUDGET, budget(2000)),
        ({"reasoning": {}}, ADAPTIVE, None),
        ({"reasoning": {"enabled": True}}, BUDGET, budget(8192)),
        ({"reasoning": {"enabled": False}}, BUDGET, {"type": "disabled"}),
        ({"reasoning": {"effort": "none"}}, BUDGET, {"type": "disabled"}),
        ({"reasoning": {"effort": "low", "exclude": True}}, BUDGET, budget(2048, display="omitted")),
        ({"reasoning": {"max_tokens": 3000}}, BUDGET, budget(3000)),
        ({"reasoning": {"enabled": None}}, BUDGET, None),
        ({"include_reasoning": True}, ADAPTIVE, ON | {"display": "summarized"}),
        ({"include_reasoning": True, "enable_thinking": True}, ADAPTIVE, ON | {"display": "summarized"}),
        ({"include_reasoning": False}, BUDGET, None),
        ({"include_reasoning": False, "reasoning_effort": "low"}, BUDGET, budget(2048, display="omitted")),
        ({"include_reasoning": False, "reasoning_effort": "none"}, BUDGET, {"type": "disabled"}),
        ({"thinking": {"type": "between_tools", "x": 1}}, ADAPTIVE, {"type": "between_tools", "x": 1}),
        ({"thinking": {"type": "adaptive"}, "include_reasoning": True}, ADAPTIVE, ON | {"display": "summarized"}),
        ({"thinking": budget(3000)}, ADAPTIVE, budget(3000)),
        ({"thinking": budget(3000), "thinking_budget": 3000}, ADAPTIVE, budget(3000)),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "none"}, ADAPTIVE, {"type": "disabled"}),
        ({"enable_thinking": False}, NOTHING, {"type": "disabled"}),
        ({"enable_thinking": True}, ALWAYS, None),
        ({"thinking": {"type": "enabled"}, "thinking_budget": 3000}, BUDGET, budget(3000)),
        ({"thinking": {"type": "enabled"}, "reasoning": {"max_tokens": 3000}}, ADAPTIVE, budget(3000)),
        ({"thinking": {"type": "enabled", "x": 1}, "reasoning_effort": "low"}, BUDGET, budget(2048) | {"x": 1}),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "low"}, ADAPTIVE, {"type": "enabled"}),
        ({"thinking": {"type": "enabled"}}, BUDGET, {"type": "enabled"}),
        ({"thinking": {"type": "disabled"}, "thinking_budget": 0}, BUDGET, {"type": "disabled"}),
        # The model always reasons.
        ({"thinking": {"type": "disabled"}}, TIRELESS, {"type": "disabled"}),
        ({"include_reasoning": False}, TIRELESS, ON | {"display": "omitted"}),
        ({"reasoning": {"exclude": True}}, TIRELESS, ON | {"display": "omitted"}),
        ({"enable_thinking": False}, OPUS_4_5, {"type": "disabled"}),
    ],
)
def test_a_way_to_ask_is_translated(body: Json, capabilities: Capabilities, thinking: Json | None) -> None:
    assert sent(body, capabilities).get("thinking") == thinking


@pytest.mark.parametrize(
    ("body", "capabilities", "effort"),
    [
        ({"reasoning": {"effort": "high"}}, ADAPTIVE, "high"),
        ({"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}, ADAPTIVE, "high"),
        ({"thinking_budget": 2000, "reasoning_effort": "high"}, ADAPTIVE, "high"),
        ({"reasoning_effort": "high"}, ALWAYS, "high"),
        ({"reasoning_effort": "high"}, Capabilities(reasoning="effort"), "high"),
        ({"reasoning_effort": "low"}, OPUS_4_5, "low"),
        ({"thinking_budget": 2000, "reasoning_effort": "low"}, OPUS_4_5, "low"),
    ],
)
def test_an_effort_beside_other_wishes_is_told(body: Json, capabilities: Capabilities, effort: str) -> None:
    assert sent(body, capabilities)["output_config"] == {"effort": effort}


@pytest.mark.parametrize(
    ("body", "param", "by"),
    [
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, "reasoning_effort", "thinking"),
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning.effort", "reasoning_effort"),
        ({"reasoning": {"max_tokens": 2000}, "thinking_budget": 3000}, "thinking_budget", "reasoning.max_tokens"),
        ({"thinking": budget(2000), "thinking_budget": 3000}, "thinking_budget", "thinking"),
        ({"reasoning_effort": "none", "enable_thinking": True}, "enable_thinking", "reasoning_effort"),
        ({"thinking_budget": 0, "enable_thinking": True}, "enable_thinking", "thinking_budget"),
        ({"reasoning": {"exclude": True}, "include_reasoning": True}, "include_reasoning", "reasoning.exclude"),
    ],
)
def test_of_two_wishes_that_contradict_each_other_the_second_is_named(body: Json, param: str, by: str) -> None:
    error = refused(body, ADAPTIVE)
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, param)
    assert f"`{by}`" in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"thinking_budget": 1023}, "thinking_budget"),
        ({"thinking": {"type": "enabled"}, "thinking_budget": 5}, "thinking_budget"),
        ({"thinking": {"type": "enabled"}, "thinking_budget": 2000, "max_tokens": 2000}, "max_tokens"),
        ({"thinking": {"type": "adaptive"}, "thinking_budget": 3000}, "thinking_budget"),
        ({"thinking": {"type": "between_tools"}, "reasoning": {"max_tokens": 3000}}, "reasoning.max_tokens"),
        ({"reasoning": {"max_tokens": 5}}, "reasoning.max_tokens"),
        ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"),
        ({"reasoning": {"max_tokens": True}}, "reasoning.max_tokens"),
        ({"reasoning": {"effort": "very"}}, "reasoning.effort"),
        ({"reasoning": {"enabled": "yes"}}, "reasoning.enabled"),
        ({"thinking_budget": 2000, "max_tokens": 2000}, "max_tokens"),
        ({"thinking_budget": 64_000}, "thinking_budget"),
        ({"thinking_budget": 2000, "max_completion_tokens": 1500}, "max_completion_tokens"),
        ({"reasoning_effort": "low", "max_tokens": 1024}, "max_tokens"),
    ],
)
def test_what_cannot_be_is_refused(body: Json, param: str) -> None:
    error = refused(body, BUDGET)
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, param)


@pytest.mark.parametrize(
    ("body", "capabilities", "tokens", "max_tokens"),
    [
        ({"reasoning_effort": "high", "max_tokens": 4096}, BUDGET, 3276, 4096),
        ({"reasoning_effort": "high", "max_tokens": 1100}, BUDGET, 1024, 1100),
        ({"reasoning_effort": "high"}, SMALL, 6553, 8192),
        ({"reasoning_effort": "high"}, Capabilities(reasoning="budget"), 16_384, 20_480),
        ({"thinking_budget": 10_000}, UNKNOWN, 10_000, 14_096),
        ({"thinking_budget": 1024}, UNKNOWN, 1024, 4096),
        ({"thinking": budget(10_000)}, UNKNOWN, 10_000, 14_096),
        ({"thinking": budget(500), "max_tokens": 400}, UNKNOWN, 500, 400),  # the caller's own: the API decides
    ],
)
def test_the_budget_fits_into_the_limit_of_the_answer(
    body: Json, capabilities: Capabilities, tokens: int, max_tokens: int
) -> None:
    encoded = sent(body, capabilities)
    assert (encoded["thinking"]["budget_tokens"], encoded["max_tokens"]) == (tokens, max_tokens)


@pytest.mark.parametrize(
    ("body", "capabilities", "param"),
    [
        ({"reasoning_effort": "minimal"}, ADAPTIVE, "reasoning_effort"),
        ({"reasoning_effort": "minimal"}, Capabilities(reasoning_efforts=("none", "minimal")), "reasoning_effort"),
        ({"reasoning": {"effort": "xhigh"}}, Capabilities(reasoning_efforts=("none", "low")), "reasoning.effort"),
        ({"reasoning": {"effort": "low"}}, NOTHING, "reasoning.effort"),
        ({"thinking_budget": 2000}, NOTHING, "thinking_budget"),
        ({"enable_thinking": True}, NOTHING, "enable_thinking"),
        ({"include_reasoning": True}, NOTHING, "include_reasoning"),
        ({"include_reasoning": False}, ADAPTIVE, "include_reasoning"),
        ({"reasoning": {"summary": "auto"}}, ADAPTIVE, "reasoning.summary"),
        ({"reasoning": {"é": 1}}, ADAPTIVE, "reasoning"),
        ({"reasoning": {"a" * 65: 1}}, ADAPTIVE, "reasoning"),
        # An effort beside a budget.
        ({"thinking_budget": 2000, "reasoning_effort": "low"}, BUDGET, "reasoning_effort"),
        ({"thinking": budget(2000), "reasoning": {"effort": "low"}}, BUDGET, "reasoning.effort"),
        ({"thinking_budget": 2000, "reasoning": {"effort": "max"}}, OPUS_4_5, "reasoning.effort"),
        # The model always reasons.
        ({"enable_thinking": False}, TIRELESS, "enable_thinking"),
        ({"reasoning": {"enabled": False}}, TIRELESS, "reasoning.enabled"),
        ({"reasoning": {"effort": "none"}}, TIRELESS, "reasoning.effort"),
        ({"reasoning_effort": "none"}, TIRELESS, "reasoning_effort"),
        ({"reasoning": {"max_tokens": 0}}, TIRELESS, "reasoning.max_tokens"),
        ({"thinking_budget": 0}, TIRELESS, "thinking_budget"),
        ({"enable_thinking": False}, ALWAYS, "enable_thinking"),
        ({"include_reasoning": False}, ALWAYS, "include_reasoning"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name_or_dropped(
    body: Json, capabilities: Capabilities, param: str
) -> None:
    error = refused(body, capabilities)
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    dropped, further = without(body, capabilities)
    assert dropped == [param]
    assert "output_config" not in further


@pytest.mark.parametrize("effort", ["none", "low", "medium", "high"])
def test_the_catalogue_lets_pass_what_a_model_with_budget_and_effort_takes(effort: str) -> None:
    call = call_of({"reasoning_effort": effort}, OPUS_4_5)
    assert within_abilities(call).request.reasoning_effort == effort
