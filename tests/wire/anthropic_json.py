"""Pieces of an answer joined, for the Anthropic tests."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_APPENDED = ("content", "reasoning_content")
_COLLECTED = ("annotations", "reasoning_details", "provider_content")
_OF_CHOICE = ("finish_reason", "native_finish_reason", "stop_sequence", "content_filter_results")


def collected(chunks: list[Json]) -> Json:
    """The only choice of a stream in the form of a whole answer's; lists are collected as they came."""
    message: Json = {"content": ""}
    choice: Json = {"index": 0, "message": message}
    for piece in (piece for chunk in chunks for piece in chunk["choices"]):
        delta = piece["delta"]
        message |= {"role": delta["role"]} if "role" in delta else {}
        for name in _APPENDED:
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for name in _COLLECTED:
            if name in delta:
                message[name] = message.get(name, []) + delta[name]
        for fragment in delta.get("tool_calls", ()):
            _add_call(message.setdefault("tool_calls", []), dict(fragment))
        choice |= {name: piece[name] for name in _OF_CHOICE if piece.get(name) is not None}
    if not message["content"]:
        del message["content"]
    return choice


def _add_call(calls: list[Json], fragment: Json) -> None:
    index = fragment.pop("index")
    if index == len(calls):
        calls.append(fragment)
        return
    assert set(fragment) == {"function"}
    calls[index]["function"] = {
        **calls[index]["function"],
        "arguments": calls[index]["function"]["arguments"] + fragment["function"]["arguments"],
    }
