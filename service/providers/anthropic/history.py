"""From an assistant message of the conversation to the blocks that it once was. Pure.

Reasoning is sent back as `reasoning_history` tells.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import accumulate, chain
from typing import Any, Final, TypeVar

import msgspec

from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import ToolCall
from service.errors import invalid
from service.json_values import Json
from service.providers.anthropic.order import FORMAT
from service.providers.anthropic.parts import Block, PartEncoder
from service.providers.anthropic.reasoning_history import reasoning_blocks
from service.providers.anthropic.tool_ids import tool_use_id
from service.providers.content import object_at
from service.providers.omissions import Omissions

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_T = TypeVar("_T")
_ATTACHED: Final = ("caller", "toolset_name")
"""What `response.extra_content_of` attaches to a call."""


def assistant_blocks(path: str, message: Message, omissions: Omissions) -> list[Block]:
    """The blocks, in the order of the answer where `provider_content` tells it.

    Raises:
        RequestError: The message holds what can't be sent to this provider.
    """
    for field in ("function_call", "audio"):
        if message.HasField(field):
            omissions.refuse(f"{path}.{field}", "has no such thing in an assistant message")
    reasoning = reasoning_blocks(path, message)
    texts = PartEncoder(path, omissions).texts(message)
    if message.refusal and (texts or not message.refusal.isspace()):  # as in `PartEncoder.blocks`
        texts.append({"type": "text", "text": message.refusal})
    calls: dict[str, Block] = {}
    for index, call in enumerate(message.tool_calls):
        place = f"{path}.tool_calls[{index}]"
        if call.id in calls:
            raise invalid(f"{place}.id", "another one than that of the message's other calls")
        calls[call.id] = _tool_use(place, call, omissions)
    order = _order(path, message)
    if order:
        return list(_ordered(path, order, _Left(reasoning, texts, calls)))
    return [*chain(*reasoning.values()), *texts, *calls.values()]


class _Left:
    """What of a message is not yet put into blocks."""

    def __init__(self, reasoning: dict[int, list[Block]], texts: list[Block], calls: dict[str, Block]) -> None:
        self.reasoning = reasoning
        self.calls = calls
        self._text = "".join(block["text"] for block in texts)
        self._begin = 0
        """Where the text goes on that is not yet put into a block."""
        ends = accumulate(len(block["text"]) for block in texts)
        self._marks = deque(
            (end, block["cache_control"]) for end, block in zip(ends, texts, strict=True) if "cache_control" in block
        )
        """The marks for the cache, each with the end of the text that it is for."""

    def text_block(self, length: int | None, attached: dict[str, Json]) -> Iterator[Block]:
        """The next so many characters, or all that are left, with the mark of what ends within."""
        whole = len(self._text)
        end = whole if length is None else min(self._begin + length, whole)
        text = self._text[self._begin : end]
        self._begin = end
        if not text:
            return
        block = {**attached, "type": "text", "text": text}
        while self._marks and self._marks[0][0] <= end:
            _, block["cache_control"] = self._marks.popleft()
        yield block


def _ordered(path: str, order: list[tuple[int, dict[str, Json]]], left: _Left) -> Iterator[Block]:
    """The blocks as `order` has them; reasoning that it doesn't name comes first, the rest last."""
    indices = (entry.get("reasoning_index") for _, entry in order)
    named = {index for index in indices if isinstance(index, int)}
    yield from chain(*(blocks for index, blocks in left.reasoning.items() if index not in named))
    for index, entry in order:
        place = f"{path}.provider_content[{index}]"
        block = entry.get("block")
        if block is not None and not isinstance(block, dict):
            raise invalid(f"{place}.block", "an object")
        if "text_length" in entry:
            length = entry["text_length"]
            if not isinstance(length, int) or length < 0:
                raise invalid(f"{place}.text_length", "a number of characters")
            yield from left.text_block(length, block or {})
        elif "reasoning_index" in entry:
            yield from _taken(left.reasoning, entry["reasoning_index"]) or ()
        elif "tool_call_id" in entry:
            call = _taken(left.calls, entry["tool_call_id"])
            yield from [call] if call else []
        elif block:
            yield block
    yield from left.text_block(None, {})
    yield from left.calls.values()


def _taken(blocks: dict[Any, _T], key: Json) -> _T | None:
    return blocks.pop(key, None) if isinstance(key, int | str) else None


def _order(path: str, message: Message) -> list[tuple[int, dict[str, Json]]]:
    """The entries of this provider, with their places; none where none of them tells of a block."""
    entries = []
    for index, item in enumerate(message.provider_content):
        entry = object_at(f"{path}.provider_content[{index}]", item)
        if entry.get("format") == FORMAT and entry.keys() & {"block", "text_length", "reasoning_index", "tool_call_id"}:
            entries.append((index, entry))
    return entries


def _tool_use(path: str, call: ToolCall, omissions: Omissions) -> Block:
    if call.type == "custom" or (not call.type and call.HasField("custom")):
        omissions.refuse(f"{path}.custom", "has no free-text tools")
    block: Block = {
        "type": "tool_use",
        "id": tool_use_id(call.id),
        "name": call.function.name,
        "input": _input(f"{path}.function.arguments", call.function.arguments),
    }
    if call.HasField("extra_content"):
        attached = object_at(f"{path}.extra_content", call.extra_content).get(FORMAT)
        if isinstance(attached, dict):
            block |= {name: attached[name] for name in _ATTACHED if name in attached}
    return block


def _input(path: str, arguments: str) -> msgspec.Raw:
    """The arguments as they were written: keys in their order, numbers to the last digit."""
    text = arguments.strip() or "{}"
    try:
        _decode_object(text)
    except (msgspec.DecodeError, RecursionError):
        raise invalid(path, "the JSON text of an object") from None
    return msgspec.Raw(text.encode())
