"""An answer that is sent back becomes the parts that Gemini wrote, but for thoughts without a signature."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.gemini_support import (
    OLD,
    USER,
    Json,
    candidate,
    chunks_of,
    contents,
    merged,
    message_of,
    sse,
    with_whole_details,
)

AT_ANY_SPEED = settings(deadline=None)
"""A busy machine is no failure."""
TEXT = st.text(alphabet="ab é😀\n", max_size=5)
SIGNATURE = st.sampled_from(["", "c2ln", "c2lnbg=="])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)


def _signed(part: Json, signature: str) -> Json:
    return part | ({"thoughtSignature": signature} if signature else {})


def _written(signature: st.SearchStrategy[str]) -> list[st.SearchStrategy[Json]]:
    """Text, thoughts and calls."""
    call = st.builds(
        lambda args: {"functionCall": {"name": "f", "args": args}}, st.dictionaries(TEXT, JSON, max_size=3)
    )
    return [
        st.builds(_signed, st.builds(lambda text: {"text": text}, TEXT), signature),
        st.builds(_signed, st.builds(lambda text: {"text": text, "thought": True}, TEXT), signature),
        st.builds(_signed, call, signature),
    ]


UNSIGNED = st.lists(st.one_of(*_written(st.just(""))), max_size=8)
ANY = st.lists(
    st.one_of(
        *_written(SIGNATURE),
        st.builds(_signed, st.builds(lambda code: {"executableCode": {"code": code}}, TEXT), SIGNATURE),
        st.builds(lambda value: {"toolResponse": {"response": value}}, JSON),
        st.just({"inlineData": {"mimeType": "image/png", "data": "aW1n"}}),
    ),
    max_size=8,
)
PARTS = UNSIGNED | ANY


def expected(parts: list[Json]) -> list[Json]:
    """What has to go back: without unsigned thoughts and empty texts, neighbouring bare texts joined."""
    told: list[Json] = []
    calls = 0
    block: Json | None = None  # the signed thought that is being written
    for part in parts:
        if part.get("thought"):
            if part["text"] or "thoughtSignature" in part:
                block = {"text": (block or {"text": ""})["text"] + part["text"], "thought": True}
            if "thoughtSignature" in part and block is not None:
                told.append(block | {"thoughtSignature": part["thoughtSignature"]})
                block = None
            continue
        if part == {"text": ""}:
            continue
        block = None
        if "functionCall" in part:
            part = {**part, "functionCall": {"id": f"call_r1_0_{calls}", **part["functionCall"]}}  # noqa: PLW2901
            calls += 1
        if set(part) == {"text"} and told and set(told[-1]) == {"text"}:
            told[-1] = {"text": told[-1]["text"] + part["text"]}
        else:
            told.append(part)
    return told


def sent_back(message: Json) -> list[Json]:
    """The parts that the message becomes, neighbouring bare texts joined."""
    says_something = any(message.get(name) for name in ("content", "tool_calls", "reasoning_details"))
    if not says_something and not message.get("provider_content"):
        return []
    turns = contents([USER, message], OLD)[1:]
    told: list[Json] = []
    for part in turns[0]["parts"] if turns else ():
        if set(part) == {"text"} and told and set(told[-1]) == {"text"}:
            told[-1] = {"text": told[-1]["text"] + part["text"]}
        else:
            told.append(part)
    return told


def streamed(*parts: Json) -> Json:
    """The message of a stream with a part in each event; its lists stay as they came."""
    events: list[Any] = [{"candidates": [candidate(part, reason=None)], "responseId": "r1"} for part in parts]
    (choice,) = merged(chunks_of([sse(*events, {"candidates": [candidate()], "responseId": "r1"})]))
    message: Json = choice["message"]
    return message


@given(PARTS)
@AT_ANY_SPEED
def test_a_whole_answer_goes_back_as_it_came(parts: list[Json]) -> None:
    assert sent_back(message_of(*parts)) == expected(parts)


@given(PARTS)
@AT_ANY_SPEED
def test_a_streamed_answer_goes_back_as_it_came(parts: list[Json]) -> None:
    assert sent_back(streamed(*parts)) == expected(parts)


@given(PARTS)
@AT_ANY_SPEED
def test_a_stream_says_what_the_whole_answer_says(parts: list[Json]) -> None:
    told = with_whole_details({"message": streamed(*parts)})["message"]

    assert json.dumps(told, sort_keys=True) == json.dumps(message_of(*parts), sort_keys=True)
