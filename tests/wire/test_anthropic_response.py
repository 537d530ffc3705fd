"""What a whole answer of the Messages API becomes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from service.errors import Malformed, Reason, Unavailable
from service.providers.anthropic.response import translate_message
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import answer_of, call_of, choice, message, translated

CANARY = "c4n4ry"
CLAUDE = "anthropic-claude-v1"


def text(value: str, **fields: Any) -> Json:
    return {"type": "text", "text": value, **fields}


def thinking(value: str, signature: str = "s") -> Json:
    return {"type": "thinking", "thinking": value, "signature": signature}


def use(name: str, value: Json | None = None, **fields: Any) -> Json:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": value or {}, **fields}


def call(name: str, arguments: str = "{}", **fields: Any) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": f"toolu_{name}", "type": "function", "function": function, **fields}


def detail(index: int, value: str, signature: str | None = "s") -> Json:
    signed = {"signature": signature} if signature else {}
    return {"type": "reasoning.text", "text": value, "format": CLAUDE, "index": index, **signed}


def entry(**fields: Any) -> Json:
    return {"format": "anthropic", **fields}


REDACTED: Json = {"type": "redacted_thinking", "data": "d"}
HIDDEN: Json = {"type": "reasoning.encrypted", "data": "d", "format": CLAUDE, "index": 0}
SEARCH: Json = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}
WEB: Json = {
    "type": "web_search_result_location",
    "url": "https://x",
    "title": "X",
    "cited_text": "y",
    "encrypted_index": "e",
}
PAGE: Json = {
    "type": "page_location",
    "cited_text": "y",
    "document_index": 0,
    "document_title": None,
    "start_page_number": 1,
    "end_page_number": 2,
}


def test_a_plain_answer() -> None:
    assert translated(answer_of([text("Hi")])) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "public",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
                "native_finish_reason": "end_turn",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], {}),
        ([text("")], {}),
        ([text("é", citations=None)], {"content": "é"}),
        ([use("f")], {"tool_calls": [call("f")]}),
        (
            [use("f", {"z": 1, "a": [1.5, None, "é"]})],
            {"tool_calls": [call("f", '{"z": 1, "a": [1.5, null, "\\u00e9"]}')]},
        ),
        (
            [use("f", caller={"type": "direct"})],
            {"tool_calls": [call("f", extra_content={"anthropic": {"caller": {"type": "direct"}}})]},
        ),
        (
            [use("f", toolset_name="browser")],
            {"tool_calls": [call("f", extra_content={"anthropic": {"toolset_name": "browser"}})]},
        ),
        ([text("a"), use("f"), use("g")], {"content": "a", "tool_calls": [call("f"), call("g")]}),
        ([thinking("t"), text("a")], {"content": "a", "reasoning_content": "t", "reasoning_details": [detail(0, "t")]}),
        ([thinking(""), text("a")], {"content": "a", "reasoning_details": [detail(0, "")]}),
        ([thinking("t", "")], {"reasoning_content": "t", "reasoning_details": [detail(0, "t", None)]}),
        (
            [thinking("t"), thinking("u", "r"), REDACTED],
            {
                "reasoning_content": "tu",
                "reasoning_details": [detail(0, "t"), detail(1, "u", "r"), HIDDEN | {"index": 2}],
            },
        ),
        ([REDACTED, text("a")], {"content": "a", "reasoning_details": [HIDDEN]}),
    ],
)
def test_blocks_become_a_message(blocks: list[Json], expected: Json) -> None:
    assert message(blocks) == {"role": "assistant", **expected}


@pytest.mark.parametrize(
    ("blocks", "content", "order"),
    [
        (
            [thinking("t"), text("ab"), SEARCH, FOUND, text("c"), use("f")],
            "abc",
            [
                {"reasoning_index": 0},
                {"text_length": 2},
                {"block": SEARCH},
                {"block": FOUND},
                {"text_length": 1},
                {"tool_call_id": "toolu_f"},
            ],
        ),
        ([text("👍"), {"type": "later", "x": [1]}], "👍", [{"text_length": 1}, {"block": {"type": "later", "x": [1]}}]),
        ([text("a"), thinking("t")], "a", [{"text_length": 1}, {"reasoning_index": 0}]),
        ([use("f"), text("a")], "a", [{"tool_call_id": "toolu_f"}, {"text_length": 1}]),
        ([text("a"), text("b")], "ab", [{"text_length": 1}, {"text_length": 1}]),
        ([text("a"), text(""), SEARCH], "a", [{"text_length": 1}, {"block": SEARCH}]),
        (
            [text("a"), text("b", citations=[WEB])],
            "ab",
            [{"text_length": 1}, {"text_length": 1, "block": {"citations": [WEB]}}],
        ),
    ],
)
def test_the_order_is_told_where_the_message_cannot_show_it(
    blocks: list[Json], content: str, order: list[Json]
) -> None:
    told = message(blocks)
    assert told["content"] == content
    assert told["provider_content"] == [entry(**item) for item in order]


@pytest.mark.parametrize(
    "blocks", [[thinking("t"), text("a"), use("f"), use("g")], [text(""), use("f"), text("")], [REDACTED, use("f")]]
)
def test_the_usual_order_is_not_told(blocks: list[Json]) -> None:
    assert "provider_content" not in message(blocks)


@pytest.mark.parametrize(
    ("citation", "annotation"),
    [
        (
            WEB,
            {"url_citation": {"start_index": 1, "end_index": 3, "title": "X", "url": "https://x", "cited_text": "y"}},
        ),
        (
            WEB | {"title": None},
            {"url_citation": {"start_index": 1, "end_index": 3, "url": "https://x", "cited_text": "y"}},
        ),
        (PAGE, {"file_citation": {"start_index": 1, "end_index": 3, **PAGE}}),
        ({"type": "char_location", "start_char_index": 5}, None),
        ({"type": "content_block_location", "start_block_index": 5}, None),
        ({"type": "search_result_location", "source": "s"}, None),
        ({"type": "later_location", "x": 1}, None),
    ],
)
def test_citations_become_annotations_with_places_in_characters(citation: Json, annotation: Json | None) -> None:
    annotation = annotation or {"file_citation": {"start_index": 1, "end_index": 3, **citation}}
    (kind,) = annotation
    told = message([text("👍"), text("bc", citations=[citation]), text("d")])
    assert told["annotations"] == [{"type": kind, **annotation}]


def test_the_container_is_told_of() -> None:
    container = {"id": "c1", "expires_at": "2026-01-01T00:00:00Z"}
    told = choice(answer_of([text("a")], container=container))["message"]
    assert told["provider_content"] == [entry(container=container)]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("compaction", "compaction"),
    ],
)
def test_a_stop_reason_is_translated(native: str, reason: str) -> None:
    told = choice(answer_of([], native))
    assert told["finish_reason"] == reason
    assert told.get("native_finish_reason", reason) == native
    assert ("native_finish_reason" in told) == (native != reason)


def test_the_stop_sequence_is_told() -> None:
    assert choice(answer_of([], "stop_sequence", stop_sequence="END"))["stop_sequence"] == "END"


def test_the_category_of_a_refusal_is_told() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    assert choice(answer_of([], "refusal", stop_details=details))["content_filter_results"] == details


CACHE: Json = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 30}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}),
        (
            CACHE | {"cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}},
            {
                "prompt_tokens": 139,
                "completion_tokens": 2,
                "total_tokens": 141,
                "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 30, "cache_write_1h_tokens": 20},
            },
        ),
        (
            {"cache_read_input_tokens": 0, "cache_creation_input_tokens": None},
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        ),
        (
            {"output_tokens_details": {"thinking_tokens": 1}},
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 11,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        ),
        (
            {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0, "later": None}, "later": {"x": 1}},
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 11,
                "server_tool_use": {"web_search_requests": 2},
            },
        ),
        (
            {"server_tool_use": {"a": 1, "b": "x", "c": 1.5, "d": True, "e": -1, "f": 2**32, "g": {"h": 1}, "i": []}},
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "server_tool_use": {"a": 1}},
        ),
    ],
)
def test_usage_is_translated(usage: Json, expected: Json) -> None:
    answer = answer_of([], usage={"input_tokens": 9, "output_tokens": 2, **usage})
    assert translated(answer)["usage"] == expected


@pytest.mark.parametrize(
    ("usage", "tier"),
    [({"service_tier": "priority"}, "priority"), ({"service_tier": "standard", "speed": "fast"}, "fast"), ({}, None)],
)
def test_the_processing_class_is_told(usage: Json, tier: str | None) -> None:
    assert translated(answer_of([], usage=usage)).get("service_tier") == tier


def test_what_is_not_told_is_made_or_absent() -> None:
    told = translated({"content": [text("a")], "stop_reason": "end_turn"})
    assert told["id"] == "chatcmpl-own"
    assert "usage" not in told


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        answer_of([], None),
        answer_of([], f"{CANARY} !"),
        answer_of([{"type": "text", "text": 1}]),
        answer_of([{"type": "thinking", "thinking": CANARY, "signature": 1}]),
        answer_of([{"type": "redacted_thinking"}]),
        answer_of([{"type": "tool_use", "name": CANARY}]),
        answer_of([{"type": 5}]),
        answer_of([], usage={"input_tokens": -1}),
        answer_of([], usage={"input_tokens": 2**32}),
        answer_of([], usage={"input_tokens": 2**32 - 1, "cache_read_input_tokens": 1}),
        answer_of([{"type": "later", "x": 10**400}]),
        json.dumps(answer_of([{"type": "later"}])).replace('"later"', '"later", "x": ' + "[" * 40 + "]" * 40).encode(),
    ],
)
def test_an_answer_of_another_form_is_malformed(answer: Json | bytes) -> None:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with pytest.raises(Malformed) as caught:
        translate_message("acme", data, call_of({}))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED
    assert caught.value.metadata == {"provider": "acme"}
    assert CANARY not in caught.value.message


def test_a_failure_in_place_of_an_answer_is_one() -> None:
    data = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": CANARY}}).encode()
    with pytest.raises(Unavailable) as caught:
        translate_message("acme", data, call_of({}))
    assert CANARY not in caught.value.message


def test_steps_by_other_models_are_counted_since_the_totals_leave_them_out() -> None:
    steps = [{"type": kind} for kind in ("message", "advisor_message", "compaction", "advisor_message")]
    usage = {"input_tokens": 5, "output_tokens": 3, "server_tool_use": {"web_search_requests": 0}, "iterations": steps}

    told = translated(answer_of([], usage=usage))["usage"]

    assert (told["prompt_tokens"], told["completion_tokens"]) == (5, 3)
    assert told["server_tool_use"] == {"advisor_message": 2, "compaction": 1}


def test_the_time_does_not_grow_with_the_square_of_the_blocks() -> None:
    body = json.dumps(answer_of([thinking("👍" * 300), text("👍" * 300)] * 10_000)).encode()
    begun_s = time.process_time()
    told = translate_message("acme", body, call_of({})).choices[0].message
    assert len(told.content) == len(told.reasoning_content) == 3_000_000
    assert time.process_time() - begun_s < 5
