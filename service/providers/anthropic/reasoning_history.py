"""From the reasoning of an assistant message to the blocks that it once was. Pure.

It is sent back from `reasoning_details`, whose blocks the provider has signed. Mere text of reasoning
(`reasoning_content`, `reasoning`, entries without a signature) can't be sent: the API takes no block
that is not its own. It is left out, as are entries of other providers.

Source: https://platform.claude.com/docs/en/build-with-claude/extended-thinking (2026-11-22).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from service._gen.parley.v1.message_pb2 import Message
from service.errors import invalid
from service.json_values import Json
from service.providers.anthropic.order import REASONING_FORMAT
from service.providers.anthropic.parts import Block
from service.providers.content import own_reasoning


def reasoning_blocks(path: str, message: Message) -> dict[int, list[Block]]:
    """The blocks by index, in its order.

    Raises:
        RequestError: An entry has a member of a wrong type.
    """
    joined = _Joined()
    for place, entry in own_reasoning(path, message, REASONING_FORMAT):
        index = entry.get("index")
        if index is not None and not isinstance(index, int):
            raise invalid(f"{place}.index", "a whole number")
        if entry.get("type") == "reasoning.encrypted":
            joined.add_encrypted(index, _string(place, entry, "data"))
        elif entry.get("type") == "reasoning.text":
            joined.add_text(index, _string(place, entry, "text"), _string(place, entry, "signature"))
    by_index: dict[int, list[Block]] = {}
    for reasoning in sorted(joined.blocks, key=lambda each: each.index):
        if (block := reasoning.block()) is not None:
            by_index.setdefault(reasoning.index, []).append(block)
    return by_index


@dataclass(slots=True)
class _Reasoning:
    """A block, in pieces."""

    index: int
    is_encrypted: bool
    pieces: list[str] = field(default_factory=list)
    signature: str = ""

    def block(self) -> Block | None:
        """None where it can't be sent: text without a signature."""
        whole = "".join(self.pieces)
        if self.is_encrypted:
            return {"type": "redacted_thinking", "data": whole}
        return {"type": "thinking", "thinking": whole, "signature": self.signature} if self.signature else None


class _Joined:
    """Joins the pieces of each block: those of one index and one type, up to the signature.

    Pieces of text without an index belong together if they follow each other. A block without an index
    counts as having the one that is its number among the blocks.
    """

    def __init__(self) -> None:
        self.blocks: list[_Reasoning] = []
        self._latest: dict[tuple[int, bool], _Reasoning] = {}
        """By index and whether it is encrypted; only blocks that were given an index."""
        self._is_continued = False
        """Whether the last block is text without an index."""

    def add_text(self, index: int | None, text: str, signature: str) -> None:
        continued = self.blocks[-1] if self._is_continued else None
        block = continued if index is None else self._latest.get((index, False))
        if block is None or block.signature:
            block = self._begun(index, is_encrypted=False)
        block.pieces.append(text)
        block.signature = signature
        self._is_continued = index is None

    def add_encrypted(self, index: int | None, data: str) -> None:
        block = None if index is None else self._latest.get((index, True))
        if block is None:
            block = self._begun(index, is_encrypted=True)
        block.pieces.append(data)
        self._is_continued = False

    def _begun(self, index: int | None, *, is_encrypted: bool) -> _Reasoning:
        block = _Reasoning(len(self.blocks) if index is None else index, is_encrypted)
        self.blocks.append(block)
        if index is not None:
            self._latest[index, is_encrypted] = block
        return block


def _string(place: str, entry: dict[str, Json], name: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"{place}.{name}", "a string")
    return value
