"""Chunks merged for a slow reader: whoever joins them gets the same message."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk, Delta
from service._gen.parley.v1.tool_pb2 import FunctionCall
from service.json_values import json_object
from service.rpc.merging import merged
from tests.support.json_form import json_of
from tests.support.streams import call, details, message_of, piece, streams, usage


def test_texts_behind_each_other_become_one() -> None:
    chunks = [piece("Hel"), piece("lo "), piece("world")]

    assert [json_of(chunk) for chunk in merged(chunks)] == [json_of(piece("Hello world"))]


def test_the_opening_the_ending_and_the_usage_stay_chunks_of_their_own() -> None:
    opening, ending = piece(Delta(role="assistant", content="")), piece(Delta(), finish="stop")
    chunks = [opening, piece("a"), piece("b"), ending, usage()]

    assert merged(chunks) == [opening, piece("ab"), ending, usage()]


def test_the_chunks_that_are_given_stay_as_they_are() -> None:
    same = piece("x")

    assert merged([same, same, same]) == [piece("xxx")]
    assert same == piece("x")


def test_choices_are_merged_by_themselves() -> None:
    chunks = [piece("a"), piece("1", index=1), piece("b"), piece("2", index=1)]

    assert merged(chunks) == [piece("ab"), piece("12", index=1)]


def test_fragments_of_calls_are_joined_by_their_index() -> None:
    chunks = [
        piece(call(0, "", id="call_1", type="function", name="f")),
        piece(call(0, '{"a":')),
        piece(call(1, "{", id="call_2", type="function", name="g")),
        piece(call(0, "1}")),
        piece(call(1, "}")),
    ]
    (chunk,) = merged(chunks)

    told = json_of(chunk)["choices"][0]["delta"]["tool_calls"]
    assert [(each["index"], each["id"], each["function"]) for each in told] == [
        (0, "call_1", {"name": "f", "arguments": '{"a":1}'}),
        (1, "call_2", {"name": "g", "arguments": "{}"}),
    ]


def _filtered(text: str, level: str) -> ChatCompletionChunk:
    chunk = piece(text)
    chunk.choices[0].content_filter_results.CopyFrom(json_object({"hate": level}))
    return chunk


KEPT_APART: dict[str, Callable[[], tuple[ChatCompletionChunk, ChatCompletionChunk]]] = {
    "another id": lambda: (piece("a"), piece("b", service_tier="flex")),
    "another fingerprint": lambda: (piece("a"), piece("b", system_fingerprint="f")),
    "other filter results": lambda: (_filtered("a", "safe"), _filtered("b", "low")),
    "a call whose head is told twice": lambda: (piece(call(0, "", id="a")), piece(call(0, "", id="a"))),
    "a call whose head is told anew, and empty": lambda: (
        piece(call(0, "", id="a", type="function", name="f")),
        piece(call(0, "{", id="", type="", name="")),
    ),
    "a function whose name is told anew, and empty": lambda: (
        piece(Delta(function_call=FunctionCall(name="f", arguments=""))),
        piece(Delta(function_call=FunctionCall(name="", arguments="{"))),
    ),
    "a block of another type": lambda: (
        piece(details(index=0, type="reasoning.text", text="a")),
        piece(details(index=0, type="reasoning.encrypted", data="b")),
    ),
    "a block without a number": lambda: (
        piece(details(type="reasoning.text", text="a")),
        piece(details(type="reasoning.text", text="b")),
    ),
    "an entry of the same number": lambda: (
        piece(Delta(annotations=[json_object({"index": 0, "a": 1})])),
        piece(Delta(annotations=[json_object({"index": 0, "b": 1})])),
    ),
    "a number that would be added up": lambda: (
        piece(details(index=0, type="t", at=1)),
        piece(details(index=0, type="t", at=1)),
    ),
}


@pytest.mark.parametrize("case", KEPT_APART)
def test_what_cannot_be_joined_safely_stays_apart(case: str) -> None:
    first, second = KEPT_APART[case]()

    assert merged([first, second]) == [first, second]


def test_equal_filter_results_do_not_keep_pieces_apart() -> None:
    (chunk,) = merged([_filtered("a", "safe"), _filtered("b", "safe")])

    assert chunk == _filtered("ab", "safe")


TEXTS: dict[str, Callable[[str], Delta]] = {
    "content": lambda text: Delta(content=text),
    "refusal": lambda text: Delta(refusal=text),
    "reasoning_content": lambda text: Delta(reasoning_content=text),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_equal_are_joined_like_others(name: str) -> None:
    chunks = [piece(TEXTS[name](text)) for text in ("ha", "ha", "", "ha")]

    assert merged(chunks) == [piece(TEXTS[name]("hahaha"))]


def test_a_text_behind_one_of_another_kind_is_joined_to_it() -> None:
    chunks = [piece(Delta(reasoning_content="so")), piece(Delta(reasoning_content=".")), piece("Yes"), piece(".")]

    assert merged(chunks) == [piece(Delta(reasoning_content="so.", content="Yes."))]


def test_of_equal_pieces_with_log_probabilities_none_is_lost() -> None:
    chunk = piece("ha")
    chunk.choices[0].logprobs.content.add(token="ha", logprob=-0.5)
    (told,) = merged([chunk, chunk, chunk])

    assert told.choices[0].delta.content == "hahaha"
    assert [entry.token for entry in told.choices[0].logprobs.content] == ["ha"] * 3


@given(streams(), st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_merging_any_run_of_chunks_changes_no_message(stream: list[ChatCompletionChunk], lengths: list[int]) -> None:
    told: list[ChatCompletionChunk] = []
    rest = list(stream)
    for length in [*lengths, len(stream)]:
        told += merged(rest[:length])
        rest = rest[length:]

    assert message_of(told) == message_of(stream)
    assert told[-1] == usage()
    assert len(told) <= len(stream)
