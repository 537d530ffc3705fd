"""How many tokens a call used, where its provider does not tell. Pure.

A token of today's models is about four bytes of UTF-8, of English text and of most other languages alike.
Images, sound and documents count nothing: what they cost differs by provider, model and size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.struct_pb2 import ListValue

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage, Delta, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import ToolCall, ToolCallDelta
from service.dispatch.call import Attempt
from service.errors import Reason

BYTES_PER_TOKEN: Final = 4
_REFUSALS: Final = frozenset(reason.value for reason in Reason) - {
    Reason.UPSTREAM_TIMEOUT.value,
    Reason.UPSTREAM_INTERRUPTED.value,
    Reason.MAX_TTFT_EXCEEDED.value,
}
"""Outcomes of attempts after which a provider has nothing to charge for. Others may have made it work."""


def may_have_cost(attempts: Iterable[Attempt]) -> bool:
    """Whether any provider may have worked on an answer."""
    return any(attempt.outcome not in _REFUSALS for attempt in attempts)


def estimated_usage(request: ChatCompletionRequest, answer_bytes: int) -> Usage:
    """The usage as it is likely to be; `answer_bytes` counts all that the model wrote, in UTF-8."""
    prompt_tokens, completion_tokens = _tokens(prompt_bytes(request)), _tokens(answer_bytes)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def _tokens(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_PER_TOKEN)


def prompt_bytes(request: ChatCompletionRequest) -> int:
    """Bytes of the request's texts: messages, tools, and the schema of the answer."""
    tools = sum(tool.ByteSize() for tool in request.tools) + sum(each.ByteSize() for each in request.functions)
    schema = request.response_format.json_schema.ByteSize()
    # On the wire a JSON Schema is about as long as in JSON.
    return sum(map(_message_bytes, request.messages)) + tools + schema


def _message_bytes(message: Message) -> int:
    text_bytes = 0
    match message.content.WhichOneof("kind"):
        case "string_value":
            text_bytes += size(message.content.string_value)
        case "list_value":
            text_bytes += _parts_bytes(message.content.list_value)
    text_bytes += sum(size(part.text) for part in message.parts)
    text_bytes += size(message.refusal) + size(message.reasoning_content or message.reasoning)
    return text_bytes + _calls_bytes(message.tool_calls)


def _parts_bytes(parts: ListValue) -> int:
    fields = [part.struct_value.fields for part in parts.values]
    return sum(size(members["text"].string_value) for members in fields if "text" in members)


def written_bytes(written: Delta | AssistantMessage) -> int:
    """Bytes of what the model wrote."""
    text_bytes = size(written.content)
    if reasoning := written.reasoning_content:
        text_bytes += size(reasoning)
    if refusal := written.refusal:
        text_bytes += size(refusal)
    if calls := written.tool_calls:
        text_bytes += _calls_bytes(calls)
    if written.HasField("function_call"):
        text_bytes += size(written.function_call.name) + size(written.function_call.arguments)
    return text_bytes


def _calls_bytes(calls: Sequence[ToolCall | ToolCallDelta]) -> int:
    return sum(
        size(call.function.name) + size(call.function.arguments) + size(call.custom.name) + size(call.custom.input)
        for call in calls
    )


def size(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
