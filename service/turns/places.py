"""Where the turns of one answer lie in its message. Pure.

A message has the texts of all turns one after the other, with an empty line between two turns that wrote text,
and so have its lists. Numbers that count within a turn become such that count within the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from service._gen.parley.v1.chat_completion_pb2 import Delta
from service._gen.parley.v1.json_pb2 import JsonObject
from service.turns.entries import number_in, put_number, shift_number

SEPARATOR: Final = "\n\n"
"""Stands before the text of a turn wherever text came before it, so that it can be taken out again: "Let me look."
and "It is sunny." are not to be read as one sentence. The reasoning's texts have it, too."""
_OFFSETS: Final = ("start_index", "end_index")


class Place(NamedTuple):
    """A place in a message."""

    text_length: int = 0
    """Behind so many characters of `content`."""
    reasoning_length: int = 0
    """Behind the entries of `reasoning_details` whose index is lower."""
    provider_content_length: int = 0
    """Behind so many entries of `provider_content`."""


class Places:
    """Fits the pieces of each turn into the message."""

    def __init__(self) -> None:
        self.end = Place()
        """How far the message has come."""
        self._begin = Place()  # of the running turn
        self._annotations_begin = self._annotations_end = 0
        self._next_block = 0  # the first index that no block of the running turn has
        self._has_reasoned = False
        self._says: dict[str, bool] = {}

    def begin_turn(self) -> None:
        """What follows is the next turn's."""
        self._begin = self.end
        self._annotations_begin = self._annotations_end
        self._next_block = 0
        self._says = {"content": not self.end.text_length, "reasoning_content": not self._has_reasoned}

    def number(self, delta: Delta) -> None:
        """Give each reasoning block that has none an index within its turn: by it the turns are told apart."""
        for block in delta.reasoning_details:
            index = number_in(block, "index")
            if index is None:
                index = self._next_block
                put_number(block, "index", index)
            self._next_block = max(self._next_block, index + 1)

    def fit(self, delta: Delta) -> None:
        """Make a numbered piece of the turn one of the message, in place."""
        if delta.content:
            delta.content = self._separated("content", delta.content)
        if delta.reasoning_content:
            delta.reasoning_content = self._separated("reasoning_content", delta.reasoning_content)
            self._has_reasoned = True
        if delta.annotations:
            self._fit_annotations(delta.annotations)
        for block in delta.reasoning_details:
            shift_number(block, "index", self._begin.reasoning_length)
        for number, entry in enumerate(delta.provider_content, self.end.provider_content_length):
            put_number(entry, "index", number)
            shift_number(entry, "reasoning_index", self._begin.reasoning_length)
        text_length, _, entries = self.end
        self.end = Place(
            text_length + len(delta.content),
            self._begin.reasoning_length + self._next_block,
            entries + len(delta.provider_content),
        )

    def _separated(self, name: str, text: str) -> str:
        if self._says[name]:
            return text
        self._says[name] = True
        return SEPARATOR + text

    def _fit_annotations(self, annotations: Iterable[JsonObject]) -> None:
        """Count offsets from the beginning of the message.

        A citation may come before the text that it is of: then the separator comes, too.
        """
        begin = self._begin.text_length
        shift = begin + len(SEPARATOR) if begin else 0
        for annotation in annotations:
            index = number_in(annotation, "index")
            place = self._annotations_end if index is None else self._annotations_begin + index
            self._annotations_end = max(self._annotations_end, place + 1)
            nested = [each.value.struct_value for each in annotation.fields if each.value.HasField("struct_value")]
            for entry in (annotation, *nested):
                for offset in _OFFSETS:
                    shift_number(entry, offset, shift)
            put_number(annotation, "index", place)
