"""From a recorded request to Anthropic back to the contract's, as a caller of Parley would ask it."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

FORMAT = "anthropic"
REASONING_FORMAT = "anthropic-claude-v1"
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_FUNCTION_KEYS = {"name", "description", "input_schema", "strict", "cache_control", "type"}


def asked_anthropic(request: Json) -> Json:
    """The contract's request, without `model`."""
    request = {name: value for name, value in request.items() if value is not None}
    body: Json = {"messages": _messages(request)}
    rest = {name: value for name, value in request.items() if name not in {"model", "messages", "system", "stream"}}
    body["max_tokens"] = rest.pop("max_tokens")
    if "stop_sequences" in rest:
        body["stop"] = rest.pop("stop_sequences")
    if "tools" in rest:
        body["tools"] = [_tool(tool) for tool in rest.pop("tools")]
    if "tool_choice" in rest:
        body["tool_choice"] = _TOOL_CHOICES[rest.pop("tool_choice")["type"]]
    if "thinking" in rest:
        body["thinking"] = rest.pop("thinking")
    output = rest.pop("output_config", {})
    if "effort" in output:
        body["reasoning_effort"] = output["effort"]
    if "format" in output:
        schema = {"name": "answer", "schema": output["format"]["schema"]}
        body["response_format"] = {"type": output["format"]["type"], "json_schema": schema}
    if rest:  # what only this provider has: mcp_servers, container
        body["extra_body"] = rest
    return body


def _messages(request: Json) -> list[Json]:
    messages: list[Json] = []
    if "system" in request:
        messages.append({"role": "system", "content": _content(request["system"])})
    for message in request["messages"]:
        content = message["content"]
        if message["role"] == "assistant":
            messages.append(assistant_message(content))
        elif message["role"] == "system":
            messages.append({"role": "system", "content": _content(content)})
        else:
            messages += _user_messages(content)
    return messages


def _user_messages(content: str | list[Json]) -> list[Json]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results = [block for block in content if block["type"] == "tool_result"]
    assert content[: len(results)] == results, "results come first"
    messages = [
        {
            "role": "tool",
            "tool_call_id": block["tool_use_id"],
            "content": _content(block["content"]),
            "is_error": block["is_error"],
        }
        for block in results
    ]
    if parts := content[len(results) :]:
        messages.append({"role": "user", "content": _content(parts)})
    return messages


def _content(content: str | list[Json]) -> str | list[Json]:
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: Json) -> Json:
    part: Json
    match block["type"], block.get("source", {}).get("type"):
        case "text", _:
            part = {"type": "text", "text": block["text"]}
        case "image", "base64":
            source = block["source"]
            part = {"type": "image_url", "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"}}
        case "image", "file":
            part = {"type": "file", "file": {"file_id": block["source"]["file_id"], "mime_type": "image/png"}}
        case "document", "base64":
            source = block["source"]
            part = {"type": "file", "file": {"file_data": f"data:{source['media_type']};base64,{source['data']}"}}
        case "document", "file":
            part = {"type": "file", "file": {"file_id": block["source"]["file_id"]}}
        case kind:
            raise AssertionError(kind)
    return part | ({"cache_control": block["cache_control"]} if "cache_control" in block else {})


def assistant_message(blocks: list[Json]) -> Json:
    """The message that Parley gives for these blocks, and takes back for them."""
    if any("cache_control" in block for block in blocks):
        return {"role": "assistant", "content": _content(blocks)}
    message: Json = {"role": "assistant"}
    entries: list[Json] = []
    details: list[Json] = []
    calls: list[Json] = []
    text = ""
    for block in blocks:
        match block["type"]:
            case "text":
                text += block["text"]
                entries.append({"format": FORMAT, "text_length": len(block["text"])})
            case "thinking":
                entries.append({"format": FORMAT, "reasoning_index": len(details)})
                known = {"text": block["thinking"], "signature": block["signature"]}
                details.append({"type": "reasoning.text", **known, "format": REASONING_FORMAT, "index": len(details)})
            case "tool_use":
                entries.append({"format": FORMAT, "tool_call_id": block["id"]})
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                calls.append({"id": block["id"], "type": "function", "function": function})
            case _:
                entries.append({"format": FORMAT, "block": block})
    message |= {"content": text} if text else {}
    message |= {"reasoning_details": details} if details else {}
    message |= {"tool_calls": calls} if calls else {}
    if any("block" in entry for entry in entries):
        message["provider_content"] = entries
    return message


def _tool(tool: Json) -> Json:
    if not set(tool) <= _FUNCTION_KEYS or tool.get("type", "custom") != "custom":
        return {"type": "provider", "provider": tool}
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if name in tool}
    return {"type": "function", "function": function}
