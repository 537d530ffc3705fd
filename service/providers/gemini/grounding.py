"""From Gemini's sources to citations with indices in characters. Pure.

Indices are in bytes of UTF-8, counted from the beginning of the whole text without thoughts, also where the
text came in many parts and events: so it is in recordings google/test_google_model_web_search_tool_stream and
google/test_native_output_with_function_and_builtin_tools, whose segments repeat their text. (By
https://ai.google.dev/api/generate-content#Segment (2026-11-22) they count from the beginning of a part.)
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import Any, Final, NamedTuple

import msgspec

from service.providers.gemini import wire

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_MOST_CHANGES: Final = 131_072
"""Places where the width of characters changes that are kept for one choice: 2 MiB."""
_MOST_CITATIONS: Final = 10_000
_CITED: Final = frozenset({"groundingChunks", "groundingSupports"})
"""What becomes citations, where every source has an address."""


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
        if offset > self._end_bytes:
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


class _Place(NamedTuple):
    """A citation: whose, and of which bytes of the text."""

    uri: str
    title: str | None
    start: int
    end: int
    license: str | None = None


class Grounding:
    """Collects the sources of one choice, which may come before, with or after the text."""

    __slots__ = ("_chunks", "_cited", "_metadata", "_supports", "offsets")

    def __init__(self) -> None:
        self.offsets = ByteOffsets()
        """To be told the choice's text."""
        self._chunks: list[wire.Source] = []
        self._supports: list[wire.GroundingSupport] = []
        self._cited: dict[_Place, str | None] = {}
        """With the cited text, where it is told; in order, none twice."""
        self._metadata: dict[str, Any] = {}

    def add(self, candidate: wire.Candidate) -> None:
        """Take what a candidate, or a piece of one, says of its sources."""
        if candidate.grounding_metadata:
            self._add_grounding(candidate.grounding_metadata)
        if candidate.url_context_metadata:
            self._metadata["urlContextMetadata"] = candidate.url_context_metadata
        if (quoted := candidate.citation_metadata) is not None:
            for citation in (quoted.citation_sources or []) + (quoted.citations or []):
                if citation.uri:
                    start, end = citation.start_index, citation.end_index
                    self._cite(_Place(citation.uri, citation.title, start, end, citation.license), None)

    @property
    def metadata(self) -> dict[str, Any]:
        """What of it no citation says, by the provider's names: queries, search suggestions, fetched pages."""
        return self._metadata

    def annotations(self) -> list[dict[str, Any]]:
        """All citations, once the text is complete: those of a place first, then sources without one."""
        used = {(place.uri, place.title) for place in self._cited}
        sources = {(chunk.uri, chunk.title): chunk.uri for chunk in self._chunks}
        rest = [_Place(uri, key[1], 0, 0) for key, uri in sources.items() if uri and key not in used]
        return [
            self._annotation(place, text) for place, text in (*self._cited.items(), *((place, None) for place in rest))
        ]

    def _add_grounding(self, grounding: dict[str, msgspec.Raw]) -> None:
        if "groundingChunks" in grounding:
            self._chunks = [_source(chunk) for chunk in wire.decode_chunks(grounding["groundingChunks"])]
        if "groundingSupports" in grounding and len(self._supports) < _MOST_CITATIONS:
            self._supports += wire.decode_supports(grounding["groundingSupports"])
        if self._chunks:
            for support in self._supports:
                self._cite_support(support)
            self._supports.clear()
        is_told = all(chunk.uri for chunk in self._chunks)
        rest = {name: msgspec.json.decode(raw) for name, raw in grounding.items() if not (is_told and name in _CITED)}
        if rest:
            self._metadata["groundingMetadata"] = self._metadata.get("groundingMetadata", {}) | rest

    def _cite_support(self, support: wire.GroundingSupport) -> None:
        segment = support.segment or wire.Segment()
        for index in support.grounding_chunk_indices or ():
            if index < len(self._chunks) and (uri := self._chunks[index].uri):
                place = _Place(uri, self._chunks[index].title, segment.start_index, segment.end_index)
                self._cite(place, segment.text)

    def _cite(self, place: _Place, text: str | None) -> None:
        if len(self._cited) < _MOST_CITATIONS:
            self._cited.setdefault(place, text)

    def _annotation(self, place: _Place, text: str | None) -> dict[str, Any]:
        citation: dict[str, Any] = {"url": place.uri}
        if place.title:
            citation["title"] = place.title
        if place.license:
            citation["license"] = place.license
        start, end = self.offsets.character_at(place.start), self.offsets.character_at(place.end)
        # A place that is empty, or does not fit its own text, is none.
        if start is not None and end is not None and end > start and (text is None or len(text) == end - start):
            citation |= {"start_index": start, "end_index": end}
        return {"type": "url_citation", "url_citation": citation}


def _source(chunk: wire.GroundingChunk) -> wire.Source:
    source = chunk.web or chunk.retrieved_context or chunk.maps or chunk.image or wire.Source()
    return wire.Source(uri=source.uri or source.source_uri, title=source.title)
