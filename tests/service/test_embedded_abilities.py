"""What the embedded model can't do is refused by name, or left out, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.errors import Reason, RequestError
from service.providers.openai.dialects import DIALECTS, EMBEDDED
from tests.support.dropped import unplaced
from tests.support.openai_asking import USER, sent, sent_leniently

SLOTS = replace(EMBEDDED, most_choices=4)
FUNCTION = {"type": "function", "function": {"name": "f"}}
CUSTOM_CALL = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 5}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tool_choice": "required", "tools": [FUNCTION]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [FUNCTION]}, "tool_choice"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"messages": [USER | {"cache_control": {"type": "ephemeral"}}]}, "messages[0].cache_control"),
    ],
)
def test_a_parameter_that_the_embedded_model_does_not_follow_is_refused_or_left_out(
    change: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent(SLOTS, change)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)
    assert sent_leniently(SLOTS, change)[1] == [unplaced(param)]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}]},
            "messages[1].content[1].type",
        ),
        ({"messages": [{"role": "user", "parts": [IMAGE]}]}, "messages[0].parts[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "provider", "provider": {"type": "web_search"}}]}, "tools[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "tool_calls": [CUSTOM_CALL]}]}, "messages[0].tool_calls[0].type"),
    ],
)
def test_what_is_said_and_the_embedded_model_can_not_read_is_refused_in_any_case(
    change: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as raised:
        sent_leniently(SLOTS, change)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)


def test_what_it_can_do_is_sent() -> None:
    parts = [{"type": "text", "text": "x"}]
    body = {"messages": [{"role": "user", "content": parts}], "n": 4, "tools": [FUNCTION], "tool_choice": "auto"}

    assert sent(SLOTS, body | {"user": "u", "store": False, "top_k": 5}) == {
        "model": "up-1", **body, "user": "u", "top_k": 5
    }  # fmt: skip


def test_it_can_not_be_named_in_the_configuration() -> None:
    assert EMBEDDED.name not in DIALECTS
