"""What a stream of the Messages API becomes: exact sequences of chunks, and its every trap."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from service.errors import Auth, Interrupted, Malformed, RateLimited, Rejected, Unavailable, UpstreamError
from service.providers.anthropic.stream import StreamTranslator
from service.providers.sse import SseEvent
from tests.wire.anthropic_json import Json
from tests.wire.anthropic_support import (
    block_events,
    call_of,
    chunks_of,
    chunks_of_bytes,
    deltas_of,
    ended,
    event_of,
    merged,
    sse,
    started,
    text_events,
)

CANARY = "c4n4ry"
CLAUDE = "anthropic-claude-v1"
PING: Json = {"type": "ping"}


def detail(index: int, **fields: Any) -> Json:
    return {"type": "reasoning.text", **fields, "format": CLAUDE, "index": index}


def called(index: int, **fields: Any) -> Json:
    return {"tool_calls": [{"index": index, **fields}]}


def entry(**fields: Any) -> Json:
    return {"format": "anthropic", **fields}


def told(*entries: Json) -> Json:
    return {"provider_content": [entry(**item) for item in entries]}


def piece(text: str) -> Json:
    return {"type": "input_json_delta", "partial_json": text}


def use(name: str, **fields: Any) -> Json:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}, **fields}


def begun(index: int, name: str, **fields: Any) -> Json:
    function = {"name": name, "arguments": ""}
    return called(index, id=f"toolu_{name}", type="function", function=function, **fields)


THINKING: Json = {"type": "thinking", "thinking": "", "signature": ""}
SEARCH: Json = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
FOUND: Json = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}
WEB: Json = {
    "type": "web_search_result_location",
    "url": "https://x",
    "title": "X",
    "cited_text": "",
    "encrypted_index": "e",
}


def test_a_plain_stream() -> None:
    envelope = {"id": "msg_1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "public"}

    def step(delta: Json, finish_reason: str | None = None, **fields: Any) -> Json:
        return envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, **fields}]}

    assert chunks_of([started(), PING, *text_events(0, "He", "llo"), *ended()]) == [
        step({"role": "assistant", "content": ""}),
        step({"content": "He"}),
        step({"content": "llo"}),
        step({}, "stop", native_finish_reason="end_turn"),
        envelope | {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
    ]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # Blocks that are whole at their start, or empty.
        (block_events(0, {"type": "text", "text": "whole"}), [{"content": "whole"}]),
        (block_events(0, {"type": "text", "text": "", "citations": None}), []),
        (text_events(0, "", "a", ""), [{"content": "a"}]),
        (
            block_events(0, {"type": "thinking", "thinking": "t", "signature": "s"}),
            [
                {"reasoning_content": "t", "reasoning_details": [detail(0, text="t")]},
                {"reasoning_details": [detail(0, signature="s")]},
            ],
        ),
        (
            block_events(0, use("f") | {"input": {"a": 1}}),
            [begun(0, "f"), called(0, function={"arguments": '{"a": 1}'})],
        ),
        # Reasoning.
        (
            block_events(
                0,
                THINKING,
                {"type": "thinking_delta", "thinking": "a"},
                {"type": "thinking_delta", "thinking": "b"},
                {"type": "signature_delta", "signature": "s"},
            ),
            [
                {"reasoning_content": "a", "reasoning_details": [detail(0, text="a")]},
                {"reasoning_content": "b", "reasoning_details": [detail(0, text="b")]},
                {"reasoning_details": [detail(0, signature="s")]},
            ],
        ),
        (
            block_events(0, THINKING, {"type": "signature_delta", "signature": "s"}),
            [
                {
                    "reasoning_details": [
                        {"type": "reasoning.text", "signature": "s", "text": "", "format": CLAUDE, "index": 0}
                    ]
                }
            ],
        ),
        (block_events(0, THINKING), [{"reasoning_details": [detail(0, text="")]}]),
        (
            [
                *block_events(0, {"type": "redacted_thinking", "data": "d"}),
                *block_events(1, THINKING, {"type": "signature_delta", "signature": "s"}),
            ],
            [
                {"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "format": CLAUDE, "index": 0}]},
                {"reasoning_details": [detail(1, signature="s", text="")]},
            ],
        ),
        # Calls: their index counts no other blocks.
        (
            [
                *text_events(3, "a"),
                *block_events(4, use("f"), piece(""), piece('{"a"'), piece(": 1}")),
                *block_events(5, use("g"), piece("")),
            ],
            [
                {"content": "a"},
                begun(0, "f"),
                called(0, function={"arguments": '{"a"'}),
                called(0, function={"arguments": ": 1}"}),
                begun(1, "g"),
                called(1, function={"arguments": "{}"}),
            ],
        ),
        (block_events(0, use("f")), [begun(0, "f"), called(0, function={"arguments": "{}"})]),
        (
            block_events(0, use("f", caller={"type": "direct"})),
            [
                begun(0, "f", extra_content={"anthropic": {"caller": {"type": "direct"}}}),
                called(0, function={"arguments": "{}"}),
            ],
        ),
        # Tools that the provider runs: no calls; what came before is told of as soon as it has to be.
        (
            [
                *block_events(0, THINKING, {"type": "signature_delta", "signature": "s"}),
                *text_events(1, "👍a"),
                *block_events(2, SEARCH, piece('{"query"'), piece(': "x"}')),
                *block_events(3, FOUND),
                *text_events(4, "b"),
                *block_events(5, use("f")),
            ],
            [
                {"reasoning_details": [detail(0, signature="s", text="")]},
                {"content": "👍a"},
                told({"reasoning_index": 0}, {"text_length": 2}, {"block": SEARCH | {"input": {"query": "x"}}}),
                told({"block": FOUND}),
                {"content": "b"},
                told({"text_length": 1}),
                begun(0, "f"),
                called(0, function={"arguments": "{}"}),
                told({"tool_call_id": "toolu_f"}),
            ],
        ),
        (block_events(0, SEARCH, piece("")), [told({"block": SEARCH})]),
        (block_events(0, SEARCH, piece('{"query": "x')), []),  # cut by the token limit
        # No result goes back without its call.
        ([*block_events(0, SEARCH, piece('{"query": "x')), *block_events(1, FOUND)], []),
        ([*block_events(0, SEARCH, {"type": "later_delta"}), *block_events(1, FOUND)], []),
        (
            [*block_events(0, SEARCH, piece("{")), *block_events(1, FOUND | {"tool_use_id": "srv_2"})],
            [told({"block": FOUND | {"tool_use_id": "srv_2"}})],
        ),
        (block_events(0, FOUND | {"tool_use_id": [1]}), [told({"block": FOUND | {"tool_use_id": [1]}})]),
        # Order.
        (
            [*block_events(0, use("f")), *text_events(1, "a")],
            [
                begun(0, "f"),
                called(0, function={"arguments": "{}"}),
                {"content": "a"},
                told({"tool_call_id": "toolu_f"}, {"text_length": 1}),
            ],
        ),
        # Citations.
        (
            [
                *text_events(0, "a"),
                *block_events(
                    1,
                    {"type": "text", "text": "", "citations": []},
                    {"type": "citations_delta", "citation": WEB},
                    {"type": "text_delta", "text": "bc"},
                ),
            ],
            [
                {"content": "a"},
                {"content": "bc"},
                {
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {
                                "start_index": 1,
                                "end_index": 3,
                                "title": "X",
                                "url": "https://x",
                                "cited_text": "",
                            },
                        }
                    ],
                    **told({"text_length": 1}, {"text_length": 2, "block": {"citations": [WEB]}}),
                },
            ],
        ),
        (
            block_events(
                0,
                {"type": "text", "text": "", "citations": [{"type": "char_location"}]},
                {"type": "text_delta", "text": "a"},
            ),
            [
                {"content": "a"},
                {
                    "annotations": [
                        {
                            "type": "file_citation",
                            "file_citation": {"start_index": 0, "end_index": 1, "type": "char_location"},
                        }
                    ],
                    **told({"text_length": 1, "block": {"citations": [{"type": "char_location"}]}}),
                },
            ],
        ),
        # What is not known.
        (block_events(0, {"type": "later", "x": {"y": 1}}), [told({"block": {"type": "later", "x": {"y": 1}}})]),
        (block_events(0, {"type": "later"}, {"type": "later_delta", "text": {"x": 1}}), []),
        (
            block_events(0, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "c"}),
            [told({"block": {"type": "compaction", "content": "c"}})],
        ),
        (
            block_events(
                0, {"type": "text", "text": ""}, {"type": "later_delta", "text": 5}, {"type": "text_delta", "text": "a"}
            ),
            [{"content": "a"}],
        ),
        (
            block_events(0, use("f"), {"type": "later_delta", "partial_json": 5}, piece("{}")),
            [begun(0, "f"), called(0, function={"arguments": "{}"})],
        ),
        (
            block_events(0, THINKING, {"type": "later_delta"}, {"type": "signature_delta", "signature": "s"}),
            [{"reasoning_details": [detail(0, signature="s", text="")]}],
        ),
        ([{"type": "later", "index": "x", "delta": [], "message": 3}, *text_events(0, "a")], [{"content": "a"}]),
        ([{"type": "content_block_stop", "index": 7}], []),
        ([started(id="msg_2"), *text_events(0, "a")], [{"content": "a"}]),
        # Pings within a block, and ends that were never said.
        ([text_events(0, "a", "b")[0], PING, *text_events(0, "a", "b")[1:]], [{"content": "a"}, {"content": "b"}]),
        (
            text_events(0, "a")[:-1] + text_events(0, "b"),
            [{"content": "a"}, {"content": "b"}, told({"text_length": 1}, {"text_length": 1})],
        ),
        (block_events(0, use("f"))[:-1], [begun(0, "f"), called(0, function={"arguments": "{}"})]),
    ],
)
def test_events_become_deltas(events: list[Json], expected: list[Json]) -> None:
    assert deltas_of([started(), *events, *ended()]) == expected


def test_a_stream_without_its_first_event_has_a_first_chunk_all_the_same() -> None:
    assert deltas_of([*text_events(0, "a"), *ended()]) == [{"content": "a"}]


def test_blocks_that_the_first_event_has_are_not_lost() -> None:
    assert deltas_of([started(content=[{"type": "text", "text": "a"}]), *ended()]) == [{"content": "a"}]


def test_the_container_is_told_of() -> None:
    container = {"id": "c1", "expires_at": "2026-01-01T00:00:00Z"}
    assert deltas_of([started(), *ended(container=container)]) == [told({"container": container})]
    assert deltas_of([started(container=container), *ended()]) == [told({"container": container})]


@pytest.mark.parametrize(
    ("reason", "fields", "expected"),
    [
        ("end_turn", {}, {"finish_reason": "stop", "native_finish_reason": "end_turn"}),
        (
            "stop_sequence",
            {"stop_sequence": "END"},
            {"finish_reason": "stop", "native_finish_reason": "stop_sequence", "stop_sequence": "END"},
        ),
        ("max_tokens", {}, {"finish_reason": "length", "native_finish_reason": "max_tokens"}),
        ("tool_use", {}, {"finish_reason": "tool_calls", "native_finish_reason": "tool_use"}),
        ("pause_turn", {}, {"finish_reason": "pause_turn"}),
        (
            "refusal",
            {"stop_details": {"type": "refusal", "category": "bio"}},
            {
                "finish_reason": "content_filter",
                "native_finish_reason": "refusal",
                "content_filter_results": {"type": "refusal", "category": "bio"},
            },
        ),
    ],
)
def test_the_last_chunk_with_a_choice_says_why(reason: str, fields: Json, expected: Json) -> None:
    last = chunks_of([started(), *text_events(0, "a"), *ended(reason, **fields)])[-2]
    assert last["choices"] == [{"index": 0, "delta": {}, **expected}]


START: Json = {
    "input_tokens": 2050,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 5},
    "output_tokens": 8,
    "service_tier": "standard",
}


@pytest.mark.parametrize(
    ("later", "prompt", "completion", "further"),
    [
        ({"output_tokens": 3}, 2055, 3, {}),
        ({"input_tokens": 31_772, "output_tokens": 644}, 31_777, 644, {}),
        ({"input_tokens": None, "output_tokens": 3, "cache_read_input_tokens": 7}, 2062, 3, {}),
        (
            {"output_tokens": 3, "server_tool_use": {"web_search_requests": 2}},
            2055,
            3,
            {"server_tool_use": {"web_search_requests": 2}},
        ),
    ],
)
def test_later_counts_replace_the_first_one_by_one(later: Json, prompt: int, completion: int, further: Json) -> None:
    last = chunks_of([started(START), *text_events(0, "a"), *ended(usage=later)])[-1]
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, completion)
    assert usage["prompt_tokens_details"]["cache_write_1h_tokens"] == 5
    assert {name: usage[name] for name in further} == further
    assert last["service_tier"] == "standard"


def test_without_counts_there_is_no_usage() -> None:
    events = [
        {"type": "message_start", "message": {}},
        *text_events(0, "a"),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    chunks = chunks_of(events)
    assert chunks[0]["id"] == "chatcmpl-own"
    assert "usage" not in chunks[-1]


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (None, {"input_tokens": 5, "output_tokens": 3}, (5, 3)),
        ({"input_tokens": 5, "output_tokens": 1}, None, (5, 1)),
    ],
)
def test_counts_may_come_at_one_end_only(first: Json | None, later: Json | None, expected: tuple[int, int]) -> None:
    events = [started() | {"message": {"usage": first}}, *text_events(0, "a"), *ended()]
    events[-2]["usage"] = later
    usage = chunks_of(events)[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == expected


def test_a_sum_of_counts_that_is_out_of_range_is_malformed() -> None:
    with pytest.raises(Malformed):
        chunks_of([started({"input_tokens": 2**32 - 1}), *text_events(0, "a"), *ended(usage={"output_tokens": 5})])


@pytest.mark.parametrize("is_before", [False, True])
def test_a_second_end_of_the_answer_adds_to_the_first(is_before: bool) -> None:  # noqa: FBT001 - a parameter
    further: Json = {
        "type": "message_delta",
        "delta": {"stop_reason": None, "container": {"id": "c"}},
        "usage": {"output_tokens": 7},
    }
    end = ended("stop_sequence", {}, stop_sequence="END")[0]
    ends = [further, end] if is_before else [end, further]
    chunks = chunks_of([started(), *text_events(0, "a"), *ends, ended()[1]])
    assert chunks[-3]["choices"][0]["delta"] == told({"container": {"id": "c"}})
    last = chunks[-2]["choices"][0]
    assert (last["finish_reason"], last["stop_sequence"]) == ("stop", "END")
    assert chunks[-1]["usage"]["completion_tokens"] == 7


WHOLE = [
    started(START),
    PING,
    *block_events(
        0, THINKING, {"type": "thinking_delta", "thinking": "é"}, {"type": "signature_delta", "signature": "s"}
    ),
    *text_events(1, "a👍", "b"),
    *block_events(2, SEARCH, piece('{"query": "x"}')),
    *block_events(3, FOUND),
    *block_events(
        4,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "c"},
        {"type": "citations_delta", "citation": WEB},
    ),
    *block_events(5, use("f"), piece('{"a": '), piece("1}")),
    *ended("tool_use"),
]


def test_every_split_gives_the_same_chunks() -> None:
    data = sse(WHOLE)
    expected = chunks_of_bytes([data])
    for place in range(1, len(data)):
        assert chunks_of_bytes([data[:place], data[place:]]) == expected
    assert chunks_of_bytes([data[i : i + 1] for i in range(len(data))]) == expected


@pytest.mark.parametrize("count", range(len(WHOLE)))
def test_a_cut_at_any_event_is_no_end(count: int) -> None:
    with pytest.raises(Interrupted) as caught:
        chunks_of(WHOLE[:count])
    assert caught.value.metadata == {"provider": "acme"}


def test_no_chunk_of_a_cut_stream_has_a_finish_reason() -> None:
    translator = StreamTranslator("acme", call_of({}))
    chunks = [chunk for item in WHOLE[:-1] for chunk in translator.translate(event_of(item))]
    assert not translator.is_over
    assert all(choice.finish_reason.WhichOneof("kind") == "null_value" for chunk in chunks for choice in chunk.choices)
    translator.translate(event_of(WHOLE[-1]))
    assert translator.is_over


def test_an_end_without_a_reason_is_no_end() -> None:
    with pytest.raises(Interrupted):
        chunks_of([started(), *text_events(0, "a"), *ended(None)])
    with pytest.raises(Interrupted):
        chunks_of([started(), *text_events(0, "a"), {"type": "message_stop"}])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", Unavailable),
        ("api_error", Unavailable),
        ("rate_limit_error", RateLimited),
        ("authentication_error", Auth),
        ("invalid_request_error", Rejected),
        ("later_error", Interrupted),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_failure_in_midstream_is_raised(kind: str, expected: type[UpstreamError], before: int) -> None:
    failure = {"type": "error", "error": {"type": kind, "message": CANARY}}
    with pytest.raises(UpstreamError) as caught:
        chunks_of([*WHOLE[:before], failure])
    assert type(caught.value) is expected
    assert CANARY not in caught.value.message


def test_a_failure_whose_event_has_no_name_is_raised() -> None:
    translator = StreamTranslator("acme", call_of({}))
    data = json.dumps({"type": "error", "error": {"type": "overloaded_error"}}).encode()
    with pytest.raises(Unavailable):
        translator.translate(SseEvent("message", data))


@pytest.mark.parametrize("data", [b'{"error": {"type": "overloaded_error"}}', b'{"type": "ping"}', b"", b"x"])
def test_a_failure_that_only_the_event_names_is_raised(data: bytes) -> None:
    translator = StreamTranslator("acme", call_of({}))
    with pytest.raises(UpstreamError) as caught:
        translator.translate(SseEvent("error", data))
    assert type(caught.value) is (Unavailable if b"overloaded" in data else Interrupted)


@pytest.mark.parametrize("before", [[], text_events(1, "a"), text_events(0, "a")])
def test_a_piece_of_a_block_that_is_not_open_is_malformed(before: list[Json]) -> None:
    with pytest.raises(Malformed) as caught:
        chunks_of([started(), *before, text_events(0, CANARY)[1], *ended()])
    assert caught.value.metadata == {"provider": "acme"}
    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"type": 1}',
        b'{"type": "message_start"}',
        b'{"type": "message_start", "message": {"usage": {"input_tokens": "c4n4ry"}}}',
        b'{"type": "content_block_start", "index": 0}',
        b'{"type": "content_block_start", "index": -1, "content_block": {}}',
        b'{"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": 5}}',
        b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}',
        b'{"type": "message_delta", "delta": {"stop_reason": 5}}',
    ],
)
def test_an_event_of_another_form_is_malformed(data: bytes) -> None:
    translator = StreamTranslator("acme", call_of({}))
    for item in [started(), text_events(0)[0]]:
        translator.translate(event_of(item))
    with pytest.raises(Malformed) as caught:
        translator.translate(SseEvent("message", data))
    assert CANARY not in caught.value.message


def test_a_stop_reason_that_is_no_name_is_malformed() -> None:
    with pytest.raises(Malformed) as caught:
        chunks_of([started(), *ended(f"{CANARY} !")])
    assert CANARY not in caught.value.message


def test_reasoning_joined_by_index_is_that_of_the_whole_answer() -> None:
    joined = merged(chunks_of(WHOLE))["choices"][0]["message"]
    assert joined["reasoning_details"] == [detail(0, text="é", signature="s")]
    assert joined["content"] == "a👍bc"


@pytest.mark.parametrize(
    ("block", "delta"),
    [
        ({"type": "text", "text": ""}, {"type": "text_delta", "text": "word "}),
        (THINKING, {"type": "thinking_delta", "thinking": "word "}),
        (use("f"), {"type": "input_json_delta", "partial_json": '"word", '}),
    ],
)
def test_memory_does_not_grow_with_the_length_of_the_stream(block: Json, delta: Json) -> None:
    translator = StreamTranslator("acme", call_of({}))
    start, item, _ = (event_of(each) for each in block_events(0, block, delta))
    for each in (event_of(started()), start, item):
        translator.translate(each)
    tracemalloc.start()
    try:
        for _ in range(2000):
            translator.translate(item)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20_000):
            translator.translate(item)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
