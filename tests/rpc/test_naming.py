"""What answers are called: the same whole and in pieces, and nothing that OpenAI's clients stumble over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk as SdkChunk

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.answers.joining import Joining
from service.rpc.merging import merged
from service.rpc.naming import Naming
from tests.support.chunks import ending, opening, saying, usage_of, whole
from tests.support.json_form import json_of

SESSION = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
ID = UUID("0192f0c1-2a3b-7c4d-8e5f-60718293a400")
NAMINGS: dict[str, tuple[UUID | None, str | None]] = {
    "not stored": (None, None),
    "not stored, another model": (None, "smart"),
    "stored": (ID, None),
    "stored, another model": (ID, "smart"),
}


def stream() -> list[ChatCompletionChunk]:
    texts = [saying("a"), saying("b", index=1), saying("c")]
    return [opening(), opening(index=1), *texts, ending(), ending(index=1), usage_of()]


def answer() -> ChatCompletion:
    completion = whole("ac")
    completion.choices.add(index=1, finish_reason="stop").message.CopyFrom(completion.choices[0].message)
    completion.choices[1].message.content = "b"
    return completion


def named_stream(*args: Any) -> list[ChatCompletionChunk]:
    naming, chunks = Naming(SESSION, *args), stream()
    for chunk in chunks:
        naming.chunk(chunk)
    return chunks


def joined(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    joining = Joining()
    for chunk in chunks:
        joining.take(chunk)
    return joining.completion()


@pytest.mark.parametrize("case", NAMINGS)
def test_pieces_are_named_as_the_whole_is(case: str) -> None:
    completion = answer()
    Naming(SESSION, *NAMINGS[case]).whole(completion)

    assert json_of(joined(named_stream(*NAMINGS[case]))) == json_of(completion)


def test_what_is_not_stored_keeps_its_providers_name_and_gets_its_session() -> None:
    expected = answer()
    expected.session_id = SESSION
    completion = answer()
    Naming(SESSION).whole(completion)

    assert completion == expected


def test_what_is_stored_gets_the_names_that_it_is_stored_under() -> None:
    completion = answer()
    Naming(SESSION, ID, "smart").whole(completion)

    assert (completion.id, completion.session_id) == ("chatcmpl-0192f0c12a3b7c4d8e5f60718293a400", SESSION)
    assert [(choice.completion_id, choice.model, choice.message.id) for choice in completion.choices] == [
        ("0192f0c1-2a3b-7c4d-8e5f-60718293a401", "smart", "msg_0192f0c12a3b7c4d8e5f60718293a401"),
        ("0192f0c1-2a3b-7c4d-8e5f-60718293a402", "smart", "msg_0192f0c12a3b7c4d8e5f60718293a402"),
    ]


def test_each_thing_is_said_once_of_a_stream_and_its_id_on_every_piece() -> None:
    chunks = named_stream(ID, "smart")
    choices = [choice for chunk in chunks for choice in chunk.choices]

    assert {chunk.id for chunk in chunks} == {"chatcmpl-0192f0c12a3b7c4d8e5f60718293a400"}
    assert [chunk.session_id for chunk in chunks] == [SESSION, *[""] * (len(chunks) - 1)]
    assert [choice.model for choice in choices] == ["smart", "smart", *[""] * (len(choices) - 2)]
    assert [bool(choice.completion_id) for choice in choices] == [True, True, *[False] * (len(choices) - 2)]
    assert [bool(choice.delta.id) for choice in choices] == [True, True, *[False] * (len(choices) - 2)]


def test_the_session_is_told_with_the_first_choice() -> None:
    naming, first, second = Naming(SESSION), usage_of(), opening()
    naming.chunk(first)
    naming.chunk(second)

    assert (first.session_id, second.session_id) == ("", SESSION)


def test_a_choice_beyond_those_that_can_be_asked_for_has_no_name() -> None:
    naming, chunk, completion = Naming(SESSION, ID), opening(index=128), answer()
    completion.choices[1].index = 128
    naming.chunk(chunk)
    naming.whole(completion)

    assert not chunk.choices[0].HasField("completion_id")
    assert [choice.HasField("completion_id") for choice in completion.choices] == [True, False]


@pytest.mark.parametrize("case", NAMINGS)
def test_names_survive_a_slow_reader(case: str) -> None:
    chunks = named_stream(*NAMINGS[case])

    assert joined(merged(chunks)) == joined(chunks)


@pytest.mark.parametrize("case", NAMINGS)
def test_openais_client_joins_a_named_stream_as_any_other(case: str) -> None:
    state = ChatCompletionStreamState()
    for chunk in named_stream(*NAMINGS[case]):
        state.handle_chunk(SdkChunk.model_validate({"choices": [], **json_of(chunk)}))
    completion: dict[str, Any] = state.get_final_completion().to_dict()
    expected = answer()
    Naming(SESSION, *NAMINGS[case]).whole(expected)

    for theirs, ours in zip(completion.pop("choices"), json_of(expected)["choices"], strict=True):
        assert {name: theirs[name] for name in ours if name != "message"} | {"message": ours["message"]} == ours
        assert {name: theirs["message"][name] for name in ours["message"]} == ours["message"]
    assert completion["id"] == expected.id
    assert completion["session_id"] == SESSION
