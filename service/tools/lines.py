"""Lines out of bytes as they come, in bounded memory and linear time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_END_BYTES: Final = 256
"""How much of a line that is too long is kept at either end: an id is found in it."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """What is known of a line that was not kept."""

    head: bytes
    tail: bytes


class Lines:
    """Cuts bytes into lines of at most `max_bytes`; longer ones are skipped and told."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._head: bytes | None = None
        """Of the line that is being skipped."""

    def feed(self, data: bytes) -> Iterator[bytes | TooLong]:
        """The lines that end in `data`, without their line breaks. Go through all of them before the next call."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield self._taken()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._rest += piece
        if self._head is None and len(self._rest) > self._max_bytes:
            self._head = bytes(self._rest[:_END_BYTES])
        if self._head is not None:
            del self._rest[:-_END_BYTES]

    def _taken(self) -> bytes | TooLong:
        line = bytes(self._rest)
        head, self._head = self._head, None
        self._rest.clear()
        return line if head is None else TooLong(head, line)
