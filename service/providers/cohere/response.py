"""From Cohere's answer to the contract's. Pure.

Source: https://docs.cohere.com/reference/chat (2026-11-22, by cohere-python's types).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1.tool_pb2 import FunctionCall, ToolCall
from service.errors import Interrupted, Malformed
from service.json_values import json_object
from service.providers.provider import ProviderCall
from service.providers.reading import malformed_if_unreadable

_FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}

_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,31}")


class Content(msgspec.Struct):
    """A piece of the answer; within a stream a fragment of one."""

    text: str | None = None
    thinking: str | None = None


class Function(msgspec.Struct):
    """Name and arguments of a call; within a stream a fragment of them."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call; within a stream the beginning of one, or a fragment of its arguments."""

    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Tokens(msgspec.Struct):
    """Counts, which Cohere writes as floating-point numbers."""

    input_tokens: float = 0
    output_tokens: float = 0


class Usage(msgspec.Struct):
    """Tokens used."""

    tokens: Tokens | None = None
    cached_tokens: float | None = None


class Message(msgspec.Struct):
    """A whole message."""

    content: list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[Call] | None = None
    citations: list[dict[str, Any]] | None = None


class Answer(msgspec.Struct):
    """A whole answer."""

    finish_reason: str
    message: Message
    id: str | None = None
    usage: Usage | None = None


_decode = msgspec.json.Decoder(Answer).decode


def translate_answer(provider: str, body: bytes, call: ProviderCall) -> pb.ChatCompletion:
    """Translate a whole answer of status 200.

    Raises:
        Malformed: It is not as the API says.
        Interrupted: Cohere broke it off.
    """
    with malformed_if_unreadable(provider):
        answer = _decode(body)
        reason = finish_reason_of(provider, answer.finish_reason)
        message = answer.message
        content = message.content or []
        reasoning = [message.tool_plan or "", *(part.thinking or "" for part in content)]
        choice = pb.Choice(index=0, finish_reason=reason, native_finish_reason=answer.finish_reason)
        choice.message.role = "assistant"
        if any(part.text for part in content) or not message.tool_calls:
            choice.message.content = "".join(part.text or "" for part in content)
        if any(reasoning):
            choice.message.reasoning_content = "".join(reasoning)
        for index, made in enumerate(message.tool_calls or ()):
            function = FunctionCall(name=made.function.name, arguments=made.function.arguments or "")
            call_id = made.id or f"call_{answer.id or call.identity.id}_{index}"
            choice.message.tool_calls.append(ToolCall(id=call_id, type="function", function=function))
        choice.message.annotations.extend(json_object(citation_of(citation)) for citation in message.citations or ())
        return pb.ChatCompletion(
            id=answer.id or call.identity.id,
            object="chat.completion",
            created=call.identity.created,
            model=call.identity.model,
            choices=[choice],
            usage=usage_of(answer.usage),
        )


def finish_reason_of(provider: str, reason: str) -> str:
    """The contract's word for the reason; one that is not known is passed on as it is.

    Raises:
        Interrupted: Cohere broke the answer off.
        Malformed: It is no name.
    """
    if reason in {"ERROR", "TIMEOUT"}:
        raise Interrupted("The provider reports that it broke the answer off.", metadata={"provider": provider})
    if not _NAME.fullmatch(reason):
        raise Malformed("The provider's finish reason is no name.", metadata={"provider": provider})
    return _FINISH.get(reason, reason)


def citation_of(citation: dict[str, Any]) -> dict[str, Any]:
    """A citation of a document or of a tool's result; `start` and `end` count characters of the text."""
    return {"type": "file_citation", "file_citation": citation}


def usage_of(usage: Usage | None) -> pb.Usage | None:
    """The tokens used, where Cohere tells them."""
    if usage is None or usage.tokens is None:
        return None
    tokens_in, tokens_out = int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)
    told = pb.Usage(prompt_tokens=tokens_in, completion_tokens=tokens_out, total_tokens=tokens_in + tokens_out)
    if usage.cached_tokens is not None:
        told.prompt_tokens_details.cached_tokens = int(usage.cached_tokens)
    return told
