"""What models are told of tools and their results, and what is read of what they write. No server is needed."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_types import CallToolResult, TextContent, Tool

from service.json_values import object_to_json
from service.tools.lines import Lines, TooLong
from service.tools.listing import listing_of
from service.tools.outcome import ToolFailedError, ToolOutcome, limited, read_arguments
from service.tools.results import result_text
from service.tools.stdio import TOO_LARGE, _message


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("{}", {}),
        ("", {}),
        (" \n", {}),
        ('{"b": 1, "a": [null, 1.5, "ü"]}', {"b": 1, "a": [None, 1.5, "ü"]}),
        ('{"a": ' * 64 + "1" + "}" * 64, None),
    ],
)
def test_arguments_are_read(text: str, arguments: dict[str, Any] | None) -> None:
    read = read_arguments(text)
    if arguments is not None:
        assert read == arguments


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '"x"',
        "null",
        "{",
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"a": "\ud800"}',
        '{"a": 1} {}',
        '{"a": ' * 65 + "1" + "}" * 65,
        '{"a": ' * 100_000,
        '{"a": ' + "[" * 64 + "]" * 64 + "}",
    ],
)
def test_arguments_that_are_no_object_are_told_to_the_model(text: str) -> None:
    with pytest.raises(ToolFailedError, match="was not called: its arguments"):
        read_arguments(text)


def test_the_size_of_a_result_is_counted_in_bytes() -> None:
    assert limited("ü" * 5, 10) == "ü" * 5
    with pytest.raises(ToolFailedError, match="has 12 bytes, and 10 are allowed"):
        limited("ü" * 6, 10)


def test_texts_are_joined_by_lines_and_stand_for_structured_content() -> None:
    result = CallToolResult(content=[TextContent(text="a"), TextContent(text="b")], structured_content={"c": 1})
    assert result_text(result) == "a\nb"


def test_an_outcome_does_not_show_its_text() -> None:
    assert "CANARY" not in repr(ToolOutcome("CANARY", is_error=False, duration_ms=1))


def test_lines_are_cut_wherever_the_bytes_are() -> None:
    data = b'one\n\ntwo {"a": 1}\nthree\n'
    for size in range(1, len(data)):
        lines = Lines(100)
        found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
        assert found == [b"one", b"", b'two {"a": 1}', b"three"]


def test_a_line_that_is_too_long_is_skipped_and_the_next_is_read() -> None:
    for size in (1, 7, 300, 5000):
        data = b"a" * 10 + b"b" * 2000 + b"c" * 10 + b"\nnext\n" + b"d" * 1000 + b"\n"
        lines = Lines(1000)
        found = [line for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
        (long, *others) = found
        assert isinstance(long, TooLong)
        assert long.head.startswith(b"a" * 10)
        assert long.tail.endswith(b"b" + b"c" * 10)
        assert others == [b"next", b"d" * 1000]


@pytest.mark.parametrize(
    ("head", "tail", "id_"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"content":[', b'x"}]}}', 7),
        (b'{ "jsonrpc": "2.0", "id": 7, "result": {', b"}}", 7),
        (b'{"result":{"content":[', b'x"}]},"jsonrpc":"2.0","id":8}', 8),
        (b'{"result":{"content":[{"id":3,', b'"id":4}]}', None),
        (b'{"jsonrpc":"2.0","id":"seven","result":{', b"}}", None),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"id":5', b"}}", None),
    ],
)
def test_a_message_that_is_too_large_fails_the_call_that_it_answers(head: bytes, tail: bytes, id_: int | None) -> None:
    message = _message(TooLong(head, tail))
    if id_ is None:
        assert message is None
    else:
        assert message is not None
        answer = message.message.model_dump()
        assert (answer["id"], answer["error"]["code"]) == (id_, TOO_LARGE)


def _tool(name: str, schema: dict[str, Any] | None = None) -> Tool:
    return Tool(name=name, description="d", input_schema=schema or {"type": "object"})


def test_a_schema_keeps_the_order_of_its_keys() -> None:
    schema = {"type": "object", "properties": {"z": {"type": "integer", "maximum": 3}, "a": {"enum": ["x", None]}}}
    definition = listing_of("shop", [_tool("find", schema)], None).tools["shop__find"]
    assert (definition.id, definition.name, definition.function.name) == ("shop__find", "find", "shop__find")
    assert list(object_to_json(definition.function.parameters)["properties"]) == ["z", "a"]  # type: ignore[arg-type] # an object
    assert object_to_json(definition.function.parameters) == schema


def _nested(levels: int) -> dict[str, Any]:
    return {"a": _nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        (_tool("dotted.name"), "a-z, A-Z, 0-9"),
        (_tool("x" * 59), "not 65"),
        (_tool("ü"), "a-z, A-Z, 0-9"),
        (_tool("deep", _nested(60)), "nested too deeply"),
        (_tool("endless", {"maximum": float("inf")}), "a number"),
        (_tool("huge", {"maximum": 10**400}), "a number"),
    ],
)
def test_what_cant_be_offered_is_left_out_with_its_reason(tool: Tool, reason: str) -> None:
    listing = listing_of("shop", [tool, _tool("x" * 58), _tool("_y__z")], None)
    assert set(listing.tools) == {"shop__" + "x" * 58, "shop___y__z"}
    assert list(listing.left_out) == [tool.name]
    assert reason in listing.left_out[tool.name]


def test_only_what_is_named_is_taken_and_what_is_missing_is_told() -> None:
    listing = listing_of("shop", [_tool("find"), _tool("buy")], ["find", "sell"])
    assert set(listing.tools) == {"shop__find"}
    assert listing.left_out == {"sell": "the server has no such tool"}
