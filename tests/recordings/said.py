"""What an answer says, in one form for the contract's answers and for the providers' own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.recordings.contract import merged_details

Json = dict[str, Any]


@dataclass
class Said:
    """Everything that a caller can learn from an answer, but its ids and times."""

    text: str = ""
    refusal: str | None = None
    reasoning: str = ""
    details: list[Json] = field(default_factory=list)
    """Reasoning blocks, each whole."""
    calls: list[Json] = field(default_factory=list)
    """With `id` (None: the provider gave none), `name`, `arguments` (JSON text in one spelling) and `extra`."""
    annotations: list[Json] = field(default_factory=list)
    native: list[Json] | None = None
    """The provider's own blocks or parts in their order; None where there is no need to send them back."""
    attached: Json | None = None
    """What is said of the provider's own tools besides: Anthropic's container, Gemini's searches and pages."""
    finish: str | None = None
    native_finish: str | None = None
    """The provider's own word, where it is another."""
    stop_sequence: str | None = None
    usage: Json | None = None
    """Counts above 0; `cost_usd` only where the provider tells it."""
    filter_results: Json | None = None
    logprobs: list[Json] | None = None


def json_text(value: Any) -> str:
    """JSON in one spelling, the keys in their order."""
    return json.dumps(value)


def above_zero(usage: Json) -> Json:
    """A usage without the counts that are 0, and without what is then empty."""
    kept = {name: above_zero(value) if isinstance(value, dict) else value for name, value in usage.items()}
    return {name: value for name, value in kept.items() if value}


def without_nulls(value: Any) -> Any:
    """JSON in which a null is the same as nothing."""
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return value


def said_by_parley(choice: Json, usage: Json | None) -> Said:
    """What a choice of the contract says, whole or made of chunks."""
    message = choice["message"]
    assert message["role"] == "assistant"
    details = merged_details(message.get("reasoning_details", []))
    entries = message.get("provider_content", [])
    ordered = [entry for entry in entries if not _ASIDE & set(entry)]
    return Said(
        text=message.get("content", ""),
        refusal=message.get("refusal"),
        reasoning=message.get("reasoning_content", ""),
        details=details,
        calls=[_call(call) for call in message.get("tool_calls", [])],
        annotations=message.get("annotations", []),
        native=_native(message, ordered, details) if ordered else None,
        attached=next((entry[name] for entry in entries for name in _ASIDE & set(entry)), None),
        finish=choice.get("finish_reason"),
        native_finish=choice.get("native_finish_reason"),
        stop_sequence=choice.get("stop_sequence"),
        usage=None if usage is None else above_zero(usage),
        filter_results=choice.get("content_filter_results"),
        logprobs=choice.get("logprobs", {}).get("content"),
    )


_ASIDE = {"container", "metadata"}
"""Members of entries that say nothing of the order."""
_ORDERED = {"anthropic", "gemini"}
"""Formats whose entries tell the whole order; the others are reports that no API takes back."""


def _call(call: Json) -> Json:
    assert call["type"] == "function"
    function = call["function"]
    arguments = json_text(json.loads(function["arguments"]))
    return {"id": call["id"], "name": function["name"], "arguments": arguments, "extra": call.get("extra_content")}


def _native(message: Json, entries: list[Json], details: list[Json]) -> list[Json]:
    """The entries with what they refer to put in their places, in the provider's own form."""
    calls = {call["id"]: call for call in message.get("tool_calls", [])}
    content, place = message.get("content", ""), 0
    blocks = []
    if {entry["format"] for entry in entries}.isdisjoint(_ORDERED):
        return [entry["block"] for entry in entries]
    for entry in entries:
        attached = entry.get("block", {})
        match sorted(set(entry) - {"format", "block"}):
            case ["text_length"]:
                text = content[place : place + entry["text_length"]]
                place += entry["text_length"]
                blocks.append(_text_block(entry["format"], text, attached))
            case ["reasoning_index"]:
                blocks.append(_reasoning_block(entry["format"], details[entry["reasoning_index"]], attached))
            case ["tool_call_id"]:
                blocks.append(_call_block(entry["format"], calls[entry["tool_call_id"]]))
            case []:
                blocks.append(without_nulls(attached))
            case keys:
                raise AssertionError(keys)
    assert place == len(content), "the entries leave text out"
    return blocks


def _text_block(form: str, text: str, attached: Json) -> Json:
    assert "text" not in attached, "the text is repeated"
    block = {"text": text, **without_nulls(attached)}
    return {"type": "text", **block} if form == "anthropic" else block


def _reasoning_block(form: str, detail: Json, attached: Json) -> Json:
    if form == "gemini":
        return {"text": detail["text"], "thought": True, **attached}
    if detail["type"] == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": detail["data"]}
    return {"type": "thinking", "thinking": detail.get("text", ""), "signature": detail["signature"]}


def _call_block(form: str, call: Json) -> Json:
    extra = call.get("extra_content", {})
    name, value = call["function"]["name"], json.loads(call["function"]["arguments"])
    if form == "gemini":
        signature = extra.get("google", {}).get("thought_signature")
        called = {"functionCall": {"id": call["id"], "name": name, "args": value}}
        return called | ({"thoughtSignature": signature} if signature else {})
    return {"type": "tool_use", "id": call["id"], "name": name, "input": value, **extra.get("anthropic", {})}
