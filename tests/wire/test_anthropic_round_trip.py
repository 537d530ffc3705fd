"""What is said of any sequence of blocks: whole and streamed alike, and back again without a loss."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.anthropic_json import Json, collected
from tests.wire.anthropic_support import (
    answer_of,
    chunks_of,
    chunks_of_bytes,
    events_of_answer,
    merged,
    sent,
    sse,
    translated,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
NAMES = st.text("abc_", min_size=1, max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
OBJECTS = st.dictionaries(
    NAMES, SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2), max_size=3
)


def block(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"type": st.just(kind), **members})


WEB = block("web_search_result_location", url=TEXTS, title=st.none() | TEXTS, cited_text=TEXTS, encrypted_index=TEXTS)
PAGE = block("page_location", document_index=st.integers(0, 9), cited_text=TEXTS)
BLOCKS = st.one_of(
    block("text", text=TEXTS),
    block("text", text=TEXTS.filter(bool), citations=st.lists(WEB | PAGE, min_size=1, max_size=2)),
    block("thinking", thinking=TEXTS, signature=TEXTS.filter(bool)),
    block("redacted_thinking", data=TEXTS),
    block("tool_use", name=NAMES, input=OBJECTS),
    block("tool_use", name=NAMES, input=OBJECTS, caller=st.just({"type": "direct"})),
    block("server_tool_use", name=NAMES, input=OBJECTS),
    block("mcp_tool_result", tool_use_id=NAMES, content=st.lists(block("text", text=TEXTS), max_size=2)),
    block("later", x=OBJECTS),
)


@st.composite
def contents(draw: st.DrawFn) -> list[Json]:
    """Blocks as an answer may have them; calls have ids of their own."""
    blocks = draw(st.lists(BLOCKS, max_size=7))
    return [
        {**each, "id": f"toolu_{index}"} if each["type"] in {"tool_use", "server_tool_use"} else each
        for index, each in enumerate(blocks)
    ]


@given(contents())
@settings(deadline=None, max_examples=300)
def test_a_stream_says_what_the_whole_answer_says(content: list[Json]) -> None:
    answer = answer_of(content, "tool_use", container={"id": "c"})
    assert merged(chunks_of(events_of_answer(answer))) == translated(answer)


def sent_back(message: Json) -> list[Json]:
    """The blocks that the provider is sent for the message, between two of the user."""
    user = {"role": "user", "content": "a"}
    turns = sent({"messages": [user, message, user]})["messages"]
    return turns[1]["content"] if len(turns) > 1 else []


def can_be_sent(content: list[Json]) -> list[Json]:
    """Empty texts can't, nor white space where there is no other text: the API refuses them."""
    keeps_blank = any(each["text"].strip() for each in content if each["type"] == "text")
    return [
        each for each in content if each["type"] != "text" or each["text"].strip() or (each["text"] and keeps_blank)
    ]


@given(contents())
@settings(deadline=None, max_examples=300)
def test_an_answer_that_is_sent_back_is_what_the_provider_said(content: list[Json]) -> None:
    answer = answer_of(content, "tool_use", container={"id": "c"})
    assert sent_back(translated(answer)["choices"][0]["message"]) == can_be_sent(content)


@given(contents())
@settings(deadline=None, max_examples=100)
def test_so_is_one_whose_pieces_were_only_collected(content: list[Json]) -> None:
    chunks = chunks_of(events_of_answer(answer_of(content, "tool_use")))
    message = collected(chunks)["message"]
    assert sent_back(message) == can_be_sent(content)


@given(contents(), st.data())
@settings(deadline=None, max_examples=50)
def test_it_does_not_matter_how_the_bytes_are_cut(content: list[Json], data: st.DataObject) -> None:
    raw = sse(events_of_answer(answer_of(content)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=5)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert chunks_of_bytes(pieces) == chunks_of_bytes([raw])


@given(
    st.lists(
        st.sampled_from([b"{", b"}", b'"', b"data: ", b"\n\n", b"event: error", b'{"type": "ping"}', b"\xff"]),
        max_size=9,
    )
)
def test_no_bytes_make_the_translator_fail_otherwise_than_by_name(pieces: list[bytes]) -> None:
    start = sse(events_of_answer(answer_of([])))[:-20]
    try:
        chunks_of_bytes([start, *pieces])
    except Exception as error:  # noqa: BLE001 - the class is what is looked at
        assert type(error).__module__ == "service.errors"  # noqa: PT017
        json.dumps(str(error))
