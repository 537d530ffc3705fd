"""Chunks and answers of the contract, as adapters make them."""

from __future__ import annotations

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_completion_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    Delta,
    Usage,
)


def saying(text: str, *, index: int = 0) -> ChatCompletionChunk:
    """A piece of text."""
    return _chunk(Delta(content=text), index)


def opening(*, index: int = 0) -> ChatCompletionChunk:
    """What a choice begins with."""
    return _chunk(Delta(role="assistant", content=""), index)


def ending(reason: str = "stop", *, index: int = 0) -> ChatCompletionChunk:
    """What a choice ends with."""
    chunk = _chunk(Delta(), index)
    chunk.choices[0].finish_reason.string_value = reason
    return chunk


def usage_of(tokens_in: int = 7, tokens_out: int = 5) -> ChatCompletionChunk:
    """The last chunk."""
    return ChatCompletionChunk(
        id="x", object="chat.completion.chunk", created=1, model="m", usage=_usage(tokens_in, tokens_out)
    )


def whole(text: str = "Hello!", *, has_usage: bool = True) -> ChatCompletion:
    """An answer in one piece."""
    choice = Choice(index=0, message=AssistantMessage(role="assistant", content=text), finish_reason="stop")
    answer = ChatCompletion(id="x", object="chat.completion", created=1, model="m", choices=[choice])
    if has_usage:
        answer.usage.CopyFrom(_usage(7, 5))
    return answer


def _usage(tokens_in: int, tokens_out: int) -> Usage:
    return Usage(prompt_tokens=tokens_in, completion_tokens=tokens_out, total_tokens=tokens_in + tokens_out)


def _chunk(delta: Delta, index: int) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
    chunk.choices.add(index=index, delta=delta, finish_reason=Value(null_value=NULL_VALUE))
    return chunk
