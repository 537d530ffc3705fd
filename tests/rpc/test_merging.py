"""Chunks merged for a slow reader: whoever joins them gets the same message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Value
from hypothesis import given
from hypothesis import strategies as st

# The joining by itself: `ChatCompletionStreamState` keeps of some lists only the fields that the SDK's types know.
from openai.lib.streaming._deltas import accumulate_delta

from service._gen.parley.v1.chat_completion_pb2 import AudioOutput, ChatCompletionChunk, Delta, Usage
from service._gen.parley.v1.tool_pb2 import CustomToolCall, FunctionCall, ToolCallDelta
from service.json_values import Json, json_object
from service.rpc.merging import merged
from tests.support.json_form import json_of


def piece(delta: Delta | str, *, index: int = 0, finish: str | None = None, **fields: Any) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m", **fields)
    reason = Value(null_value=NULL_VALUE) if finish is None else Value(string_value=finish)
    delta = Delta(content=delta) if isinstance(delta, str) else delta
    chunk.choices.add(index=index, delta=delta, finish_reason=reason)
    return chunk


def usage() -> ChatCompletionChunk:
    counts = Usage(prompt_tokens=1, completion_tokens=3, total_tokens=4)
    return ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m", usage=counts)


def call(index: int, arguments: str, **head: Any) -> Delta:
    name = head.pop("name", None)
    return Delta(tool_calls=[ToolCallDelta(index=index, function=FunctionCall(name=name, arguments=arguments), **head)])


def details(**entry: Json) -> Delta:
    return Delta(reasoning_details=[json_object(entry)])


def message_of(chunks: list[ChatCompletionChunk]) -> dict[int, dict[str, Any]]:
    """What OpenAI's SDK makes of the chunks, by choice."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for told in json_of(chunk)["choices"]:
            choice = choices.setdefault(told["index"], {"message": {}, "finish": None, "logprobs": []})
            choice["message"] = accumulate_delta(choice["message"], told["delta"])
            choice["finish"] = told["finish_reason"] or choice["finish"]
            choice["logprobs"] += (told.get("logprobs") or {}).get("content", [])
    return choices


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


TEXT = st.text(max_size=3)
"""Also empty, and beyond ASCII."""


@dataclass
class _Counts:
    """How many of each a choice has had, which number the next."""

    calls: int = 0
    blocks: int = 0
    entries: int = 0


def _new_call(text: str, counts: _Counts) -> Delta:
    counts.calls += 1
    return call(counts.calls - 1, text, id=f"call_{counts.calls}", type="function", name="f")


def _new_custom_call(text: str, counts: _Counts) -> Delta:
    counts.calls += 1
    custom = CustomToolCall(name="c", input=text)
    return Delta(tool_calls=[ToolCallDelta(index=counts.calls - 1, id="c", type="custom", custom=custom)])


def _new_block(text: str, counts: _Counts) -> Delta:
    counts.blocks += 1
    return details(type="reasoning.text", text=text, index=counts.blocks - 1, format="f")


def _new_entries(text: str, counts: _Counts) -> Delta:
    counts.entries += 1
    number = counts.entries - 1
    return Delta(
        annotations=[json_object({"type": "url_citation", "index": number, "url": text})],
        provider_content=[json_object({"format": "x", "index": number, "block": {"a": text}})],
    )


SAYINGS: list[Callable[[str, _Counts], Delta]] = [
    lambda text, _: Delta(content=text),
    lambda text, _: Delta(refusal=text),
    lambda text, _: Delta(reasoning_content=text),
    lambda text, _: Delta(audio=AudioOutput(data=text)),
    _new_call,
    _new_custom_call,
    _new_block,
    _new_entries,
    # Of a call and of a block that are there, where there are any.
    lambda text, counts: call(counts.calls - 1, text) if counts.calls else Delta(content=text),
    lambda text, counts: call(0, text) if counts.calls else Delta(content=text),
    lambda text, counts: details(type="reasoning.text", text=text, index=max(counts.blocks - 1, 0)),
]


@st.composite
def streams(draw: st.DrawFn) -> list[ChatCompletionChunk]:
    """Choices whose pieces come in any order, each opened and most of them ended."""
    queues = []
    for index in range(draw(st.integers(1, 3))):
        chunks = [piece(Delta(role="assistant", content=""), index=index)]
        counts = _Counts()
        for saying in draw(st.lists(st.sampled_from(SAYINGS), max_size=12)):
            chunks.append(piece(saying(draw(TEXT), counts), index=index))
            if draw(st.booleans()):
                chunks[-1].choices[0].logprobs.content.add(token=draw(TEXT), logprob=-1.0)
        if draw(st.booleans()):
            chunks.append(piece(Delta(), index=index, finish="stop"))
        queues.append(chunks)
    stream = []
    while any(queues):
        queue = draw(st.sampled_from([each for each in queues if each]))
        stream.append(queue.pop(0))
    return [*stream, usage()]


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
