"""What a recorded answer of Anthropic says, worked out of its raw JSON or events."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.recordings.asked_anthropic import REASONING_FORMAT
from tests.recordings.said import Said, above_zero, json_text, without_nulls
from tests.support.recordings import Interaction

Json = dict[str, Any]

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause_turn",
}
_OWN_WORDS = {"text", "thinking", "redacted_thinking", "tool_use"}
"""Kinds of block that the contract has words for."""


def said_by_anthropic(interaction: Interaction) -> Said:
    """What the answer has to become."""
    message = message_of(interaction)
    said = Said(
        finish=FINISH[message["stop_reason"]],
        native_finish=message["stop_reason"],
        stop_sequence=message.get("stop_sequence"),
        usage=_usage(message["usage"]),
        attached=message.get("container"),
    )
    if said.native_finish == said.finish:
        said.native_finish = None
    for block in message["content"]:
        _add(said, without_nulls(block))
    if any(block["type"] not in _OWN_WORDS or block.get("citations") for block in message["content"]):
        said.native = [without_nulls(block) for block in message["content"]]
    return said


def message_of(interaction: Interaction) -> Json:
    """The whole message."""
    return _message_of_events(interaction.events()) if interaction.is_stream else interaction.whole()


def _add(said: Said, block: Json) -> None:
    index = len(said.details)
    match block["type"]:
        case "text":
            start = len(said.text)
            said.text += block["text"]
            said.annotations += [_annotation(told, start, len(said.text)) for told in block.get("citations", [])]
        case "thinking":
            said.reasoning += block["thinking"]
            known = {"text": block["thinking"], "signature": block["signature"]}
            said.details.append({"type": "reasoning.text", **known, "format": REASONING_FORMAT, "index": index})
        case "redacted_thinking":
            known = {"data": block["data"], "format": REASONING_FORMAT, "index": index}
            said.details.append({"type": "reasoning.encrypted", **known})
        case "tool_use":
            extra = {"anthropic": {"caller": block["caller"]}} if "caller" in block else None
            arguments = json_text(block["input"])
            said.calls.append({"id": block["id"], "name": block["name"], "arguments": arguments, "extra": extra})


def _annotation(citation: Json, start: int, end: int) -> Json:
    assert citation["type"] == "web_search_result_location", "the recordings have no other"
    told = {name: citation[name] for name in ("url", "title", "cited_text") if name in citation}
    return {"type": "url_citation", "url_citation": {**told, "start_index": start, "end_index": end}}


def _usage(usage: Json) -> Json:
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    prompt, completion = usage["input_tokens"] + read + written, usage["output_tokens"]
    created = usage.get("cache_creation") or {}
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return above_zero(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": read,
                "cache_write_tokens": written,
                "cache_write_1h_tokens": created.get("ephemeral_1h_input_tokens"),
            },
            "completion_tokens_details": {"reasoning_tokens": thinking},
            "server_tool_use": {
                **(usage.get("server_tool_use") or {}),
                **Counter(step["type"] for step in usage.get("iterations") or () if step["type"] != "message"),
            },
        }
    )


def _message_of_events(events: list[Json]) -> Json:
    """The message that a stream's events tell piece by piece.

    Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming (2026-11-22); the counts of
    `message_delta` are cumulative and replace those of `message_start`.
    """
    message: Json = {}
    inputs: dict[int, str] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                _add_delta(message["content"][event["index"]], event["delta"], inputs, event["index"])
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= {name: value for name, value in event["usage"].items() if value is not None}
            case kind:
                assert kind in {"ping", "content_block_stop", "message_stop"}, kind
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return message


def _add_delta(block: Json, delta: Json, inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]
        case kind:
            raise AssertionError(kind)
