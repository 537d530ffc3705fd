"""Streams of pieces in any order, and what OpenAI's SDK joins them to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Value
from hypothesis import strategies as st

# The joining by itself: `ChatCompletionStreamState` keeps of some lists only the fields that the SDK's types know.
from openai.lib.streaming._deltas import accumulate_delta

from service._gen.parley.v1.chat_completion_pb2 import AudioOutput, ChatCompletionChunk, Delta, Usage
from service._gen.parley.v1.tool_pb2 import CustomToolCall, FunctionCall, ToolCallDelta, ToolEvent
from service.json_values import Json, json_object
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


TEXT = st.text(max_size=3)
"""Also empty, and beyond ASCII."""


@dataclass
class _Counts:
    """How many of each a choice has had, which number the next."""

    calls: int = 0
    blocks: int = 0
    entries: int = 0
    events: int = 0


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


def _new_event(text: str, counts: _Counts) -> Delta:
    counts.events += 1
    event = ToolEvent(index=counts.events - 1, id="call", tool="files__read", result=text, duration_ms=1, turn=0)
    return Delta(tool_events=[event])


SAYINGS: list[Callable[[str, _Counts], Delta]] = [
    lambda text, _: Delta(content=text),
    lambda text, _: Delta(refusal=text),
    lambda text, _: Delta(reasoning_content=text),
    lambda text, _: Delta(audio=AudioOutput(data=text)),
    _new_call,
    _new_custom_call,
    _new_block,
    _new_entries,
    _new_event,
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
