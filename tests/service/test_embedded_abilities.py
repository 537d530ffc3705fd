"""What the embedded model can't do is refused by name, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import RequestError
from service.providers.embedded.provider import _KNOWN, check_abilities
from tests.support.faces import to_proto

USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
CUSTOM_CALL = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 5}, "n"),
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}]},
            "messages[1].content[1].type",
        ),
        ({"messages": [{"role": "user", "parts": [IMAGE]}]}, "messages[0].parts[0].type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"modalities": ["text", "audio"]}, "modalities[1]"),
        ({"tool_choice": "required", "tools": [FUNCTION]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [FUNCTION]}, "tool_choice"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "tool_calls": [CUSTOM_CALL]}]}, "messages[0].tool_calls[0].type"),
    ],
)
def test_what_the_embedded_model_cannot_do_is_refused(change: dict[str, Any], param: str) -> None:
    request = to_proto({"model": "m", "messages": [USER]} | change)
    with pytest.raises(RequestError) as raised:
        check_abilities(request, slots=4)

    assert raised.value.param == param


def test_what_it_can_do_is_let_pass() -> None:
    parts = [{"type": "text", "text": "x"}]
    body = {"messages": [{"role": "user", "content": parts}], "n": 4, "tools": [FUNCTION], "tool_choice": "auto"}
    check_abilities(to_proto(body | {"user": "u", "store": False, "top_k": 5}), slots=4)


def test_every_known_parameter_is_one_of_the_contract() -> None:
    assert set(ChatCompletionRequest.DESCRIPTOR.fields_by_name) > _KNOWN
