"""What a recorded answer of Gemini says, worked out of its raw JSON or events."""

from __future__ import annotations

from typing import Any

from tests.recordings.said import Said, above_zero, json_text
from tests.support.recordings import Interaction

Json = dict[str, Any]

REASONING_FORMAT = "google-gemini-v1"
_FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "MODEL_ARMOR": "content_filter"}
_CALLS = {"STOP", "UNEXPECTED_TOOL_CALL"}
_DETAILS = {"TEXT": "text_tokens", "IMAGE": "image_tokens", "AUDIO": "audio_tokens", "VIDEO": "video_tokens"}
_NO_PLACE = {"DOCUMENT"}
"""Kinds of tokens that the contract does not tell apart."""


def said_by_gemini(interaction: Interaction) -> Said:
    """What the answer has to become."""
    answers = answers_of(interaction)
    candidates = [candidate for answer in answers for candidate in answer.get("candidates", [])]
    parts = parts_of(interaction)
    said = Said(usage=_usage(answers[-1].get("usageMetadata", {}), _searches(candidates, parts)))
    for part in parts:
        _add(said, part)
    if any("thoughtSignature" in part if "text" in part else "functionCall" not in part for part in parts):
        said.native = joined(parts)
    said.annotations = [annotation for candidate in candidates for annotation in _annotations(said.text, candidate)]
    said.attached = _attached(candidates)
    _add_ending(said, answers, candidates)
    return said


def answers_of(interaction: Interaction) -> list[Json]:
    """The only answer, or those of the stream."""
    return interaction.events() if interaction.is_stream else [interaction.whole()]


def parts_of(interaction: Interaction) -> list[Json]:
    """The parts of the only candidate, as they came."""
    candidates = [candidate for answer in answers_of(interaction) for candidate in answer.get("candidates", [])]
    return [part for candidate in candidates for part in (candidate.get("content") or {}).get("parts", [])]


def _add(said: Said, part: Json) -> None:
    if part.get("thought"):
        said.reasoning += part["text"]
        if said.details:
            said.details[0]["text"] += part["text"]
        else:
            detail = {"type": "reasoning.text", "text": part["text"], "format": REASONING_FORMAT, "index": 0}
            said.details.append(detail)
    elif "text" in part:
        said.text += part["text"]
    elif "functionCall" in part:
        call = part["functionCall"]
        signature = part.get("thoughtSignature")
        extra = {"google": {"thought_signature": signature}} if signature else None
        arguments = json_text(call.get("args", {}))
        said.calls.append({"id": call.get("id"), "name": call["name"], "arguments": arguments, "extra": extra})


def joined(parts: list[Json]) -> list[Json]:
    """The parts, texts and thoughts that have nothing attached joined, and empty ones left out."""
    joined: list[Json] = []
    for part in parts:
        is_plain = set(part) <= {"text", "thought"}
        if is_plain and joined and set(joined[-1]) == set(part):
            joined[-1] = {**part, "text": joined[-1]["text"] + part["text"]}
        elif part != {"text": ""}:
            joined.append(part)
    return joined


def _annotations(text: str, candidate: Json) -> list[Json]:
    """Google counts in bytes of UTF-8, and tells the text that is meant beside it."""
    grounding = candidate.get("groundingMetadata", {})
    annotations = []
    for support in grounding.get("groundingSupports", []):
        segment = support["segment"]
        start, end = (len(text.encode()[: segment.get(name, 0)].decode()) for name in ("startIndex", "endIndex"))
        assert text[start:end] == segment["text"]
        for index in support["groundingChunkIndices"]:
            web = grounding["groundingChunks"][index]["web"]
            told = {"url": web["uri"]} | ({"title": web["title"]} if "title" in web else {})
            citation = {**told, "start_index": start, "end_index": end}
            annotations.append({"type": "url_citation", "url_citation": citation})
    return annotations


def _attached(candidates: list[Json]) -> Json | None:
    """What is said of the search and of fetched pages besides the citations."""
    grounding: Json = {}
    pages: Json = {}
    for candidate in candidates:
        grounding |= candidate.get("groundingMetadata", {})
        pages |= candidate.get("urlContextMetadata", {})
    rest = {name: value for name, value in grounding.items() if name not in {"groundingChunks", "groundingSupports"}}
    attached = {"groundingMetadata": rest, "urlContextMetadata": pages}
    return {name: value for name, value in attached.items() if value} or None


def _add_ending(said: Said, answers: list[Json], candidates: list[Json]) -> None:
    feedback = answers[-1].get("promptFeedback", {})
    if "blockReason" in feedback:
        said.finish, said.native_finish = "content_filter", feedback["blockReason"]
        said.filter_results = {"block_reason": feedback["blockReason"]}
        return
    last = candidates[-1]
    word = last["finishReason"]
    said.finish = "tool_calls" if said.calls and word in _CALLS else _FINISH[word]
    said.native_finish = word
    if "safetyRatings" in last:
        said.filter_results = {"safety_ratings": last["safetyRatings"]}
    if "logprobsResult" in last:
        result = last["logprobsResult"]
        tops = result.get("topCandidates") or [{}] * len(result["chosenCandidates"])
        said.logprobs = [
            {**_logprob(chosen), "top_logprobs": [_logprob(candidate) for candidate in top.get("candidates", [])]}
            for chosen, top in zip(result["chosenCandidates"], tops, strict=True)
        ]


def _logprob(candidate: Json) -> Json:
    return {"token": candidate["token"], "logprob": candidate["logProbability"]}


def _searches(candidates: list[Json], parts: list[Json]) -> int:
    """How many queries the search was given: all that are told, an equal one once, an empty one not at all."""
    lists = [candidate.get("groundingMetadata", {}).get("webSearchQueries", []) for candidate in candidates]
    for part in parts:
        if "toolCall" in part:
            assert part["toolCall"]["toolType"] == "GOOGLE_SEARCH_WEB"
            lists.append(part["toolCall"]["args"]["queries"])
    return len({query for queries in lists for query in queries} - {""})


def _usage(usage: Json, searches: int) -> Json | None:
    """Tokens that the provider's own tools put in are part of the prompt."""
    if "promptTokenCount" not in usage:
        return None
    found = usage.get("toolUsePromptTokenCount", 0)
    prompt, thoughts = usage["promptTokenCount"] + found, usage.get("thoughtsTokenCount", 0)
    return above_zero(
        {
            "prompt_tokens": prompt,
            "completion_tokens": usage.get("candidatesTokenCount", 0) + thoughts,
            "total_tokens": usage.get("totalTokenCount"),
            "prompt_tokens_details": {
                **_kinds(usage.get("promptTokensDetails", [])),
                "cached_tokens": usage.get("cachedContentTokenCount"),
                "tool_use_tokens": found,
            },
            "completion_tokens_details": {
                "reasoning_tokens": thoughts,
                **_kinds(usage.get("candidatesTokensDetails", [])),
            },
            "server_tool_use": {"web_search_requests": searches},
        }
    )


def _kinds(details: list[Json]) -> Json:
    return {_DETAILS[told["modality"]]: told["tokenCount"] for told in details if told["modality"] not in _NO_PLACE}
