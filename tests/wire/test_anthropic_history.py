"""Assistant messages that are sent back: the blocks that they once were."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from service.errors import Reason
from service.json_values import json_object
from service.providers.anthropic.messages import encode_messages
from service.providers.anthropic.tool_ids import tool_use_id
from tests.support.dropped import unplaced
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import call_of, refused, sent, without

CLAUDE = "anthropic-claude-v1"
CACHED: Json = {"type": "ephemeral"}
SEARCHED: Json = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
CITED: Json = {"citations": [{"type": "web_search_result_location", "encrypted_index": "e"}]}


def blocks(**fields: Any) -> list[Json]:
    """The blocks of an assistant message between two of the user."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", **fields}, {"role": "user", "content": "b"}]
    turns = sent({"messages": messages})["messages"]
    if len(turns) == 1:
        return []
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    content: list[Json] = turns[1]["content"]
    return content


def text(value: str, **fields: Any) -> Json:
    return {"type": "text", "text": value, **fields}


def thinking(value: str, signature: str) -> Json:
    return {"type": "thinking", "thinking": value, "signature": signature}


def detail(index: int, **fields: Any) -> Json:
    return {"type": "reasoning.text", "format": CLAUDE, "index": index, **fields}


def unnumbered(**fields: Any) -> Json:
    return {"type": "reasoning.text", "format": CLAUDE, **fields}


def encrypted(index: int, data: str) -> Json:
    return {"type": "reasoning.encrypted", "format": CLAUDE, "index": index, "data": data}


def called(arguments: str, **fields: Any) -> Json:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}} | fields


def used(value: Json, **fields: Any) -> Json:
    return {"type": "tool_use", "id": "c1", "name": "f", "input": value, **fields}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "x"}, [text("x")]),
        (
            {"content": [text("x"), text(""), text("y", cache_control=CACHED)]},
            [text("x"), text("y", cache_control=CACHED)],
        ),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, [text("no")]),
        ({"content": None, "refusal": "no"}, [text("no")]),
        ({"content": "x", "cache_control": CACHED}, [text("x", cache_control=CACHED)]),
        ({"content": "x", "tool_calls": [called("{}")]}, [text("x"), used({})]),
        ({"content": "x", "prefix": True, "id": "m1", "annotations": [{"type": "url_citation"}]}, [text("x")]),
        ({"content": "x", "reasoning_content": "t"}, [text("x")]),
        ({"content": "x", "reasoning": "t"}, [text("x")]),
        ({"reasoning_content": "t"}, []),
        # White space counts only beside a text.
        ({"content": " \n"}, []),
        ({"content": " \n", "tool_calls": [called("{}")]}, [used({})]),
        ({"content": [text("\n"), text("x")]}, [text("\n"), text("x")]),
        ({"content": [text("\n"), {"type": "refusal", "refusal": " "}], "refusal": "no"}, [text("no")]),
        ({"refusal": " "}, []),
        ({"content": "x", "refusal": " "}, [text("x"), text(" ")]),
    ],
)
def test_a_message_is_translated(message: Json, expected: list[Json]) -> None:
    assert blocks(**message) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("", {}), (" ", {}), ("{}", {}), ('{"z": 1, "a": [1.0, null]}', {"z": 1, "a": [1.0, None]})],
)
def test_arguments_become_an_object(arguments: str, expected: Json) -> None:
    assert blocks(tool_calls=[called(arguments)]) == [used(expected)]


def test_arguments_keep_the_order_of_keys_and_all_digits() -> None:
    call = call_of(
        {"messages": [{"role": "assistant", "tool_calls": [called('{"z": 12345678901234567890, "a": 1.0}')]}]}
    )
    raw = encode_messages(call)[1][0]["content"][0]["input"]
    assert bytes(raw) == b'{"z": 12345678901234567890, "a": 1.0}'


@pytest.mark.parametrize("arguments", ["[]", "1", "{", "c4n4ry", '{"a": NaN}', "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    error = refused({"messages": [{"role": "assistant", "tool_calls": [called("{}", id="c0"), called(arguments)]}]})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages[0].tool_calls[1].function.arguments")
    assert "c4n4ry" not in error.message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"anthropic": {"caller": {"type": "direct"}}}, {"caller": {"type": "direct"}}),
        ({"anthropic": {"toolset_name": "browser"}}, {"toolset_name": "browser"}),
        ({"anthropic": {"input": {"x": 1}}}, {}),
        ({"anthropic": "x"}, {}),
        ({"google": {"thought_signature": "s"}}, {}),
    ],
)
def test_what_was_attached_to_a_call_is_sent_back(extra: Json, expected: Json) -> None:
    assert blocks(tool_calls=[called("{}", extra_content=extra)]) == [used({}, **expected)]


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([detail(0, text="t", signature="s")], [thinking("t", "s")]),
        ([detail(0, signature="s")], [thinking("", "s")]),
        ([detail(0, text="t", signature=None)], []),
        ([detail(0, text="t")], []),
        ([encrypted(0, "d")], [{"type": "redacted_thinking", "data": "d"}]),
        (
            [
                detail(0, text="a"),
                detail(0, text="b"),
                detail(0, signature="s"),
                encrypted(1, "d"),
                detail(2, signature="r"),
            ],
            [thinking("ab", "s"), {"type": "redacted_thinking", "data": "d"}, thinking("", "r")],
        ),
        (
            [detail(1, text="b", signature="r"), detail(0, text="a", signature="s")],
            [thinking("a", "s"), thinking("b", "r")],
        ),
        ([detail(0, text="t", signature="s") | {"format": "google-gemini-v1"}], []),
        ([detail(0, summary="t", signature="s") | {"type": "reasoning.summary"}], []),
        (
            [encrypted(0, "d"), detail(0, text="t", signature="s")],  # two of one index, as OpenRouter may have them
            [{"type": "redacted_thinking", "data": "d"}, thinking("t", "s")],
        ),
        # Two signed blocks are never one.
        (
            [detail(0, text="a", signature="s"), detail(0, text="b", signature="r")],
            [thinking("a", "s"), thinking("b", "r")],
        ),
        # Without an index, pieces that follow each other belong together.
        (
            [detail(0, text="a", signature="s"), detail(0, text="b", signature="r") | {"index": None}],
            [thinking("a", "s"), thinking("b", "r")],
        ),
        (
            [
                unnumbered(text="a"),
                unnumbered(text="b"),
                unnumbered(signature="s"),
                unnumbered(text="c", signature="r"),
                {"type": "reasoning.encrypted", "format": CLAUDE, "data": "d"},
                {"type": "reasoning.encrypted", "format": CLAUDE, "data": "e"},
            ],
            [
                thinking("ab", "s"),
                thinking("c", "r"),
                {"type": "redacted_thinking", "data": "d"},
                {"type": "redacted_thinking", "data": "e"},
            ],
        ),
        (
            [unnumbered(text="lost"), encrypted(5, "d") | {"index": None}, unnumbered(text="b", signature="s")],
            [{"type": "redacted_thinking", "data": "d"}, thinking("b", "s")],
        ),
    ],
)
def test_reasoning_is_sent_back_before_the_text(details: list[Json], expected: list[Json]) -> None:
    assert blocks(content="x", reasoning_details=details) == [*expected, text("x")]


@pytest.mark.parametrize(
    ("entry", "member"),
    [
        (detail(0, text=1), "text"),
        (detail(0, signature=1), "signature"),
        (encrypted(0, "d") | {"data": 1}, "data"),
        (detail(0) | {"index": "0"}, "index"),
    ],
)
def test_a_malformed_entry_of_reasoning_is_refused(entry: Json, member: str) -> None:
    error = refused({"messages": [{"role": "assistant", "content": "x", "reasoning_details": [entry]}]})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, f"messages[0].reasoning_details[0].{member}")


def test_two_calls_of_one_id_are_refused() -> None:
    error = refused({"messages": [{"role": "assistant", "tool_calls": [called("{}"), called("{}")]}]})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, "messages[0].tool_calls[1].id")


def entry(**fields: Any) -> Json:
    return {"format": "anthropic", **fields}


SIGNED = [detail(0, text="t", signature="s")]


@pytest.mark.parametrize(
    ("message", "order", "expected"),
    [
        (
            {"content": "xyz", "reasoning_details": SIGNED, "tool_calls": [called("{}")]},
            [
                {"tool_call_id": "c1"},
                {"text_length": 2},
                {"block": SEARCHED},
                {"reasoning_index": 0},
                {"text_length": 1},
            ],
            [used({}), text("xy"), SEARCHED, thinking("t", "s"), text("z")],
        ),
        ({"content": "xyz"}, [{"text_length": 1}, {"block": SEARCHED}], [text("x"), SEARCHED, text("yz")]),
        ({"content": "x"}, [{"text_length": 5}, {"text_length": 5}], [text("x")]),
        ({"content": "👍é!"}, [{"text_length": 2}, {"text_length": 1}], [text("👍é"), text("!")]),
        ({"content": "xy"}, [{"text_length": 1, "block": CITED}, {"text_length": 1}], [text("x", **CITED), text("y")]),
        ({"content": "x"}, [{"text_length": 0}, {"block": SEARCHED}], [SEARCHED, text("x")]),
        ({}, [{"block": SEARCHED}], [SEARCHED]),
        ({"tool_calls": [called("{}")]}, [{"block": SEARCHED}], [SEARCHED, used({})]),
        ({"reasoning_details": SIGNED}, [{"block": SEARCHED}], [thinking("t", "s"), SEARCHED]),
        (
            {},
            [{"block": SEARCHED}, {"reasoning_index": 3}, {"tool_call_id": "c9"}, {"reasoning_index": {}}],
            [SEARCHED],
        ),
        ({"content": [text("x"), text("y")]}, [{"container": {"id": "c"}}], [text("x"), text("y")]),
        ({"content": "x", "tool_calls": [called("{}")]}, [{"later": 1}], [text("x"), used({})]),
        (
            {"content": [text("x"), text("y", cache_control=CACHED)]},
            [{"text_length": 1}, {"block": SEARCHED}, {"text_length": 1}],
            [text("x"), SEARCHED, text("y", cache_control=CACHED)],
        ),
        # A mark stays with its text.
        (
            {"content": [text("xx", cache_control=CACHED), text("yy"), text("z", cache_control={"type": "other"})]},
            [{"text_length": 2}, {"block": SEARCHED}, {"text_length": 1}],
            [text("xx", cache_control=CACHED), SEARCHED, text("y"), text("yz", cache_control={"type": "other"})],
        ),
        (
            {"content": [text("x", cache_control=CACHED), text("y")]},
            [{"text_length": 2}, {"block": SEARCHED}],
            [text("xy", cache_control=CACHED), SEARCHED],
        ),
        ({"content": " "}, [{"text_length": 1}, {"block": SEARCHED}], [SEARCHED]),
        ({"content": " x"}, [{"text_length": 1}, {"block": SEARCHED}], [text(" "), SEARCHED, text("x")]),
        (
            {"tool_calls": [called("{}", id="functions.f:0")]},
            [{"tool_call_id": "functions.f:0"}, {"block": SEARCHED}],
            [used({}, id=tool_use_id("functions.f:0")), SEARCHED],
        ),
    ],
)
def test_the_order_of_the_answer_is_restored(message: Json, order: list[Json], expected: list[Json]) -> None:
    assert blocks(**message, provider_content=[entry(**item) for item in order]) == expected


def test_entries_of_another_provider_are_left_out() -> None:
    others = [{"format": "gemini", "block": {"executableCode": {}}}, {"format": "gemini", "text_length": 1}]
    assert blocks(content="xy", provider_content=others) == [text("xy")]


@pytest.mark.parametrize(
    ("item", "member"),
    [({"text_length": "1"}, "text_length"), ({"text_length": -1}, "text_length"), ({"block": "x"}, "block")],
)
def test_a_malformed_entry_is_refused(item: Json, member: str) -> None:
    error = refused({"messages": [{"role": "assistant", "content": "x", "provider_content": [entry(**item)]}]})
    assert (error.reason, error.param) == (Reason.PARAMETER_INVALID, f"messages[0].provider_content[0].{member}")


def test_an_object_that_is_no_json_is_refused() -> None:
    call = call_of({"messages": [{"role": "assistant", "content": "x"}]})
    item = call.request.messages[0].provider_content.add()
    item.CopyFrom(json_object({"format": "anthropic"}))
    item.fields.add(key="format").value.string_value = "anthropic"
    with pytest.raises(Exception, match="twice") as caught:
        encode_messages(call)
    assert getattr(caught.value, "param", None) == "messages[0].provider_content[0]"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"reasoning_details": SIGNED, "content": "x"},
            [thinking("t", "s"), text("x", cache_control=CACHED)],
        ),
        (
            {
                "reasoning_details": SIGNED,
                "content": "x",
                "provider_content": [entry(text_length=1), entry(reasoning_index=0)],
            },
            [text("x", cache_control=CACHED), thinking("t", "s")],
        ),
    ],
)
def test_the_mark_of_a_message_is_never_on_reasoning(message: Json, expected: list[Json]) -> None:
    assert blocks(**message, cache_control=CACHED) == expected


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"reasoning_details": SIGNED, "cache_control": CACHED}, "cache_control"),
        ({"content": "", "refusal": "", "reasoning_content": "t", "cache_control": CACHED}, "cache_control"),
        ({"content": [text("x"), text("", cache_control=CACHED)]}, "content[1].cache_control"),
        (
            {"content": [text("", prompt_cache_breakpoint={"mode": "explicit"}), text("x")]},
            "content[0].prompt_cache_breakpoint",
        ),
        ({"content": [text(" ", cache_control=CACHED)], "refusal": "no"}, "content[0].cache_control"),
    ],
)
def test_a_mark_on_what_is_not_sent_is_refused_or_dropped(message: Json, param: str) -> None:
    body = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", **message}]}
    error = refused(body)
    assert (error.reason, error.param) == (Reason.PARAMETER_UNSUPPORTED, f"messages[1].{param}")
    assert without(body)[0] == [unplaced(f"messages[1].{param}")]


IDS = ["call_1-A", "functions.f:0", "functions/f:0", "functions.f.0", "call|fc", "é", "x" * 64 + ":", "x" * 64 + "."]


def test_ids_of_other_providers_calls_are_rewritten_without_a_clash() -> None:
    messages: list[Json] = [{"role": "assistant", "tool_calls": [called("{}", id=name) for name in IDS]}]
    messages += [{"role": "tool", "tool_call_id": name, "content": "r"} for name in IDS]
    uses, results = (turn["content"] for turn in sent({"messages": messages})["messages"])
    sent_ids = [block["id"] for block in uses]
    assert sent_ids == [block["tool_use_id"] for block in results]
    assert len(set(sent_ids)) == len(IDS)
    assert sent_ids[0] == "call_1-A"
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in sent_ids)


def test_the_time_does_not_grow_with_the_square_of_the_order() -> None:
    message = {"role": "assistant", "content": "x" * 1_500_000 + "👍", "provider_content": [entry(text_length=1)]}
    call = call_of({"messages": [message]})
    order = call.request.messages[0].provider_content
    order.extend([order[0]] * 20_000)
    begun_s = time.process_time()
    content = encode_messages(call)[1][0]["content"]
    assert len(content) == 20_002
    assert time.process_time() - begun_s < 5
