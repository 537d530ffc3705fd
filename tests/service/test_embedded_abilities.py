"""What the embedded model can't do is refused by name, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import RequestError
from service.providers.embedded.provider import check_abilities
from tests.support.faces import to_proto

USER = {"role": "user", "content": "x"}
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
    ],
)
def test_what_the_embedded_model_cannot_do_is_refused(change: dict[str, Any], param: str) -> None:
    request = to_proto({"model": "m", "messages": [USER]} | change)
    with pytest.raises(RequestError) as raised:
        check_abilities(request, slots=4)

    assert raised.value.param == param


def test_what_it_can_do_is_let_pass() -> None:
    parts = [{"type": "text", "text": "x"}]
    tools = [{"type": "function", "function": {"name": "f"}}]
    check_abilities(to_proto({"messages": [{"role": "user", "content": parts}], "n": 4, "tools": tools}), slots=4)
