"""Which call a fragment of a stream belongs to, whatever its provider makes of indices and ids."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from service.errors import Malformed
from service.providers.openai.origin import Origin
from service.providers.openai.stream import StreamTranslator
from service.providers.sse import SseEvent
from tests.support.openai_asking import IDENTITY

Fragment = dict[str, Any]


def fragment(index: int | None, id_: str | None = None, name: str | None = None, arguments: str = "") -> Fragment:
    """A fragment as a provider sends it; None is left out."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": id_, "function": {key: value for key, value in function.items() if value is not None}}
    return {key: value for key, value in call.items() if value is not None}


def told(*fragments: Fragment) -> list[Fragment]:
    """The fragments as callers get them, each in a chunk of its own."""
    translator = StreamTranslator(Origin("acme", IDENTITY))
    deltas = []
    for each in fragments:
        event = {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [each]}}]}
        chunks = translator.translate(SseEvent("message", json.dumps(event).encode()))
        deltas += [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls]
    return [MessageToDict(delta, preserving_proto_field_name=True) for delta in deltas]


def joined(*fragments: Fragment) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call, as a caller who joins what comes under one index has them."""
    calls: dict[int, list[str]] = {}
    for delta in told(*fragments):
        call = calls.setdefault(delta["index"], ["", "", ""])
        function = delta.get("function", {})
        for place, text in enumerate((delta.get("id", ""), function.get("name", ""), function.get("arguments", ""))):
            call[place] += text
    return [(id_, name, arguments) for _, (id_, name, arguments) in sorted(calls.items())]


TWO = [("a", "f", '{"x":1}'), ("b", "g", '{"y":1}')]
ONE = [("a", "f", '{"x":1}')]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        pytest.param(
            [fragment(0, "a", "f", '{"x":1}'), fragment(0, "b", "g", '{"y":1}')], TWO, id="one index, whole calls"
        ),
        pytest.param(
            [
                *(fragment(0, "a", "f"), fragment(0, None, None, '{"x"'), fragment(0, "a", None, ":1}")),
                *(fragment(0, "b", "g", '{"y"'), fragment(0, "", None, ":1}")),
            ],
            TWO,
            id="one index, in pieces",
        ),
        pytest.param(
            [
                *(fragment(0, "a", "f", '{"x"'), fragment(0, "b", "g", '{"y"')),
                *(fragment(0, "a", None, ":1"), fragment(0, None, None, "}"), fragment(0, "b", None, ":1}")),
            ],
            TWO,
            id="one index, by turns",
        ),
        pytest.param(
            [fragment(0, "a", "f"), fragment(0, "b", "g"), fragment(1, "c", "h"), fragment(0, None, None, "{}")],
            [("a", "f", ""), ("b", "g", "{}"), ("c", "h", "")],
            id="the next index is taken already",
        ),
        pytest.param(
            [fragment(0, "a", "f", '{"x"'), fragment(0, "a", "f", ":1"), fragment(0, "a", "f", "}")],
            ONE,
            id="id and name in each fragment",
        ),
        pytest.param(
            [fragment(None, "a", "f", '{"x"'), fragment(None, "a", "f", ":1"), fragment(None, "a", "f", "}")],
            ONE,
            id="the same, without an index",
        ),
        pytest.param(
            [fragment(0, "a", "f", '{"x"'), fragment(None, "a", None, ":1"), fragment(None, None, None, "}")],
            ONE,
            id="an index in the first alone",
        ),
        pytest.param(
            [fragment(None, "a", "f", '{"x":1}'), fragment(None, "b", "g", '{"y":1}')], TWO, id="ids without an index"
        ),
        pytest.param(
            [fragment(0, None, "f", '{"x"'), fragment(0, "real", None, ":1"), fragment(0, "real", "f", "}")],
            [("call_x_0_0", "f", '{"x":1}')],
            id="an id that comes late, when another has been told",
        ),
        pytest.param(
            [fragment(0, None, "f"), fragment(0, "real", None, '{"x":1}'), fragment(0, "b", "g", '{"y":1}')],
            [("call_x_0_0", "f", '{"x":1}'), TWO[1]],
            id="after that, another",
        ),
        pytest.param(
            [fragment(0, "a"), fragment(0, None, "f", '{"x":1}'), fragment(0, None, "f")], ONE, id="a name that comes late"
        ),
        pytest.param([fragment(0, "a", "f"), fragment(1, "a", "g")], [("a", "f", ""), ("a", "g", "")], id="one id, two indices"),
    ],
)  # fmt: skip
def test_a_fragment_goes_to_its_call(fragments: list[Fragment], calls: list[tuple[str, str, str]]) -> None:
    assert joined(*fragments) == calls


def test_calls_keep_the_providers_indices_where_they_are_free() -> None:
    assert [delta["index"] for delta in told(fragment(3, "a", "f"), fragment(1, "b", "g"), fragment(1, "c", "h"))] == [
        3,
        1,
        4,
    ]


def test_a_custom_tools_name_is_told_once() -> None:
    repeated = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "x"}}

    assert told(repeated, repeated) == [repeated, {"index": 0, "custom": {"input": "x"}}]


def test_calls_have_a_limit() -> None:
    calls = [fragment(None, f"id-{number}", "f") for number in range(4_097)]
    assert len(told(*calls[:-1])) == 4_096

    with pytest.raises(Malformed, match="too many tool calls") as raised:
        told(*calls)
    assert raised.value.metadata == {"provider": "acme"}
