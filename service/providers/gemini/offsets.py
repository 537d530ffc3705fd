"""Which character begins at which byte of a text. Pure."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import Final

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_MOST_CHANGES: Final = 131_072
"""Places where the width of characters changes that are kept for one choice: 2 MiB."""


class ByteOffsets:
    """Tells which character begins at a byte of a text that is read piece by piece and not kept.

    Only the places are kept where characters become wider or narrower, up to `_MOST_CHANGES`; beyond them
    no place can be told.
    """

    __slots__ = ("_bytes", "_chars", "_end_bytes", "_end_chars", "_is_full", "_widths")

    def __init__(self) -> None:
        self._end_bytes = self._end_chars = 0
        self._bytes = array("Q", [0])
        self._chars = array("Q", [0])
        self._widths = array("B", [1])
        self._is_full = False

    def add(self, text: str) -> None:
        """Go on with the next piece of the text."""
        if self._is_full:
            return
        place = 0
        for match in _NOT_ASCII.finditer(text):
            self._run(1, match.start() - place)
            for character in match[0]:
                self._run(len(character.encode("utf-8", "surrogatepass")), 1)
            place = match.end()
        self._run(1, len(text) - place)

    def character_at(self, offset: int) -> int | None:
        """Index of the character that begins at byte `offset`, or ends there; None where none does."""
        if not 0 <= offset <= self._end_bytes:
            return None
        place = bisect_right(self._bytes, offset) - 1
        characters, rest = divmod(offset - self._bytes[place], self._widths[place])
        return None if rest else self._chars[place] + characters

    def _run(self, width: int, count: int) -> None:
        if not count or self._is_full:
            return
        if width != self._widths[-1]:
            if len(self._widths) >= _MOST_CHANGES:
                self._is_full = True
                return
            self._bytes.append(self._end_bytes)
            self._chars.append(self._end_chars)
            self._widths.append(width)
        self._end_bytes += width * count
        self._end_chars += count
