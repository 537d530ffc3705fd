"""The ways to ask for reasoning as single APIs know them, and earlier reasoning on its way back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.providers.openai.dialects import DIALECTS
from service.providers.openai.reasoning_history import adapt_reasoning
from tests.support.openai_asking import USER, message_sent, sent, sent_leniently

OFF = {"thinking": {"type": "disabled"}}
ON = {"thinking": {"type": "enabled"}}
LOW = {"reasoning_effort": "low"}


@pytest.mark.parametrize("name", ["deepseek", "zai"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"reasoning_effort": "none"}, OFF),
        ({"reasoning_effort": "none", "enable_thinking": False, "thinking": {"type": "disabled"}}, OFF),
        ({"reasoning": {"effort": "none"}}, OFF),
        ({"reasoning": {"effort": "none", "enabled": False}}, OFF),
        ({"reasoning": {"enabled": False}}, OFF),
        ({"reasoning": {"enabled": True}}, ON),
        ({"reasoning": {"enabled": True, "exclude": False}}, ON),
        ({"reasoning": {"enabled": True}, "reasoning_effort": "low"}, ON | LOW),
        ({"reasoning_effort": "low"}, LOW),
        ({"reasoning": {"effort": "low"}}, LOW),
        ({"reasoning": {}}, {}),
    ],
)
def test_not_to_think_is_said_by_the_switch_where_there_is_one(
    name: str, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(DIALECTS[name], asked) == {"model": "up-1", "messages": [USER]} | expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"effort": "none", "enabled": False}, {"reasoning_effort": "none"}),
        ({"effort": "low", "enabled": None, "max_tokens": None}, LOW),
        ({"enabled": False, "exclude": False}, {"reasoning_effort": "none"}),
        ({"exclude": False}, {}),
        ({"effort": None}, {}),
    ],
)
def test_members_that_say_nothing_more_are_no_hindrance(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(DIALECTS["openai"], {"reasoning": asked})

    assert body == {"model": "up-1", "messages": [USER]} | expected


CONTRADICTING: list[tuple[dict[str, Any], str]] = [
    ({"reasoning_effort": "none", "enable_thinking": True}, "enable_thinking"),
    ({"reasoning_effort": "none", "reasoning": {"effort": "low"}}, "reasoning.effort"),
    ({"reasoning_effort": "none", "reasoning": {"enabled": True}}, "reasoning.enabled"),
    ({"reasoning_effort": "low", "reasoning": {"enabled": False}}, "reasoning.enabled"),
    ({"reasoning_effort": "low", "enable_thinking": False}, "enable_thinking"),
    ({"reasoning_effort": "none", "thinking_budget": 512}, "thinking_budget"),
    ({"reasoning_effort": "low", "thinking_budget": 0}, "thinking_budget"),
    ({"reasoning_effort": "low", "thinking": {"type": "disabled"}}, "thinking.type"),
    ({"reasoning": {"effort": "low", "enabled": False}}, "reasoning.enabled"),
    ({"reasoning": {"max_tokens": 512}, "thinking_budget": 256}, "thinking_budget"),
    ({"thinking": {"type": "enabled", "budget_tokens": 512}, "reasoning": {"max_tokens": 256}}, "reasoning.max_tokens"),
]


@pytest.mark.parametrize("name", ["openrouter", "deepseek", "vllm", "generic"])
@pytest.mark.parametrize(("asked", "param"), CONTRADICTING)
def test_wishes_that_contradict_each_other_are_refused_by_the_second(
    name: str, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(DIALECTS[name], asked)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"reasoning_effort": "low", "thinking_budget": 512}, "thinking_budget"),
        ({"reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 512}}, "thinking.budget_tokens"),
        ({"reasoning": {"effort": "low", "max_tokens": 512}}, "reasoning.max_tokens"),
        ({"reasoning": {"max_tokens": 512, "effort": "low"}}, "reasoning.effort"),
    ],
)
def test_openrouter_is_told_an_effort_or_a_budget(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(DIALECTS["openrouter"], asked)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


def test_an_effort_and_a_budget_may_stand_together_where_the_api_has_both() -> None:
    body = sent(DIALECTS["vllm"], {"reasoning_effort": "low", "thinking_budget": 512})

    assert body == {"model": "up-1", "messages": [USER], "reasoning_effort": "low", "thinking_token_budget": 512}


@pytest.mark.parametrize("wish", [{"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}, {"reasoning": {"enabled": False}}])  # fmt: skip
def test_a_model_that_always_reasons_does_so_whatever_it_is_told(wish: dict[str, Any]) -> None:
    request = wish | {"stop": ["END"]}
    with pytest.raises(RequestError) as raised:
        sent(DIALECTS["xai"], request, capabilities=Capabilities(reasoning="always"))

    assert raised.value.param == "stop"
    assert sent(DIALECTS["xai"], request, capabilities=Capabilities(reasoning="effort"))["stop"] == ["END"]


def sent_back(*details: Any, **rest: Any) -> dict[str, Any]:
    """What OpenRouter is sent of an answer with these entries."""
    message = message_sent(
        DIALECTS["openrouter"], {"role": "assistant", "content": "4", "reasoning_details": list(details), **rest}
    )
    assert (message.pop("role"), message.pop("content")) == ("assistant", "4")
    return message


def text(said: Any, **rest: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": said, "index": 0, **rest}


@pytest.mark.parametrize(
    "details",
    [
        [{"type": ["a"]}],
        [{"type": ["a"], "index": [0]}, {"type": ["a"], "index": [0]}],
        [text(5), text("a")],
        [text("a"), text(5)],
        [text(["a"]), text(["b"])],
        [{"type": None, "format": {"x": 1}}, text("a")][1:],
        [{"type": "reasoning.text", "index": {"x": 1}, "text": "a"}],
    ],
)
def test_entries_of_any_form_are_sent_as_they_are(details: list[Any]) -> None:
    assert sent_back(*details) == {"reasoning_details": details}


def test_pieces_are_joined_in_time_that_grows_with_their_number() -> None:
    body: dict[str, Any] = {"role": "assistant", "reasoning_details": [text("x" * 1_000) for _ in range(20_000)]}
    began_s = time.process_time()
    adapt_reasoning(body, DIALECTS["openrouter"])

    assert body["reasoning_details"] == [text("x" * 20_000_000)]
    assert time.process_time() - began_s < 5, (
        "it takes a tenth of a second; many, where each piece copies all before it"
    )


@pytest.mark.parametrize("format_", ["anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "unknown", None])
def test_blocks_that_openrouter_can_read_are_sent_back(format_: str | None) -> None:
    block = text("2+2", signature="s", format=format_)

    assert sent_back(block, reasoning_content="2+2") == {"reasoning_details": [block]}


@pytest.mark.parametrize("format_", ["acme-v1", 5, ["anthropic-claude-v1"]])
def test_of_other_blocks_the_text_is_sent_back(format_: Any) -> None:
    block, hidden = text("2+2", format=format_), {"type": "reasoning.encrypted", "data": "x", "format": format_}

    assert sent_back(block, hidden, reasoning_content="so") == {"reasoning": "so"}
    assert sent_back(block, hidden) == {"reasoning": "2+2"}
    assert sent_back(hidden) == {}
    assert sent_back(hidden, text("a", index=1)) == {"reasoning_details": [text("a", index=1)]}


def test_later_pieces_without_a_format_and_an_id_are_of_their_blocks() -> None:
    read = [
        text("2", format="anthropic-claude-v1"),
        text("+2"),
        {"type": "reasoning.text", "signature": "s", "index": 0},
    ]
    unread = [
        text("2", format="acme-v1"),
        text("+2"),
        {"type": "reasoning.text", "signature": "s", "index": 0},
        text("!"),
    ]

    assert sent_back(*read) == {"reasoning_details": [text("2+2", format="anthropic-claude-v1", signature="s")]}
    assert sent_back(*unread) == {"reasoning": "2+2!"}
    assert sent_back(text("2", id="a"), text("+2"), text("!", id="b")) == {
        "reasoning_details": [text("2+2", id="a"), text("!", id="b")]
    }
