"""From Gemini's sources to citations with indices in characters. Pure.

Indices are in bytes of UTF-8, counted from the beginning of the whole text without thoughts, also where the
text came in many parts and events: so it is in recordings google/test_google_model_web_search_tool_stream and
google/test_native_output_with_function_and_builtin_tools, whose segments repeat their text. (By
https://ai.google.dev/api/generate-content#Segment (2026-11-22) they count from the beginning of a part.)
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from service.providers.gemini import wire
from service.providers.gemini.offsets import ByteOffsets

_MOST_CITATIONS: Final = 10_000
"""Kept for one choice, as are so many sources and supports."""
_OF_A_CITATION: Final = {
    "web": {"uri", "title"},
    "retrievedContext": {"uri", "title"},
    "maps": {"uri", "title"},
    "image": {"sourceUri", "title"},
}
"""What a citation says of a source, by the source's kind."""
_OF_A_SUPPORT: Final = {"segment", "groundingChunkIndices"}
_OF_A_SEGMENT: Final = {"startIndex", "endIndex", "text"}


class _Place(NamedTuple):
    """A citation: whose, and of which bytes of the text."""

    uri: str
    title: str | None
    start: int
    end: int
    license: str | None = None


class Grounding:
    """Collects the sources of one choice, which may come before, with or after the text.

    An event of a stream may repeat the sources of those before, also with more behind them, or begin a list of
    its own. Supports count in the list that came last.
    """

    __slots__ = ("_begin", "_chunks", "_cited", "_metadata", "_pending", "_says_more", "_supports", "offsets")

    def __init__(self) -> None:
        self.offsets = ByteOffsets()
        """To be told the choice's text."""
        self._chunks: list[bytes] = []
        """All sources, as they came."""
        self._begin = 0  # of the list that came last, among them
        self._pending: list[bytes] = []  # supports whose sources have not come yet
        self._supports: dict[tuple[int, bytes], None] = {}
        """Those whose sources have come, with the beginning of their list; in order, none twice."""
        self._cited: dict[_Place, str | None] = {}
        """With the cited text, where it is told; in order, none twice."""
        self._says_more = False
        """Whether a source or a support says what no citation does."""
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
                    start, end = citation.start_index or 0, citation.end_index or 0
                    self._cite(_Place(citation.uri, citation.title, start, end, citation.license), None)

    @property
    def metadata(self) -> dict[str, Any]:
        """What of it no citation says, by the provider's names: queries, search suggestions, fetched pages.

        Also the sources and supports, where they say more than a citation can (pieces of documents, confidence
        scores), or where there is no source for a support. Those of many lists are put into one.
        """
        if not self._says_more and not self._pending:
            return self._metadata
        supports = [_counted_from(begin, support) for begin, support in self._supports]
        supports += [msgspec.json.decode(support) for support in self._pending]
        lists = {
            "groundingChunks": [msgspec.json.decode(chunk) for chunk in self._chunks],
            "groundingSupports": supports,
        }
        told = {name: items for name, items in lists.items() if items}
        return self._metadata | {"groundingMetadata": self._metadata.get("groundingMetadata", {}) | told}

    def annotations(self) -> list[dict[str, Any]]:
        """All citations, once the text is complete: those of a place first, then sources without one."""
        used = {(place.uri, place.title) for place in self._cited}
        sources = {(source.uri, source.title): source.uri for source in map(_source, self._chunks)}
        rest = [_Place(uri, key[1], 0, 0) for key, uri in sources.items() if uri and key not in used]
        return [
            self._annotation(place, text) for place, text in (*self._cited.items(), *((place, None) for place in rest))
        ]

    def _add_grounding(self, grounding: dict[str, msgspec.Raw]) -> None:
        rest = {name: raw for name, raw in grounding.items() if name not in {"groundingChunks", "groundingSupports"}}
        if chunks := _items(grounding, "groundingChunks"):
            self._add_chunks(chunks)
        if len(self._supports) + len(self._pending) < _MOST_CITATIONS:
            self._pending += _items(grounding, "groundingSupports")
        if len(self._chunks) > self._begin:
            for support in self._pending:
                self._add_support(support)
            self._pending = []
        if rest:
            told = {name: msgspec.json.decode(raw) for name, raw in rest.items()}
            self._metadata["groundingMetadata"] = self._metadata.get("groundingMetadata", {}) | told

    def _add_chunks(self, chunks: list[bytes]) -> None:
        known = self._chunks[self._begin :]
        if all(chunk == other for chunk, other in zip(known, chunks, strict=False)):
            new = chunks[len(known) :]
        else:
            new = chunks
            if len(self._chunks) < _MOST_CITATIONS:
                self._begin = len(self._chunks)
            del self._chunks[self._begin :]
        self._chunks += new
        self._says_more = self._says_more or not all(map(_is_told, new))

    def _add_support(self, encoded: bytes) -> None:
        if (self._begin, encoded) in self._supports:
            return
        self._supports[self._begin, encoded] = None
        support = wire.decode_support(encoded)
        segment = support.segment or wire.Segment()
        places = support.grounding_chunk_indices or []
        uris = []
        for index in places:
            within = 0 <= index < len(self._chunks) - self._begin
            source = _source(self._chunks[self._begin + index]) if within else wire.Source()
            uris.append(source.uri)
            if source.uri:
                place = _Place(source.uri, source.title, segment.start_index or 0, segment.end_index or 0)
                self._cite(place, segment.text)
        members: dict[str, Any] = msgspec.json.decode(encoded)
        says_more = not (members.keys() <= _OF_A_SUPPORT and (members.get("segment") or {}).keys() <= _OF_A_SEGMENT)
        self._says_more = self._says_more or says_more or not uris or not all(uris)

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


def _items(grounding: dict[str, msgspec.Raw], name: str) -> list[bytes]:
    """The JSON texts of a list's items."""
    return [bytes(item) for item in wire.decode_items(grounding[name]) or ()] if name in grounding else []


def _source(encoded: bytes) -> wire.Source:
    chunk = wire.decode_chunk(encoded)
    source = chunk.web or chunk.retrieved_context or chunk.maps or chunk.image or wire.Source()
    return wire.Source(uri=source.uri or source.source_uri, title=source.title)


def _is_told(encoded: bytes) -> bool:
    """Whether a citation says all of the source."""
    chunk: dict[str, Any] = msgspec.json.decode(encoded)
    return bool(_source(encoded).uri) and all(
        not source or (isinstance(source, dict) and source.keys() <= _OF_A_CITATION.get(kind, set()))
        for kind, source in chunk.items()
    )


def _counted_from(begin: int, encoded: bytes) -> dict[str, Any]:
    """The support with places in the list of all sources, of which its own begins at `begin`."""
    support: dict[str, Any] = msgspec.json.decode(encoded)
    if begin and support.get("groundingChunkIndices"):
        support["groundingChunkIndices"] = [begin + index for index in support["groundingChunkIndices"]]
    return support
