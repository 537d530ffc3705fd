"""The blocks of an answer while they are streamed: from each piece to deltas. Pure.

Only what is small is kept of a block while it is open, but for the input of a tool that the provider
runs itself, and citations: both have to be told in one piece.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service.json_values import json_object
from service.providers.anthropic import wire
from service.providers.anthropic.order import REASONING_FORMAT, Entry, Order
from service.providers.anthropic.response import (
    annotations_of,
    encrypted_detail,
    extra_content_of,
    second_answer,
    text_detail,
)


class Progress:
    """How far the answer has come.

    Args:
        answer_tool: Name of the tool that stands for `response_format`; see `tools.answer_tool_name`.
    """

    __slots__ = (
        "answer_tool",
        "call_count",
        "has_schema_answer",
        "left_out",
        "order",
        "reasoning_count",
        "text_length",
    )

    def __init__(self, answer_tool: str | None) -> None:
        self.answer_tool = answer_tool
        self.order = Order()
        self.text_length = 0
        """In characters, of all blocks."""
        self.reasoning_count = 0
        self.call_count = 0
        self.has_schema_answer = False
        self.left_out: set[str] = set()
        """Ids of the provider's own calls that could not be kept, so that their results are not kept either."""

    @property
    def is_schema_answer(self) -> bool:
        """Whether the only tool that was called is the one that stands for `response_format`."""
        return self.has_schema_answer and not self.call_count


class Block(Protocol):
    """A block that is open."""

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        """Translate a piece; of a kind that is not known, to nothing."""

    def close(self) -> list[pb.Delta]:
        """Translate the block's end."""


def open_block(raw: msgspec.Raw, progress: Progress) -> tuple[Block, list[pb.Delta]]:
    """A block, and what its start says already: some arrive whole."""
    match wire.decode_kind(raw).type:
        case "text":
            text = _Text(progress)
            start = wire.decode_text(raw)
            text.citations += start.citations or []
            return text, text.append(start.text)
        case "thinking":
            return _Thinking.begun(wire.decode_thinking(raw), progress)
        case "redacted_thinking":
            redacted = _Redacted(progress)
            return redacted, redacted.whole(wire.decode_redacted(raw).data)
        case "tool_use":
            call = wire.decode_tool_use(raw)
            if call.name == progress.answer_tool:
                if progress.has_schema_answer:
                    raise second_answer()
                return _SchemaAnswer(call, progress), []
            block = _Call(call, progress)
            return block, block.first(call)
        case _:
            return _Other(wire.decode_object(raw), progress), []


class _Text:
    """Text, with its citations."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._start = progress.text_length
        self.citations: list[dict[str, Any]] = []

    def append(self, text: str) -> list[pb.Delta]:
        self._progress.text_length += len(text)
        return [pb.Delta(content=text)] if text else []

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        match wire.decode_kind(delta).type:
            case "text_delta":
                return self.append(wire.decode_text(delta).text)
            case "citations_delta":
                self.citations.append(wire.decode_citations(delta).citation)
        return []

    def close(self) -> list[pb.Delta]:
        end = self._progress.text_length
        entries = self._progress.order.add_text(end - self._start, self.citations)
        if not entries and not self.citations:
            return []
        annotations = annotations_of(self.citations, self._start, end)
        return [pb.Delta(annotations=annotations, provider_content=[json_object(entry) for entry in entries])]


class _SchemaAnswer:
    """The call of the tool that stands for `response_format`: its input is the text."""

    def __init__(self, call: wire.ToolUse, progress: Progress) -> None:
        progress.has_schema_answer = True
        self._whole = bytes(call.input).decode()
        self._has_begun = False
        self._text = _Text(progress)

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        if wire.decode_kind(delta).type != "input_json_delta":
            return []
        piece = wire.decode_input_json(delta).partial_json
        self._has_begun = self._has_begun or bool(piece)
        return self._text.append(piece)

    def close(self) -> list[pb.Delta]:
        rest = [] if self._has_begun else self._text.append(self._whole)
        return [*rest, *self._text.close()]


class _Thinking:
    """Reasoning; a block may be nothing but a signature."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._index = progress.reasoning_count
        self._is_told = False
        progress.reasoning_count += 1

    @classmethod
    def begun(cls, start: wire.Thinking, progress: Progress) -> tuple[_Thinking, list[pb.Delta]]:
        block = cls(progress)
        return block, block._text(start.thinking) + block._signature(start.signature)

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        match wire.decode_kind(delta).type:
            case "thinking_delta":
                return self._text(wire.decode_thinking(delta).thinking)
            case "signature_delta":
                return self._signature(wire.decode_thinking(delta).signature)
        return []

    def close(self) -> list[pb.Delta]:
        told = [] if self._is_told else [_detail(text_detail(self._index, ""))]
        return [*told, *_told(self._progress.order.add_reasoning(self._index))]

    def _text(self, text: str) -> list[pb.Delta]:
        if not text:
            return []
        self._is_told = True
        return [pb.Delta(reasoning_content=text, reasoning_details=[json_object(text_detail(self._index, text))])]

    def _signature(self, signature: str) -> list[pb.Delta]:
        if not signature:
            return []
        detail: Entry = {"type": "reasoning.text", "signature": signature}
        if not self._is_told:
            detail["text"] = ""
        self._is_told = True
        return [_detail(detail | {"format": REASONING_FORMAT, "index": self._index})]


class _Redacted:
    """Reasoning that only the provider can read; it arrives whole."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._index = progress.reasoning_count
        progress.reasoning_count += 1

    def whole(self, data: str) -> list[pb.Delta]:
        return [_detail(encrypted_detail(self._index, data))]

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:  # noqa: ARG002 - there is no such piece
        return []

    def close(self) -> list[pb.Delta]:
        return _told(self._progress.order.add_reasoning(self._index))


class _Call:
    """A call for the caller to answer."""

    def __init__(self, call: wire.ToolUse, progress: Progress) -> None:
        self._progress = progress
        self._index = progress.call_count
        self._id = call.id
        self._whole = bytes(call.input).decode()
        self._has_arguments = False
        progress.call_count += 1

    def first(self, call: wire.ToolUse) -> list[pb.Delta]:
        begun = tool_pb2.ToolCallDelta(
            index=self._index,
            id=call.id,
            type="function",
            function=tool_pb2.FunctionCall(name=call.name, arguments=""),
            extra_content=extra_content_of(call),
        )
        return [pb.Delta(tool_calls=[begun])]

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        if wire.decode_kind(delta).type != "input_json_delta":
            return []
        return self._arguments(wire.decode_input_json(delta).partial_json)

    def close(self) -> list[pb.Delta]:
        # A call without arguments comes with an empty piece, or none.
        rest = [] if self._has_arguments else self._arguments(self._whole)
        return [*rest, *_told(self._progress.order.add_call(self._id))]

    def _arguments(self, piece: str) -> list[pb.Delta]:
        if not piece:
            return []
        self._has_arguments = True
        function = tool_pb2.FunctionCall(arguments=piece)
        return [pb.Delta(tool_calls=[tool_pb2.ToolCallDelta(index=self._index, function=function)])]


class _Other:
    """A block that no other field has room for: of a tool that the provider runs, or of a kind not known here."""

    def __init__(self, block: dict[str, Any], progress: Progress) -> None:
        self._progress = progress
        self._block = block
        self._input: list[str] = []
        self._is_whole = True

    def go_on(self, delta: msgspec.Raw) -> list[pb.Delta]:
        match wire.decode_kind(delta).type:
            case "input_json_delta":
                self._input.append(wire.decode_input_json(delta).partial_json)
            case "compaction_delta":
                self._block |= {name: value for name, value in wire.decode_object(delta).items() if name != "type"}
            case _:
                self._is_whole = False  # what the piece means is not known
        return []

    def close(self) -> list[pb.Delta]:
        if text := "".join(self._input):
            try:
                self._block["input"] = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                self._is_whole = False  # cut by the token limit: it could not be sent back
        left_out = self._progress.left_out
        if not self._is_whole and isinstance(call_id := self._block.get("id"), str):
            left_out.add(call_id)
        answered = self._block.get("tool_use_id")
        if not self._is_whole or (isinstance(answered, str) and answered in left_out):
            return []
        return _told(self._progress.order.add_block(self._block))


def _detail(detail: Entry) -> pb.Delta:
    return pb.Delta(reasoning_details=[json_object(detail)])


def _told(entries: list[Entry]) -> list[pb.Delta]:
    return [pb.Delta(provider_content=[json_object(entry) for entry in entries])] if entries else []
