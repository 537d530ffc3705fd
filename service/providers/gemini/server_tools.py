"""How often Gemini ran tools of its own, which are charged besides the tokens. Pure.

The API counts nothing itself; it tells queries, and some answers of Gemini 3 the calls. What is charged are
queries, each once, and empty ones not at all.

Source: https://ai.google.dev/gemini-api/docs/google-search (2026-11-22), as quoted at
https://discuss.ai.google.dev/t/168136 (2026-11-22), and recordings
google/test_native_output_with_builtin_tools_stream (with an empty query, and one in a call and in the metadata)
and google/test_tool_output_with_builtin_tools (a call alone).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from service.providers.gemini import wire

_QUERIES: Final = {
    "webSearchQueries": "web_search_requests",
    "imageSearchQueries": "image_search_requests",
    "retrievalQueries": "retrieval_requests",
}
"""The count by the list of queries in the metadata of the search."""
_SOURCES: Final = {"maps": "maps_requests", "retrievedContext": "retrieval_requests"}
"""The count by the kind of a source, of a tool that may tell no queries."""
_CALLS: Final = {
    "GOOGLE_SEARCH_WEB": "web_search_requests",
    "GOOGLE_SEARCH_IMAGE": "image_search_requests",
    "GOOGLE_MAPS": "maps_requests",
    "FILE_SEARCH": "retrieval_requests",
    "URL_CONTEXT": "web_fetch_requests",
}
"""The count by the type of a call. Source: google-genai 3.4, ToolType."""
_OTHER_CALLS: Final = "tool_requests"
_MOST_QUERIES: Final = 10_000


class ServerTools:
    """Counts the runs of the provider's own tools for one answer, whose candidates share them."""

    __slots__ = ("_queries", "_runs")

    def __init__(self) -> None:
        self._queries: set[tuple[str, int]] = set()
        """Those that were run, by their count; of each its hash alone, so that a long one takes no room."""
        self._runs: Counter[str] = Counter()
        """Runs by a call, or by a source, that told no query."""

    def counts(self) -> dict[str, int]:
        """The runs by kind; a query that was told often counts once."""
        queries = Counter(name for name, _ in self._queries)
        return {name: max(queries[name], self._runs[name]) for name in sorted({*queries, *self._runs})}

    def add_call(self, call: Any) -> None:
        """Count a `toolCall`."""
        kind, arguments = (call.get("toolType"), call.get("args")) if isinstance(call, dict) else (None, None)
        name = _CALLS.get(kind, _OTHER_CALLS) if isinstance(kind, str) else _OTHER_CALLS
        queries = arguments.get("queries") if isinstance(arguments, dict) else None
        if not self._add_queries(name, queries):
            self._runs[name] += 1

    def add_metadata(self, metadata: dict[str, msgspec.Raw]) -> None:
        """Count what the metadata of a search tells, be it for the first time or again."""
        for member, name in _QUERIES.items():
            if member in metadata:
                self._add_queries(name, msgspec.json.decode(metadata[member]))
        chunks = wire.decode_objects(metadata["groundingChunks"]) if "groundingChunks" in metadata else None
        kinds = {kind for chunk in chunks or () for kind in chunk}
        for kind, name in _SOURCES.items():
            if kind in kinds:
                self._runs[name] = max(self._runs[name], 1)

    def _add_queries(self, name: str, queries: Any) -> bool:
        """Whether there are any."""
        told = [query for query in queries if isinstance(query, str) and query] if isinstance(queries, list) else []
        if len(self._queries) < _MOST_QUERIES:
            self._queries.update((name, hash(query)) for query in told)
        return bool(told)
