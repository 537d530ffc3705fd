"""How errors about what a provider is asked name the parts of what the caller has asked."""

from __future__ import annotations

import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import invalid
from service.rpc.preparing import Prepared
from tests.support.json_form import to_proto

ASKED = to_proto(
    {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "One.", "tool_events": [{"id": "call_1", "tool": "shop__echo"}]},
            {"role": "user", "content": "Go on"},
        ],
    }
)
# A system prompt comes before them; the answer has become two turns with a result between them.
PREPARED = Prepared(ChatCompletionRequest(), ASKED, None, (None, 0, 1, 1, 1, 2), (1, 3))
PLACES = [
    ("messages[0].content", "system_prompt_args"),
    ("messages[1].content[0].type", "messages[0].content[0].type"),
    ("messages[2].content", "messages[1].content"),
    ("messages[2].tool_calls[0].extra_content", "messages[1].tool_events"),
    ("messages[4].content[3].type", "messages[1].content"),
    ("messages[3]", "messages[1]"),
    ("messages[5].name", "messages[2].name"),
    ("messages[6].name", "messages[6].name"),
    ("tools[0].function.name", "tools[1].function.name"),
    ("tools[1]", "tools[3]"),
    ("tool_choice", "tool_choice"),
]


@pytest.mark.parametrize(("param", "told"), PLACES)
def test_an_error_names_the_callers_part(param: str, told: str) -> None:
    error = invalid(param, "otherwise")

    PREPARED.relocate(error)

    assert (error.param, error.message, str(error)) == (told, *[f"`{told}` must be otherwise."] * 2)


def test_where_nothing_has_moved_nothing_is_changed() -> None:
    error = invalid("messages[1].name", "otherwise")

    Prepared(ASKED, ASKED).relocate(error)

    assert error.param == "messages[1].name"
