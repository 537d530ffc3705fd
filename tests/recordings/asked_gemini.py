"""From a recorded request to Gemini back to the contract's, as a caller of Parley would ask it.

It reads the normal form of `bodies.normal_gemini`, where all names are in camelCase.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

FORMAT = "gemini"
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/wav": "wav"}


def asked_gemini(request: Json) -> Json:
    """The contract's request, without `model`."""
    body: Json = {"messages": _messages(request)}
    tools = request.get("tools", [])
    if tools:
        body["tools"] = [item for tool in tools for item in _tools(tool)]
    if "safetySettings" in request:
        body["safety_settings"] = request["safetySettings"]
    body |= _generation(request.get("generationConfig", {}))
    extra: Json = {name: request[name] for name in ("modelArmorConfig",) if name in request}
    config = dict(request.get("toolConfig", {}))
    calling = config.get("functionCallingConfig", {})
    if calling.get("mode") == "ANY":
        del config["functionCallingConfig"]
        allowed = [{"type": "function", "function": {"name": name}} for name in calling["allowedFunctionNames"]]
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}}
    extra |= {"toolConfig": config} if config else {}
    known = {"contents", "systemInstruction", "tools", "safetySettings", "generationConfig", "toolConfig"}
    assert set(request) <= known | {"modelArmorConfig"}
    return body | ({"extra_body": extra} if extra else {})


def _generation(config: Json) -> Json:
    config = dict(config)
    body: Json = {}
    for theirs, ours in (
        ("temperature", "temperature"),
        ("maxOutputTokens", "max_completion_tokens"),
        ("stopSequences", "stop"),
        ("responseLogprobs", "logprobs"),
        ("logprobs", "top_logprobs"),
    ):
        if theirs in config:
            body[ours] = config.pop(theirs)
    if config.pop("responseModalities", None):
        body["modalities"] = ["text"]
    if config.pop("responseMimeType", None):
        schema = config.pop("responseJsonSchema", None)
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        body["response_format"] = form if schema else {"type": "json_object"}
    thinking = config.pop("thinkingConfig", {})
    if "includeThoughts" in thinking:
        body["include_reasoning"] = thinking["includeThoughts"]
    if "thinkingBudget" in thinking:
        body["thinking_budget"] = thinking["thinkingBudget"]
    assert not config
    return body


def _tools(tool: Json) -> list[Json]:
    if "functionDeclarations" not in tool:
        return [{"type": "provider", "provider": tool}]
    functions = []
    for declared in tool["functionDeclarations"]:
        function = {"name": declared["name"]}
        function |= {"description": declared["description"]} if "description" in declared else {}
        if "parametersJsonSchema" in declared:
            function["parameters"] = declared["parametersJsonSchema"]
        functions.append({"type": "function", "function": function})
    return functions


def _messages(request: Json) -> list[Json]:
    messages: list[Json] = []
    if "systemInstruction" in request:
        (part,) = request["systemInstruction"]["parts"]
        messages.append({"role": "system", "content": part["text"]})
    for content in request["contents"]:
        if content["role"] == "model":
            messages.append(assistant_message(content["parts"]))
        else:
            messages += _user_messages(content["parts"])
    return messages


def _user_messages(parts: list[Json]) -> list[Json]:
    messages = [_result(part["functionResponse"]) for part in parts if "functionResponse" in part]
    others = [_part(part) for part in parts if "functionResponse" not in part]
    assert not (messages and others)
    return messages or [{"role": "user", "content": others}]


def _result(result: Json) -> Json:
    """A result's `output` or `error` is the text; any other object is given as JSON text."""
    response = result["response"]
    message: Json = {"role": "tool", "tool_call_id": result["id"]}
    if set(response) == {"error"}:
        message |= {"content": response["error"], "is_error": True}
    elif set(response) == {"output"}:
        message["content"] = response["output"]
    elif "parts" not in result:
        message["content"] = json.dumps(response)
    else:
        assert not response
        message["content"] = [_part(part) for part in result["parts"]]
    return message


def _part(part: Json) -> Json:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "fileData" in part:
        file = part["fileData"]
        return {"type": "file", "file": {"file_url": file["fileUri"], "mime_type": file["mimeType"]}}
    data, mime_type = part["inlineData"]["data"], part["inlineData"]["mimeType"]
    if mime_type in _AUDIO_FORMATS:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO_FORMATS[mime_type]}}
    assert mime_type.startswith("image/")
    return {"type": "image_url", "image_url": {"url": f"data:{mime_type};base64,{data}"}}


def assistant_message(parts: list[Json]) -> Json:
    """The message that Parley gives for these parts, and takes back for them."""
    entries: list[Json] = []
    calls: list[Json] = []
    text = ""
    for part in parts:
        if "text" in part:
            text += part["text"]
            attached = {name: value for name, value in part.items() if name != "text"}
            entry = {"format": FORMAT, "text_length": len(part["text"])}
            entries.append(entry | ({"block": attached} if attached else {}))
        elif "functionCall" in part:
            call = _call(part)
            entries.append({"format": FORMAT, "tool_call_id": call["id"]})
            calls.append(call)
        else:
            entries.append({"format": FORMAT, "block": part})
    message: Json = {"role": "assistant"}
    message |= {"content": text} if text else {}
    message |= {"tool_calls": calls} if calls else {}
    if any("block" in entry for entry in entries):
        message["provider_content"] = entries
    return message


def _call(part: Json) -> Json:
    called = part["functionCall"]
    function = {"name": called["name"], "arguments": json.dumps(called["args"])}
    call: Json = {"id": called["id"], "type": "function", "function": function}
    if "thoughtSignature" in part:
        call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
    return call
