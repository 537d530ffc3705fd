"""Makes a chunk of an answer in one piece, so that both kinds of answer go one way. Pure."""

from __future__ import annotations

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_completion_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
)
from service._gen.parley.v1.tool_pb2 import ToolCall, ToolCallDelta


def one_chunk(completion: ChatCompletion) -> ChatCompletionChunk:
    """The whole answer as one chunk."""
    chunk = ChatCompletionChunk()
    for field, value in completion.ListFields():
        if field.name == "choices":
            chunk.choices.extend(map(_choice, completion.choices))
        elif field.message_type is not None:
            getattr(chunk, field.name).CopyFrom(value)
        else:
            setattr(chunk, field.name, value)
    chunk.object = "chat.completion.chunk"
    return chunk


def _choice(whole: Choice) -> ChunkChoice:
    choice = ChunkChoice(delta=_delta(whole.message), finish_reason=Value(null_value=NULL_VALUE))
    for field, value in whole.ListFields():
        if field.name == "finish_reason":
            choice.finish_reason.string_value = value
        elif field.name != "message":
            if field.message_type is not None:
                getattr(choice, field.name).CopyFrom(value)
            else:
                setattr(choice, field.name, value)
    return choice


def _delta(message: AssistantMessage) -> Delta:
    delta = Delta()
    for field, value in message.ListFields():
        if field.name == "tool_calls":
            delta.tool_calls.extend(_fragment(number, call) for number, call in enumerate(message.tool_calls))
        elif field.is_repeated:
            getattr(delta, field.name).extend(value)
        elif field.message_type is not None:
            getattr(delta, field.name).CopyFrom(value)
        else:
            setattr(delta, field.name, value)
    return delta


def _fragment(number: int, call: ToolCall) -> ToolCallDelta:
    fragment = ToolCallDelta(index=number)
    for field, value in call.ListFields():
        if field.message_type is not None:
            getattr(fragment, field.name).CopyFrom(value)
        else:
            setattr(fragment, field.name, value)
    return fragment
