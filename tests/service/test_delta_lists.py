"""What a stream adds to lists, numbered so that OpenAI's SDK can join it."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Value
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk as SdkChunk

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk, Delta
from service.json_values import Json, json_object
from service.providers.delta_lists import DeltaLists
from tests.support.json_form import json_of

TEXT = {"type": "reasoning.text", "format": "f", "index": 0}


def numbered(*deltas: tuple[int, Delta]) -> list[dict[str, Any]]:
    lists, chunks = DeltaLists(), []
    for choice, delta in deltas:
        chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
        chunk.choices.add(index=choice, delta=delta, finish_reason=Value(null_value=NULL_VALUE))
        lists.number(chunk)
        chunks.append(json_of(chunk))
    return chunks


def details(*entries: dict[str, Any]) -> Delta:
    return Delta(reasoning_details=[json_object(entry) for entry in entries])


def test_entries_are_numbered_by_choice_and_list() -> None:
    a, b = json_object({"a": 1}), json_object({"b": 1})
    chunks = numbered(
        (0, Delta(annotations=[a, b], provider_content=[a])),
        (1, Delta(annotations=[a])),
        (0, Delta(annotations=[a], provider_content=[b])),
    )

    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"annotations": [{"a": 1, "index": 0}, {"b": 1, "index": 1}], "provider_content": [{"a": 1, "index": 0}]},
        {"annotations": [{"a": 1, "index": 0}]},
        {"annotations": [{"a": 1, "index": 2}], "provider_content": [{"b": 1, "index": 1}]},
    ]


def test_a_number_of_the_providers_own_is_kept() -> None:
    (chunk,) = numbered((0, Delta(annotations=[json_object({"index": 7})])))

    assert chunk["choices"][0]["delta"]["annotations"] == [{"index": 7}]


def test_a_reasoning_blocks_format_is_told_once() -> None:
    chunks = numbered(
        (0, details(TEXT | {"text": "a"})),
        (0, details(TEXT | {"text": "b"}, {"type": "reasoning.encrypted", "format": "f", "index": 0, "data": "d"})),
        (0, details(TEXT | {"index": 1, "text": "c"})),
        (1, details(TEXT | {"text": "d"})),
    )

    told = [[detail.get("format") for detail in c["choices"][0]["delta"]["reasoning_details"]] for c in chunks]
    assert told == [["f"], [None, "f"], ["f"], ["f"]]


def test_openais_sdk_joins_what_was_numbered() -> None:
    first = Delta(role="assistant", content="")
    block: dict[str, Json] = {"format": "anthropic", "block": {"type": "x"}}
    chunks = numbered(
        (0, first),
        (0, details(TEXT | {"text": "a"})),
        (0, details(TEXT | {"text": "b"})),
        (0, details({"type": "reasoning.text", "signature": "s", "format": "f", "index": 0})),
        (0, Delta(provider_content=[json_object(block)], annotations=[json_object({"a": 1})])),
        (0, Delta(provider_content=[json_object(block)], annotations=[json_object({"a": 2})])),
    )

    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(SdkChunk.model_validate(chunk))

    message = state.current_completion_snapshot.choices[0].message.to_dict()
    assert message["reasoning_details"] == [TEXT | {"text": "ab", "signature": "s"}]
    assert message["provider_content"] == [block | {"index": 0}, block | {"index": 1}]
    annotations: Any = message["annotations"]
    assert [(annotation["a"], annotation["index"]) for annotation in annotations] == [(1, 0), (2, 1)]
