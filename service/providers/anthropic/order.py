"""The order of an answer's blocks, told in `provider_content` where the message can't show it. Pure.

A message without `provider_content` is sent back as its reasoning, then its text as one block, then its
calls. That is the answer's own order as a rule. Where it is not, or where a block has no other place in
the message, every block is told of: itself, or by reference to the field that has it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from service.json_values import Json

FORMAT: Final = "anthropic"
"""Names whose the entries of `provider_content` are."""
REASONING_FORMAT: Final = "anthropic-claude-v1"
"""Names whose the entries of `reasoning_details` are; OpenRouter calls them so too."""

Entry = dict[str, Json]


class Place(IntEnum):
    """Where a block stands in a message that is sent back without `provider_content`."""

    REASONING = 0
    TEXT = 1
    CALL = 2


class Order:
    """Follows the blocks of one answer, each as it ends."""

    __slots__ = ("_has_text", "_is_told", "_place", "_untold")

    def __init__(self) -> None:
        self._is_told = False
        self._place = Place.REASONING
        self._has_text = False
        self._untold: list[Entry] = []
        """Only until the order has to be told: a few bytes for each block."""

    def add_reasoning(self, index: int) -> list[Entry]:
        """The entries to tell now, after reasoning block `index` has ended."""
        return self._add(Place.REASONING, {"format": FORMAT, "reasoning_index": index})

    def add_text(self, length: int, citations: list[dict[str, Any]] | None = None) -> list[Entry]:
        """As `add_reasoning`, after a text of so many characters; an empty one can't be sent back, and is nothing."""
        if not length:
            return []
        entry: Entry = {"format": FORMAT, "text_length": length}
        if citations:
            # Those of a web search have to be sent back. Source:
            # https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#citations (2026-11-22)
            return self._tell({**entry, "block": {"citations": list(citations)}})
        entries = self._add(Place.TEXT, entry, is_repeated=self._has_text)
        self._has_text = True
        return entries

    def add_call(self, call_id: str) -> list[Entry]:
        """As `add_reasoning`, after a call for the caller to answer."""
        return self._add(Place.CALL, {"format": FORMAT, "tool_call_id": call_id})

    def add_block(self, block: dict[str, Any]) -> list[Entry]:
        """As `add_reasoning`, after a block that no other field has room for."""
        return self._tell({"format": FORMAT, "block": block})

    def _add(self, place: Place, entry: Entry, *, is_repeated: bool = False) -> list[Entry]:
        if self._is_told or place < self._place or is_repeated:
            return self._tell(entry)
        self._place = place
        self._untold.append(entry)
        return []

    def _tell(self, entry: Entry) -> list[Entry]:
        entries = [*self._untold, entry]
        self._untold.clear()
        self._is_told = True
        return entries


def container_entry(container: dict[str, Any]) -> Entry:
    """Tells in which container the provider ran code; it says nothing of the order.

    A caller who wants to go on in it names it as `extra_body.container`.
    """
    return {"format": FORMAT, "container": container}
