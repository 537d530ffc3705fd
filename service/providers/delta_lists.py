"""Numbers what a stream adds to lists, so that clients can put the pieces together. Pure.

OpenAI's Python SDK joins the deltas of its `stream()` helper by the rule that tool calls have: an entry of
a list has an `index`, and what comes later with the same one is added to it, texts to texts. It raises
on an entry without one.

Source: openai-python 3.54, openai/lib/streaming/_deltas.py (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue

_INDEX: Final = "index"
_SAID_ONCE: Final = frozenset({"format", "id"})
"""Members of a reasoning block that each of its pieces would repeat."""


class DeltaLists:
    """Numbers the entries of one stream. Keeps a few bytes for each reasoning block."""

    __slots__ = ("_blocks", "_counts")

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], int] = {}
        self._blocks: set[tuple[int, float, str]] = set()

    def number(self, chunk: ChatCompletionChunk) -> None:
        """Give each annotation and entry of `provider_content` its number, and tell a block's format once."""
        for choice in chunk.choices:
            delta = choice.delta
            if delta.annotations:
                self._number(choice.index, "annotations", delta.annotations)
            if delta.provider_content:
                self._number(choice.index, "provider_content", delta.provider_content)
            for detail in delta.reasoning_details:
                self._tell_once(choice.index, detail)

    def _number(self, choice: int, name: str, entries: Sequence[JsonObject]) -> None:
        count = self._counts.get((choice, name), 0)
        for entry in entries:
            if not any(member.key == _INDEX for member in entry.fields):
                entry.fields.add(key=_INDEX, value=JsonValue(number_value=count))
            count += 1
        self._counts[choice, name] = count

    def _tell_once(self, choice: int, detail: JsonObject) -> None:
        members = {member.key: member.value for member in detail.fields}
        if _INDEX not in members:
            return
        block = (choice, members[_INDEX].number_value, members["type"].string_value if "type" in members else "")
        if block not in self._blocks:
            self._blocks.add(block)
            return
        kept = [member for member in detail.fields if member.key not in _SAID_ONCE]
        if len(kept) < len(detail.fields):
            said = JsonObject(fields=kept)
            detail.Clear()
            detail.MergeFrom(said)
