"""What a recorded answer of an OpenAI-compatible provider says, worked out of its raw JSON or events."""

from __future__ import annotations

import json
from typing import Any

from tests.recordings.contract import merged_details
from tests.recordings.said import Said, above_zero, json_text
from tests.support.recordings import Interaction

Json = dict[str, Any]

_PROMPT_DETAILS = {"cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "text_tokens", "video_tokens"}
_COMPLETION_DETAILS = {
    "reasoning_tokens",
    "audio_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
    "text_tokens",
    "image_tokens",
}


def said_by_openai(interaction: Interaction) -> Said:
    """What the answer has to become."""
    answers = interaction.events() if interaction.is_stream else [interaction.whole()]
    choices = [choice for answer in answers for choice in answer["choices"]]
    said = Said(usage=_usage(answers))
    details: list[Json] = []
    for choice in choices:
        assert choice["index"] == 0
        message = choice["delta"] if interaction.is_stream else choice["message"]
        _add(said, message)
        details += message.get("reasoning_details") or []
        said.annotations += message.get("annotations") or []
        said.refusal = (said.refusal or "") + message["refusal"] if message.get("refusal") else said.refusal
        said.finish = choice.get("finish_reason") or said.finish
        said.native_finish = choice.get("native_finish_reason") or said.native_finish
        said.native = _executed(said.native, message.get("executed_tools") or [])
        said.filter_results = choice.get("content_filter_results") or said.filter_results
    said.details = merged_details(details)
    said.finish = said.finish or ("tool_calls" if said.calls else "stop")
    if said.native_finish == said.finish:
        said.native_finish = None
    for call in said.calls:
        call["arguments"] = json_text(json.loads(call["arguments"]))
    return said


def _add(said: Said, message: Json) -> None:
    content = message.get("content") or ""
    parts: list[Json] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] == "text":
            said.text += part["text"]
        else:
            assert part["type"] == "thinking"
            said.reasoning += "".join(piece["text"] for piece in part["thinking"])
    said.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    for place, fragment in enumerate(message.get("tool_calls") or []):
        if fragment.get("index", place) == len(said.calls):
            said.calls.append({"id": None, "name": "", "arguments": "", "extra": None})
        call = said.calls[fragment.get("index", place)]
        call["id"] = fragment.get("id") or call["id"]
        call["name"] += fragment["function"].get("name") or ""
        call["arguments"] += fragment["function"].get("arguments") or ""


def _executed(known: list[Json] | None, tools: list[Json]) -> list[Json] | None:
    """Tools that Groq ran, by index: a stream tells each when it begins and again when it is done."""
    by_index = {tool["index"]: tool for tool in [*(known or []), *tools]}
    return list(by_index.values()) or None


def _usage(answers: list[Json]) -> Json | None:
    """The last usage told, without what the contract has no place for."""
    told = [answer.get("usage") or (answer.get("x_groq") or {}).get("usage") for answer in answers]
    last = next((usage for usage in reversed(told) if usage), None)
    if last is None:
        return None
    prompt, completion = last.get("prompt_tokens_details") or {}, last.get("completion_tokens_details") or {}
    if "num_cached_tokens" in last:  # Mistral
        prompt = {**prompt, "cached_tokens": last["num_cached_tokens"]}
    return above_zero(
        {
            **{name: last[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
            "prompt_tokens_details": {name: prompt[name] for name in _PROMPT_DETAILS & set(prompt)},
            "completion_tokens_details": {name: completion[name] for name in _COMPLETION_DETAILS & set(completion)},
            "server_tool_use": last.get("server_tool_use_details") or {},
            "cost_usd": last.get("cost"),
        }
    )
