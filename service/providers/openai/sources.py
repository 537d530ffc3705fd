"""Sources that OpenAI-compatible providers name outside of the message, as annotations. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.json_values import Json
from service.providers.openai import wire


def has_sources(answer: wire.Completion) -> bool:
    """Whether there is anything that may name sources; most chunks of streams have nothing."""
    return answer.citations is not None or answer.search_results is not None or answer.web_search is not None


def url_citations(answer: wire.Completion) -> Iterator[tuple[str, dict[str, Json]]]:
    """Address and annotation of each source.

    xAI and Perplexity list addresses (`citations`), Perplexity also titles (`search_results`), Z.ai has
    `web_search`. None says which text it is about.

    Source: https://docs.perplexity.ai/api-reference/chat-completions-post,
    https://docs.z.ai/api-reference/llm/chat-completion (2026-11-22).
    """
    titles = dict(_titled(answer.search_results, "url"))
    sources: dict[str, str | None] = {url: titles.get(url) for url in _strings(answer.citations)}
    if not sources:
        sources.update(titles)
    sources.update(_titled(answer.web_search, "link"))
    for url, title in sources.items():
        citation: dict[str, Json] = {"url": url}
        if title:
            citation["title"] = title
        yield url, {"type": "url_citation", "url_citation": citation}


def _titled(entries: Any, address: str) -> Iterator[tuple[str, str | None]]:
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        url, title = entry.get(address), entry.get("title")
        if isinstance(url, str) and url:
            yield url, title if isinstance(title, str) else None


def _strings(entries: Any) -> list[str]:
    return [entry for entry in entries if isinstance(entry, str) and entry] if isinstance(entries, list) else []
