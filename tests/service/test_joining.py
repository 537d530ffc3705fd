"""A stream's chunks joined: what comes of them is what the answer in one piece would have been."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service._gen.parley.v1.chat_completion_pb2 import AudioOutput, ChatCompletionChunk, Delta
from service._gen.parley.v1.tool_pb2 import CustomToolCall, FunctionCall, ToolCallDelta, ToolEvent
from service.answers.joining import Joining
from service.json_values import Json, json_object
from service.rpc.merging import merged
from tests.support.chunks import ending, opening, saying, usage_of, whole
from tests.support.json_form import json_of
from tests.support.streams import call, details, message_of, piece, streams

_NUMBERED = ("tool_calls", "annotations", "provider_content")
_TEXTS = ("content", "refusal", "reasoning_content")


def joined(*chunks: ChatCompletionChunk) -> dict[str, Any]:
    joining = Joining()
    for chunk in chunks:
        joining.take(chunk)
    return json_of(joining.completion())


def message(*deltas: Delta) -> dict[str, Any]:
    (choice,) = joined(*map(piece, deltas))["choices"]
    told: dict[str, Any] = choice["message"]
    return told


def test_a_stream_becomes_the_answer_in_one_piece() -> None:
    chunks = [opening(), saying("Hel"), saying("lo!"), ending(), usage_of()]

    assert joined(*chunks) == json_of(whole("Hello!"))


def test_the_chunks_may_change_afterwards() -> None:
    joining, chunk = Joining(), piece(details(type="reasoning.text", index=0, text="a", n=1))
    joining.take(chunk)
    before = joining.completion()
    chunk.Clear()

    assert joining.completion() == before
    assert before.choices[0].message.reasoning_details == [
        json_object({"type": "reasoning.text", "index": 0, "text": "a", "n": 1})
    ]


def test_a_part_of_an_answer_is_told_as_far_as_it_has_come() -> None:
    joining = Joining()
    for chunk in (opening(), saying("Hel")):
        joining.take(chunk)

    first = joining.completion()
    joining.take(saying("lo!"))
    assert (first.choices[0].message.content, first.choices[0].finish_reason) == ("Hel", "")
    assert joining.completion().choices[0].message.content == "Hello!"


def test_something_has_come_with_the_first_choice() -> None:
    nothing, something = Joining(), Joining()
    nothing.take(usage_of())
    something.take(opening())

    assert [nothing.has_choices, something.has_choices] == [False, True]


def test_choices_stand_by_their_index_whatever_came_first() -> None:
    chunks = [opening(index=1), saying("b", index=1), opening(), saying("a"), ending("length", index=1), ending()]

    told = joined(*chunks)["choices"]
    assert [(each["index"], each["message"]["content"], each["finish_reason"]) for each in told] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_what_is_told_beside_the_pieces_is_kept() -> None:
    first = piece(Delta(role="assistant", content="", id="msg_1"), session_id="s", service_tier="flex")
    first.choices[0].completion_id, first.choices[0].model = "c", "smart"
    first.moderation.CopyFrom(json_object({"input": "ok"}))
    filtered = piece("x", system_fingerprint="f")
    filtered.choices[0].content_filter_results.CopyFrom(json_object({"hate": "safe", "violence": "safe"}))
    last = piece(Delta(), finish="stop")
    last.choices[0].content_filter_results.CopyFrom(json_object({"hate": "low"}))
    last.choices[0].native_finish_reason, last.choices[0].stop_sequence = "end_turn", "END"
    last.moderation.CopyFrom(json_object({"output": "ok"}))

    told = joined(first, filtered, last)
    choice = told.pop("choices")[0]
    assert told == {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "session_id": "s",
        "service_tier": "flex",
        "system_fingerprint": "f",
        "moderation": {"input": "ok", "output": "ok"},
    }
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "x", "id": "msg_1"},
        "finish_reason": "stop",
        "completion_id": "c",
        "model": "smart",
        "content_filter_results": {"hate": "low", "violence": "safe"},
        "native_finish_reason": "end_turn",
        "stop_sequence": "END",
    }


def test_fragments_of_calls_become_calls() -> None:
    extra = json_object({"google": {"thought_signature": "abc"}})
    custom = ToolCallDelta(index=2, id="call_3", type="custom", custom=CustomToolCall(name="sh", input="l"))
    told = message(
        call(1, "", id="call_2", type="function", name="g"),
        call(0, '{"a":', id="call_1", type="function", name="f", extra_content=extra),
        call(0, "1}", id="", type="", name=""),
        Delta(tool_calls=[custom]),
        Delta(tool_calls=[ToolCallDelta(index=2, custom=CustomToolCall(input="s"))]),
    )

    assert told["tool_calls"] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":1}'},
            "extra_content": {"google": {"thought_signature": "abc"}},
        },
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"id": "call_3", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
    ]


def test_the_deprecated_function_call_is_joined() -> None:
    told = message(
        Delta(function_call=FunctionCall(name="f", arguments="")),
        Delta(function_call=FunctionCall(arguments="{")),
        Delta(function_call=FunctionCall(name="", arguments="}")),
    )

    assert told["function_call"] == {"name": "f", "arguments": "{}"}


def test_sound_is_joined() -> None:
    told = message(
        Delta(audio=AudioOutput(id="audio_1", transcript="Hel")),
        Delta(audio=AudioOutput(data="AAAA", transcript="lo")),
        Delta(audio=AudioOutput(data="BBBB", expires_at=9)),
    )

    assert told["audio"] == {"id": "audio_1", "data": "AAAABBBB", "transcript": "Hello", "expires_at": 9}


BLOCKS: dict[str, tuple[list[dict[str, Json]], list[dict[str, Json]]]] = {
    "pieces of one block, its format told once": (
        [
            {"type": "reasoning.text", "index": 0, "text": "a", "format": "f"},
            {"type": "reasoning.text", "index": 0, "text": "b"},
            {"type": "reasoning.text", "index": 0, "signature": "s"},
        ],
        [{"type": "reasoning.text", "index": 0, "text": "ab", "format": "f", "signature": "s"}],
    ),
    "blocks of two types under one index": (
        [
            {"type": "reasoning.text", "index": 0, "text": "a"},
            {"type": "reasoning.encrypted", "index": 0, "data": "x"},
            {"type": "reasoning.text", "index": 0, "text": "b"},
        ],
        [
            {"type": "reasoning.text", "index": 0, "text": "ab"},
            {"type": "reasoning.encrypted", "index": 0, "data": "x"},
        ],
    ),
    "a piece that leaves the type out": (
        [{"type": "reasoning.text", "index": 0, "text": "a"}, {"index": 0, "text": "b"}],
        [{"type": "reasoning.text", "index": 0, "text": "ab"}],
    ),
    "blocks without an index": (
        [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}],
        [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}],
    ),
    "null until there is a value, and again behind it": (
        [
            {"type": "t", "index": 0, "text": "a", "signature": None},
            {"type": "t", "index": 0, "text": None, "signature": "s"},
            {"type": "t", "index": 0, "signature": None},
        ],
        [{"type": "t", "index": 0, "text": "a", "signature": "s"}],
    ),
    "what is no text": (
        [{"type": "t", "index": 0, "n": 1, "list": [1]}, {"type": "t", "index": 0, "n": 2}],
        [{"type": "t", "index": 0, "n": 2, "list": [1]}],
    ),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_pieces_of_reasoning_become_blocks(case: str) -> None:
    pieces, blocks = BLOCKS[case]

    assert message(*(details(**each) for each in pieces))["reasoning_details"] == blocks
    together = Delta(reasoning_details=[json_object(each) for each in pieces])
    assert message(together)["reasoning_details"] == blocks


def test_entries_of_lists_lose_the_number_that_streams_give_them() -> None:
    told = message(
        Delta(annotations=[json_object({"type": "url_citation", "index": 0, "url": "a"})]),
        Delta(
            annotations=[json_object({"type": "url_citation", "index": 1, "url": "b"})],
            provider_content=[json_object({"format": "f", "block": {"index": 5}, "index": 0})],
        ),
    )

    assert told["annotations"] == [{"type": "url_citation", "url": "a"}, {"type": "url_citation", "url": "b"}]
    assert told["provider_content"] == [{"format": "f", "block": {"index": 5}}]


def test_server_side_tools_stand_by_their_number() -> None:
    events = [ToolEvent(index=index, id=f"call_{index}", tool="files__read", duration_ms=0) for index in (1, 0)]
    told = message(*(Delta(tool_events=[event]) for event in events))

    assert [event["index"] for event in told["tool_events"]] == [0, 1]
    assert told["tool_events"][0] == json_of(events[1])


def test_log_probabilities_are_appended() -> None:
    chunks = [piece("a"), piece("b")]
    for chunk in chunks:
        chunk.choices[0].logprobs.content.add(token=chunk.choices[0].delta.content, logprob=-1.0)
    chunks[1].choices[0].logprobs.refusal.add(token="no", logprob=-2.0)

    assert joined(*chunks)["choices"][0]["logprobs"] == {
        "content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -1.0}],
        "refusal": [{"token": "no", "logprob": -2.0}],
    }


def as_whole(choice: dict[str, Any]) -> dict[str, Any]:
    """What the SDK has joined, in the form of an answer in one piece."""
    told = dict(choice["message"])
    for name in _NUMBERED:
        for entry in told.get(name, ()):
            del entry["index"]
    for name in _TEXTS:
        if not told.get(name):
            told.pop(name, None)
    for member in ("data", "transcript"):
        if "audio" in told and not told["audio"].get(member):
            told["audio"].pop(member, None)
    if told.get("audio") == {}:
        del told["audio"]
    return {"message": told, "finish": choice["finish"], "logprobs": choice["logprobs"]}


@given(streams())
def test_any_stream_is_joined_as_openais_client_joins_it(stream: list[ChatCompletionChunk]) -> None:
    theirs = {index: as_whole(choice) for index, choice in message_of(stream).items()}
    ours = {}
    for choice in joined(*stream)["choices"]:
        logprobs = choice.get("logprobs", {}).get("content", [])
        ours[choice["index"]] = {
            "message": choice["message"],
            "finish": choice.get("finish_reason"),
            "logprobs": logprobs,
        }

    assert ours == theirs


@given(streams(), st.integers(2, 20))
def test_merged_chunks_are_joined_to_the_same(stream: list[ChatCompletionChunk], length: int) -> None:
    runs = [stream[start : start + length] for start in range(0, len(stream), length)]

    assert joined(*(chunk for run in runs for chunk in merged(run))) == joined(*stream)


def _joining_s(pieces: int) -> float:
    chunks = [piece(call(0, "x" * 20, id="a", type="function", name="f")), *[piece(call(0, "y" * 20))] * pieces]
    chunks += [saying("z" * 20)] * pieces + [piece(details(type="t", index=0, text="w" * 20))] * pieces
    best = float("inf")
    for _ in range(3):
        joining, started = Joining(), time.perf_counter()
        for chunk in chunks:
            joining.take(chunk)
        joining.completion()
        best = min(best, time.perf_counter() - started)
    return best


def test_joining_takes_time_that_grows_with_the_number_of_pieces() -> None:
    # With its square, it would be 100 times; the machine may be busy.
    assert _joining_s(20_000) < 40 * _joining_s(2_000)
