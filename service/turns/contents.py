"""Takes the content of a message apart, turn by turn. Pure."""

from __future__ import annotations

from collections import deque

from service._gen.parley.v1.message_pb2 import ContentPart, Message
from service.providers.content import parts_of
from service.turns.places import SEPARATOR


class Contents:
    """What is left of an assistant message's content.

    Args:
        path: Where the message stands, such as `messages[0]`.
        message: Validated.

    Raises:
        RequestError: A part of the content has a member that the contract does not know.
    """

    def __init__(self, path: str, message: Message) -> None:
        self._is_string = message.content.WhichOneof("kind") == "string_value"
        parts = parts_of(path, message)
        self._parts = deque(part for part in parts if part.type == "text")
        self._others = [part for part in parts if part.type != "text"]
        self._text = "".join(part.text for part in self._parts)
        self._place = 0
        self._part_place = 0  # how much of the first part is taken

    @property
    def text_length(self) -> int:
        """How long the whole text is, in characters."""
        return len(self._text)

    def put(self, into: Message, until: int | None) -> None:
        """Give a message the content up to a place in the text, or all that is left, as the turn had written it."""
        end = len(self._text) if until is None else until
        has_separator = self._place and self._text.startswith(SEPARATOR, self._place, end)
        begin = self._place + len(SEPARATOR) if has_separator else self._place
        if self._is_string:
            if text := self._text[begin:end]:
                into.content.string_value = text
        else:
            self._parts_of(begin - self._place)
            into.parts.extend(self._parts_of(end - begin))
        self._place = end
        if until is None:
            into.parts.extend(self._others)

    def _parts_of(self, length: int) -> list[ContentPart]:
        """The next so many characters, in their parts; a mark for the cache stays with the end of its part."""
        taken = []
        while length:
            part, begin = self._parts[0], self._part_place
            end = min(begin + length, len(part.text))
            length -= end - begin
            piece = ContentPart(type="text", text=part.text[begin:end])
            self._part_place = end
            if end == len(part.text):
                whole = self._parts.popleft()
                self._part_place = 0
                piece = ContentPart()
                piece.CopyFrom(whole)
                piece.text = whole.text[begin:]
            if piece.text:
                taken.append(piece)
        return taken
