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
    tracemalloc.start()
    feed(pieces, 200)
    before, _ = tracemalloc.get_traced_memory()
    feed(pieces, 10_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Text that was kept would take 90,000 bytes or more.
    assert after - before < 30_000


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
