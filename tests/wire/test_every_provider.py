"""What holds for every API: streams take no memory, and say what a whole answer says."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalogue import Capabilities
from service.providers.anthropic import ANTHROPIC
from service.providers.chat_api import ChatApi
from service.providers.cohere import COHERE
from service.providers.delta_lists import DeltaLists
from service.providers.gemini import GEMINI
from service.providers.omissions import Omissions
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import DIALECTS
from service.providers.provider import Identity, ProviderCall
from service.providers.sse import SseEvent
from tests.recordings.contract import choice_of_chunks
from tests.support.json_form import json_of, to_proto

Json = dict[str, Any]


def call_of() -> ProviderCall:
    request = to_proto({"messages": [{"role": "user", "content": "x"}]})
    identity = Identity(id="chatcmpl-own", created=1, model="public")
    return ProviderCall(request, "gemini-2.5-flash", identity, Capabilities(), Omissions("acme", may_drop=False))


def event(data: Json) -> SseEvent:
    return SseEvent(data.get("type", "message"), json.dumps(data).encode())


def openai_delta(delta: Json, finish: str | None = None) -> Json:
    return {"id": "c", "created": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


LONG: dict[str, tuple[ChatApi, list[Json], list[Json]]] = {
    **{
        name: (openai_api(dialect), [], [openai_delta({"content": "some text"}), openai_delta({"reasoning": "hm"})])
        for name, dialect in DIALECTS.items()
    },
    "openai, calls": (
        openai_api(DIALECTS["openai"]),
        [openai_delta({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]})],
        [openai_delta({"tool_calls": [{"index": 0, "function": {"arguments": "some text"}}]})],
    ),
    "anthropic": (
        ANTHROPIC,
        [
            {"type": "message_start", "message": {"id": "m"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ],
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "some text"}}],
    ),
    "gemini": (GEMINI, [], [{"candidates": [{"content": {"parts": [{"text": "some text"}]}}]}]),
    "cohere": (
        COHERE,
        [{"type": "message-start", "id": "m"}],
        [{"type": "content-delta", "delta": {"message": {"content": {"text": "some text"}}}}],
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_memory_does_not_grow_with_the_length_of_a_stream(name: str) -> None:
    api, beginning, repeated = LONG[name]
    translator, lists = api.stream("acme", call_of()), DeltaLists()
    pieces = [event(piece) for piece in repeated]

    def feed(events: list[SseEvent], count: int) -> None:
        for number in range(count):
            for chunk in translator.translate(events[number % len(events)]):
                lists.number(chunk)

    feed([event(piece) for piece in beginning], len(beginning))
    feed(pieces, 200)
    grown = []
    for _ in range(3):  # tracemalloc counts what other threads do, too: the least of three is the stream's own
        tracemalloc.start()
        feed(pieces, 200)
        before, _ = tracemalloc.get_traced_memory()
        feed(pieces, 10_000)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        grown.append(after - before)

    # Text that was kept would take 90,000 bytes or more each time.
    assert min(grown) < 30_000, grown


EMPTY = {"index": 0, "delta": {}, "finish_reason": None}
WHOLE: dict[str, tuple[ChatApi, list[Json], list[Json]]] = {
    "openai": (
        openai_api(DIALECTS["openai"]),
        [openai_delta({"content": "a"}), openai_delta({"content": "b"}), openai_delta({}, "stop")],
        [{"object": "later.kind", "later": 1}, {"id": "c", "choices": []}],
    ),
    "anthropic": (
        ANTHROPIC,
        [
            {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "b"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ],
        [{"type": "later_kind", "index": 0, "later": [1]}, {"type": "ping"}],
    ),
    "gemini": (
        GEMINI,
        [
            {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "responseId": "r"},
            {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}], "responseId": "r"},
        ],
        [{"later": {"kind": 1}, "responseId": "r"}],
    ),
    "cohere": (
        COHERE,
        [
            {"type": "message-start", "id": "m"},
            {"type": "content-delta", "delta": {"message": {"content": {"text": "a"}}}},
            {"type": "content-delta", "delta": {"message": {"content": {"text": "b"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ],
        [{"type": "later-kind", "delta": {"later": 1}}],
    ),
}


def chunks_of(api: ChatApi, events: list[Json]) -> list[Json]:
    translator = api.stream("acme", call_of())
    end = [SseEvent("message", b"[DONE]")] if api not in (ANTHROPIC, GEMINI) else []
    chunks = [chunk for item in [*map(event, events), *end] for chunk in translator.translate(item)]
    return [json_of(chunk) for chunk in (*chunks, *translator.finish())]


def native(chunks: list[Json]) -> list[Json]:
    pieces = [piece["delta"] for chunk in chunks for piece in chunk["choices"]]
    return [entry for delta in pieces for entry in delta.get("provider_content", [])]


def with_later_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: with_later_fields(item) for name, item in value.items()} | {"later_field": {"a": [1, None]}}
    return [with_later_fields(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", WHOLE)
def test_fields_and_events_that_are_not_known_change_nothing(name: str) -> None:
    api, events, later = WHOLE[name]
    expected = chunks_of(api, events)
    assert "".join(piece["delta"].get("content", "") for chunk in expected for piece in chunk["choices"]) == "ab"

    with_fields = chunks_of(api, [with_later_fields(item) for item in events])
    for chunk in with_fields:  # what Gemini attaches to a text is kept there, whatever it is
        for piece in chunk["choices"]:
            piece["delta"].pop("provider_content", None)
    assert [chunk for chunk in with_fields if chunk["choices"] != [EMPTY]] == expected
    for place in range(1, len(events)):
        for noise in later:
            assert chunks_of(api, [*events[:place], noise, *events[place:]]) == expected, (place, noise)


def test_kinds_of_blocks_that_are_not_known_are_kept_for_the_way_back_or_let_pass() -> None:
    api, events, _ = WHOLE["anthropic"]
    block = {"type": "later_block", "data": "x"}
    start = {"type": "content_block_start", "index": 1, "content_block": block}
    delta = {"type": "content_block_delta", "index": 1, "delta": {"type": "later_delta", "x": 1}}
    stop = {"type": "content_block_stop", "index": 1}
    chunks = chunks_of(api, [*events[:4], start, stop, *events[4:]])
    assert native(chunks) == [{"format": "anthropic", "text_length": 2}, {"format": "anthropic", "block": block}]
    chunks = chunks_of(api, [*events[:4], start, delta, stop, *events[4:]])
    assert native(chunks) == [], "a block that can't be put together can't be sent back"

    api, events, _ = WHOLE["gemini"]
    part = {"candidates": [{"content": {"parts": [{"laterPart": {"x": 1}}]}}], "responseId": "r"}
    chunks = chunks_of(api, [events[0], part, events[1]])
    assert {"format": "gemini", "block": {"laterPart": {"x": 1}}} in native(chunks)


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces; none is empty but that of an empty text."""
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [piece for piece in (text[a:b] for a, b in zip([0, *ends], ends, strict=False)) if piece]


texts = st.text(min_size=1, max_size=20)
places = st.lists(st.integers(0, 20), max_size=4)
calls = st.lists(st.tuples(st.sampled_from(["f", "g"]), st.sampled_from(['{"a":1}', "{}", '{"é":"x y"}'])), max_size=3)


@given(
    content=st.none() | texts,
    reasoning=st.none() | texts,
    refusal=st.none() | texts,
    made=calls,
    sources=st.lists(texts, max_size=2),
    at=places,
    dialect=st.sampled_from(sorted(DIALECTS)),
)
def test_an_openai_stream_says_what_the_whole_answer_says(  # noqa: PLR0913 - one column for each part of an answer
    *,
    content: str | None,
    reasoning: str | None,
    refusal: str | None,
    made: list[tuple[str, str]],
    sources: list[str],
    at: list[int],
    dialect: str,
) -> None:
    message: Json = {"role": "assistant", "content": content, "refusal": refusal, "reasoning_content": reasoning}
    message["annotations"] = [{"type": "url_citation", "url_citation": {"url": source}} for source in sources]
    message["tool_calls"] = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(made)
    ]
    finish = "tool_calls" if made else "stop"
    whole = {"id": "c", "created": 1, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    deltas: list[Json] = [
        {name: piece}
        for name, text in (("reasoning_content", reasoning), ("content", content), ("refusal", refusal))
        for piece in cut(text or "", at)
    ]
    for number, (name, arguments) in enumerate(made):
        first, *rest = cut(arguments, at)
        begun = {"index": number, "id": f"c{number}", "type": "function"}
        deltas.append({"tool_calls": [begun | {"function": {"name": name, "arguments": first}}]})
        deltas += [{"tool_calls": [{"index": number, "function": {"arguments": piece}}]} for piece in rest]
    deltas += [{"annotations": [annotation]} for annotation in message["annotations"]]
    api = openai_api(DIALECTS[dialect])

    translator, lists = api.stream("acme", call_of()), DeltaLists()
    events = [event(openai_delta(delta)) for delta in deltas] + [event(openai_delta({}, finish))]
    chunks = [chunk for item in (*events, SseEvent("message", b"[DONE]")) for chunk in translator.translate(item)]
    for chunk in chunks:
        lists.number(chunk)
    streamed = choice_of_chunks([json_of(chunk) for chunk in (*chunks, *translator.finish())])
    told = json_of(api.translate("acme", json.dumps(whole).encode(), call_of()))["choices"][0]

    if not streamed["message"]["content"] and "content" not in told["message"]:
        del streamed["message"]["content"]  # a stream's first delta has an empty one
    assert streamed == told
