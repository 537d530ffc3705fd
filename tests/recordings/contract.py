"""A client that knows only the contract: it joins the pieces of a stream, and sends answers back."""

from __future__ import annotations

from typing import Any

_APPENDED = ("content", "refusal", "reasoning_content")
_COLLECTED = ("reasoning_details",)
_NUMBERED = ("annotations", "provider_content")
_OF_CHOICE = ("native_finish_reason", "stop_sequence", "content_filter_results")


def choice_of_chunks(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The only choice of a stream, in the form of a whole answer's; collected lists stay as they came."""
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "message": message}
    for chunk in chunks:
        for piece in chunk["choices"]:
            assert piece["index"] == 0
            _add_delta(message, piece["delta"])
            if piece.get("logprobs"):
                logprobs = choice.setdefault("logprobs", {"content": []})
                logprobs["content"] += piece["logprobs"].get("content", [])
            if piece["finish_reason"] is not None:
                choice["finish_reason"] = piece["finish_reason"]
            choice |= {name: piece[name] for name in _OF_CHOICE if name in piece}
    return choice


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    message |= {"role": delta["role"]} if "role" in delta else {}
    for name in _APPENDED:
        if name in delta:
            message[name] = message.get(name, "") + delta[name]
    for name in _COLLECTED:
        if name in delta:
            message[name] = message.get(name, []) + delta[name]
    for name in _NUMBERED:
        if name in delta:
            known = message.setdefault(name, [])
            assert [entry["index"] for entry in delta[name]] == list(range(len(known), len(known) + len(delta[name])))
            known += [{key: value for key, value in entry.items() if key != "index"} for entry in delta[name]]
    for fragment in delta.get("tool_calls", ()):
        _add_call(message.setdefault("tool_calls", []), fragment)


def _add_call(calls: list[dict[str, Any]], fragment: dict[str, Any]) -> None:
    if fragment["index"] == len(calls):
        calls.append({"id": fragment["id"], "type": fragment["type"], "function": {"name": "", "arguments": ""}})
    call = calls[fragment["index"]]
    for name, text in fragment.get("function", {}).items():
        call["function"][name] += text
    if "extra_content" in fragment:
        assert "extra_content" not in call
        call["extra_content"] = fragment["extra_content"]


def merged_details(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasoning blocks with the pieces of each joined: texts appended, whatever else is set once."""
    merged: dict[Any, dict[str, Any]] = {}
    for place, piece in enumerate(details):
        block = merged.setdefault((piece.get("type"), piece.get("index", -1 - place)), {})
        for name, value in piece.items():
            block[name] = block[name] + value if name in {"text", "summary"} and name in block else value
    return list(merged.values())


def with_merged_details(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its reasoning blocks merged, as one of the two ways to send it back."""
    if "reasoning_details" not in message:
        return message
    return {**message, "reasoning_details": merged_details(message["reasoning_details"])}
