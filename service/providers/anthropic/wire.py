"""What the Messages API sends, as far as the contract has a place for it.

Blocks, deltas and events are decoded in two steps, first their type and then the rest: kinds that are
not known here are never read further, so that they can't break an answer. Known ones are read strictly.

Source: https://platform.claude.com/docs/en/api/messages and …/build-with-claude/streaming (2026-11-22,
by anthropic-sdk-python 2.12), and recorded traffic.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Kind(msgspec.Struct):
    """The type of an event, a block, a delta or an answer."""

    type: str | None = None


class Text(msgspec.Struct):
    """A block of text, or a delta of one."""

    text: str = ""
    citations: list[dict[str, Any]] | None = None


class Thinking(msgspec.Struct):
    """A block of reasoning, or a delta of its text or its signature."""

    thinking: str = ""
    signature: str = ""


class RedactedThinking(msgspec.Struct):
    """Reasoning that only the provider can read."""

    data: str


class ToolUse(msgspec.Struct):
    """A call for the caller to answer."""

    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    """Within a stream `{}` at the block's start; the deltas bring the text of it."""
    caller: dict[str, Any] | None = None
    """Who calls: the model itself, or code that the provider runs."""
    toolset_name: str | None = None
    """The family of a tool that belongs to a toolset."""


class InputJson(msgspec.Struct):
    """A piece of the JSON text of a call's input."""

    partial_json: str = ""


class Citations(msgspec.Struct):
    """A citation to add to the block."""

    citation: dict[str, Any]


class CacheCreation(msgspec.Struct):
    """Tokens written to the cache, by how long they are kept."""

    ephemeral_1h_input_tokens: Count | None = None


class OutputTokensDetails(msgspec.Struct):
    """Parts of the output tokens."""

    thinking_tokens: Count | None = None


class Iteration(msgspec.Struct):
    """Tokens used by one step of the answer."""

    type: str | None = None
    """"message", or a step that the whole answer's counts leave out: "advisor_message", "compaction" …"""


class Usage(msgspec.Struct):
    """Tokens used; within a stream each value replaces the earlier one."""

    input_tokens: Count | None = None
    """Without those of the cache."""
    output_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: dict[str, Any] | None = None
    """Counts; other members are of no account."""
    iterations: list[Iteration] | None = None
    service_tier: str | None = None
    speed: str | None = None
    """"fast" is charged at other prices than the service tier says."""


class Message(msgspec.Struct):
    """An answer; within a stream what is known of it at its start."""

    type: str | None = None
    id: str | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    container: dict[str, Any] | None = None
    usage: Usage | None = None


class MessageStart(msgspec.Struct):
    """The first event of a stream."""

    message: Message


class BlockStart(msgspec.Struct):
    """A block begins."""

    index: Index
    content_block: msgspec.Raw


class BlockDelta(msgspec.Struct):
    """A block goes on."""

    index: Index
    delta: msgspec.Raw


class BlockStop(msgspec.Struct):
    """A block ends."""

    index: Index


class MessageEnd(msgspec.Struct):
    """Why the answer ended."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    container: dict[str, Any] | None = None


class MessageDelta(msgspec.Struct):
    """The event before the last one."""

    delta: MessageEnd = msgspec.field(default_factory=MessageEnd)
    usage: Usage | None = None


class Error(msgspec.Struct):
    """A report of a failure; the message is looked at and never shown."""

    type: str | None = None
    message: str | None = None


class ErrorAnswer(msgspec.Struct):
    """The body of a failure, and the data of an event of type error."""

    error: Error | None = None
    request_id: str | None = None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for bytes that are not what they should be (msgspec.ValidationError with the path)."""

decode_kind = msgspec.json.Decoder(Kind).decode
decode_text = msgspec.json.Decoder(Text).decode
decode_thinking = msgspec.json.Decoder(Thinking).decode
decode_redacted = msgspec.json.Decoder(RedactedThinking).decode
decode_tool_use = msgspec.json.Decoder(ToolUse).decode
decode_input_json = msgspec.json.Decoder(InputJson).decode
decode_citations = msgspec.json.Decoder(Citations).decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_message_start = msgspec.json.Decoder(MessageStart).decode
decode_block_start = msgspec.json.Decoder(BlockStart).decode
decode_block_delta = msgspec.json.Decoder(BlockDelta).decode
decode_block_stop = msgspec.json.Decoder(BlockStop).decode
decode_message_delta = msgspec.json.Decoder(MessageDelta).decode
decode_error = msgspec.json.Decoder(ErrorAnswer).decode
