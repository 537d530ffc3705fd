"""From a whole answer of the Messages API to the contract's. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Malformed
from service.json_values import json_object
from service.providers.anthropic import wire
from service.providers.anthropic.errors import error_within_answer
from service.providers.anthropic.finish import finish_of
from service.providers.anthropic.order import FORMAT, REASONING_FORMAT, Entry, Order, container_entry
from service.providers.anthropic.tools import answer_tool_name
from service.providers.anthropic.usage import service_tier_of, usage_of
from service.providers.provider import ProviderCall
from service.providers.reading import malformed_if_unreadable


def translate_message(provider: str, body: bytes, call: ProviderCall) -> pb.ChatCompletion:
    """Translate a whole answer of status 200.

    Raises:
        Malformed: It is no JSON, has a wrong type somewhere, or no content or stop reason.
        UpstreamError: It reports a failure.
    """
    with malformed_if_unreadable(provider):
        answer = wire.decode_message(body)
        if answer.type == "error":
            raise error_within_answer(provider, body)
        return _completion(provider, answer, call)


def _completion(provider: str, answer: wire.Message, call: ProviderCall) -> pb.ChatCompletion:
    if answer.content is None:
        raise Malformed("The provider's answer has no content.", metadata={"provider": provider})
    builder = _MessageBuilder(answer_tool_name(call))
    for block in answer.content:
        builder.add(block)
    finish = finish_of(provider, answer, is_schema_answer=builder.is_schema_answer)
    choice = pb.Choice(
        index=0,
        message=builder.message(answer.container),
        finish_reason=finish.reason,
        native_finish_reason=finish.native,
        stop_sequence=finish.stop_sequence,
    )
    if finish.details:
        choice.content_filter_results.CopyFrom(json_object(finish.details))
    return pb.ChatCompletion(
        id=answer.id or call.identity.id,
        object="chat.completion",
        created=call.identity.created,
        model=call.identity.model,
        choices=[choice],
        usage=usage_of(answer.usage),
        service_tier=service_tier_of(answer.usage),
    )


class _MessageBuilder:
    """Puts the blocks of an answer into a message."""

    def __init__(self, answer_tool: str | None) -> None:
        self._answer_tool = answer_tool
        self._has_schema_answer = False
        self._order = Order()
        self._texts: list[str] = []
        self._text_length = 0
        """In characters, of all blocks."""
        self._reasoning: list[str] = []
        self._reasoning_count = 0
        self._message = pb.AssistantMessage(role="assistant")

    @property
    def is_schema_answer(self) -> bool:
        return self._has_schema_answer and not self._message.tool_calls

    def add(self, raw: Any) -> None:
        match wire.decode_kind(raw).type:
            case "text":
                block = wire.decode_text(raw)
                self._add_text(block.text, block.citations or [])
            case "thinking":
                self._add_thinking(wire.decode_thinking(raw))
            case "redacted_thinking":
                self._add_details(encrypted_detail(self._reasoning_count, wire.decode_redacted(raw).data))
            case "tool_use":
                self._add_call(wire.decode_tool_use(raw))
            case _:
                self._tell(self._order.add_block(wire.decode_object(raw)))

    def message(self, container: dict[str, Any] | None) -> pb.AssistantMessage:
        if container:
            self._tell([container_entry(container)])
        if text := "".join(self._texts):
            self._message.content = text
        if reasoning := "".join(self._reasoning):
            self._message.reasoning_content = reasoning
        return self._message

    def _add_text(self, text: str, citations: list[dict[str, Any]]) -> None:
        start = self._text_length
        self._texts.append(text)
        self._text_length += len(text)
        self._message.annotations.extend(annotations_of(citations, start, self._text_length))
        self._tell(self._order.add_text(len(text), citations))

    def _add_thinking(self, block: wire.Thinking) -> None:
        self._reasoning.append(block.thinking)
        detail = text_detail(self._reasoning_count, block.thinking)
        if block.signature:
            detail["signature"] = block.signature
        self._add_details(detail)

    def _add_details(self, detail: Entry) -> None:
        self._message.reasoning_details.append(json_object(detail))
        self._tell(self._order.add_reasoning(self._reasoning_count))
        self._reasoning_count += 1

    def _add_call(self, block: wire.ToolUse) -> None:
        arguments = bytes(block.input).decode()
        if block.name == self._answer_tool:
            if self._has_schema_answer:
                raise second_answer()
            self._has_schema_answer = True
            self._add_text(arguments, [])
            return
        self._message.tool_calls.append(
            tool_pb2.ToolCall(
                id=block.id,
                type="function",
                function=tool_pb2.FunctionCall(name=block.name, arguments=arguments),
                extra_content=extra_content_of(block),
            )
        )
        self._tell(self._order.add_call(block.id))

    def _tell(self, entries: list[Entry]) -> None:
        self._message.provider_content.extend(json_object(entry) for entry in entries)


def second_answer() -> msgspec.ValidationError:
    """The error of a second call of the tool that stands for `response_format`: two objects are no JSON text."""
    return msgspec.ValidationError("it answers twice in the form of the schema")


def text_detail(index: int, text: str) -> Entry:
    """An entry of `reasoning_details` with text, to which a signature may be added."""
    return {"type": "reasoning.text", "text": text, "format": REASONING_FORMAT, "index": index}


def encrypted_detail(index: int, data: str) -> Entry:
    """An entry of `reasoning_details` for reasoning that only the provider can read."""
    return {"type": "reasoning.encrypted", "data": data, "format": REASONING_FORMAT, "index": index}


def extra_content_of(block: wire.ToolUse) -> JsonObject | None:
    """What is attached to a call beside name and input, and has to be sent back with it."""
    attached: dict[str, Any] = {}
    if block.caller is not None:
        attached["caller"] = block.caller
    if block.toolset_name is not None:
        attached["toolset_name"] = block.toolset_name
    return json_object({FORMAT: attached}) if attached else None


def annotations_of(citations: list[dict[str, Any]], start: int, end: int) -> list[JsonObject]:
    """The citations of the text that stands from `start` to `end` in the content.

    Source: https://platform.claude.com/docs/en/build-with-claude/citations (2026-11-22).
    """
    return [json_object(_annotation(citation, {"start_index": start, "end_index": end})) for citation in citations]


def _annotation(citation: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    if citation.get("type") == "web_search_result_location":
        shown = {name: citation[name] for name in ("title", "url", "cited_text") if citation.get(name) is not None}
        return {"type": "url_citation", "url_citation": {**place, **shown}}
    return {"type": "file_citation", "file_citation": {**place, **citation}}
