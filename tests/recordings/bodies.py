"""Provider requests in a normal form, so that a recorded one and Parley's can be compared.

Only what the provider itself takes for equal is made equal. Every other difference is a row of
`differences.ALLOWED`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_GEMINI_SCHEMAS = {"parametersJsonSchema", "parameters", "responseJsonSchema", "responseSchema"}
_GEMINI_VALUES = {"args", "response"}
_WRAPPERS = {"return_value", "result", "output"}
_CLIENTS_IDS = re.compile(r"pyd_ai_|call_")


def normal_anthropic(request: Json) -> Json:
    """Nulls are absent; a string is one text block; `false` and "direct" are the defaults.

    Source: https://docs.anthropic.com/en/api/messages (2026-11-22): content "string" is shorthand
    for one text block; `stream` and `is_error` default to false, `caller` to direct.
    """
    body = {name: _without_nulls(value) for name, value in request.items() if value is not None}
    if body.get("stream") is False:
        del body["stream"]
    if "system" in body:
        body["system"] = _blocks(body["system"])
    body["messages"] = [
        {**message, "content": [_normal_block(block) for block in _blocks(message["content"])]}
        for message in body["messages"]
    ]
    body["tools"] = [
        {name: in_order(value) if name == "input_schema" else value for name, value in tool.items()}
        for tool in body.get("tools", [])
    ]
    if "format" in body.get("output_config", {}):
        form = body["output_config"]["format"]
        body["output_config"] = {**body["output_config"], "format": {**form, "schema": in_order(form["schema"])}}
    return body


def _blocks(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _normal_block(block: Json) -> Json:
    block = dict(block)
    if block["type"] == "tool_result":
        block["content"] = _blocks(block["content"])
        if block.get("is_error") is False:
            del block["is_error"]
    if block.get("caller") == {"type": "direct"}:
        del block["caller"]
    return block


def normal_gemini(request: Json) -> Json:
    """Names in camelCase, base64 in its usual alphabet, defaults left out, results under one name.

    Source: https://ai.google.dev/api/caching#FunctionResponse (2026-11-22): a response without
    `output` and `error` is the output.
    """
    body: Json = _camel_case(request)
    body.get("systemInstruction", {}).pop("role", None)
    config = body.get("generationConfig", {})
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
    if not config:
        body.pop("generationConfig", None)
    for content in body["contents"]:
        content["parts"] = [_normal_part(part) for part in content["parts"]]
    functions = [function for tool in body.get("tools", ()) for function in tool.get("functionDeclarations", ())]
    others = [tool for tool in body.get("tools", ()) if "functionDeclarations" not in tool]
    if functions:
        others.append({"functionDeclarations": [_normal_function(function) for function in functions]})
    if others:
        body["tools"] = others
    return body


def with_files_after_results(body: Json) -> Json:
    """A normal Gemini request in which files by address stand after a result, in a content of their own.

    So all of Google's APIs take them; the recorded client put them within it, which only Vertex AI
    takes. Source: https://ai.google.dev/gemini-api/docs/function-calling#multimodal
    (2026-11-22), which has results hold data only.
    """
    contents = []
    for content in body["contents"]:
        files = []
        for result in (part["functionResponse"] for part in content["parts"] if "functionResponse" in part):
            data = result.pop("parts", [])
            files += [item for item in data if "fileData" in item]
            if inline := [item for item in data if "fileData" not in item]:
                result["parts"] = inline
        contents += [content, {"role": "user", "parts": files}] if files else [content]
    return {**body, "contents": contents}


def with_numbered_ids(body: Json) -> Json:
    """A normal Gemini request in which ids that no provider made are numbers: who made them is left out of
    account, and that each result names its call is not.
    """
    numbers: dict[str, str] = {}
    for called in _calls_and_results(body):
        if _CLIENTS_IDS.match(called.get("id", "")):
            called["id"] = numbers.setdefault(called["id"], f"number {len(numbers)}")
    return body


def without_clients_ids(body: Json) -> Json:
    """A normal Gemini request without the ids that no provider made."""
    for called in _calls_and_results(body):
        if _CLIENTS_IDS.match(called.get("id", "")):
            del called["id"]
    return body


def _calls_and_results(body: Json) -> Iterator[Json]:
    for content in body["contents"]:
        for part in content["parts"]:
            yield from (part[name] for name in ("functionCall", "functionResponse") if name in part)


def _normal_part(part: Json) -> Json:
    if "thoughtSignature" in part:
        part["thoughtSignature"] = _usual_base64(part["thoughtSignature"])
    for data in [part, *part.get("functionResponse", {}).get("parts", ())]:
        if "inlineData" in data:
            data["inlineData"]["data"] = _usual_base64(data["inlineData"]["data"])
    if "functionResponse" in part:
        response = part["functionResponse"].get("response", {})
        if len(response) == 1 and set(response) <= _WRAPPERS:
            part["functionResponse"]["response"] = {"output": next(iter(response.values()))}
    return part


def _normal_function(function: Json) -> Json:
    """`parameters` has OpenAPI's spelling of types; an empty description is none."""
    function = dict(function)
    if "parameters" in function:
        text = re.sub(r'"type": "([A-Z]+)"', lambda match: match[0].lower(), json.dumps(function.pop("parameters")))
        function["parametersJsonSchema"] = json.loads(text)
    if function.get("description") == "":
        del function["description"]
    return function


def _usual_base64(data: str) -> str:
    return data.replace("-", "+").replace("_", "/")


def _camel_case(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_camel_case(item) for item in value]
    if not isinstance(value, dict) or name in _GEMINI_SCHEMAS | _GEMINI_VALUES:
        return value
    named = {_camel(key): member for key, member in value.items() if member is not None}
    return {key: _camel_case(member, key) for key, member in named.items()}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def normal_openai(request: Json) -> Json:
    """Nulls and empty lists are absent, as are defaults and what only the recording client's types have.

    Source: https://platform.openai.com/docs/api-reference/chat/create (2026-11-22): `stream` defaults
    to false, a string is one text part; https://docs.mistral.ai/api (2026-11-22): `prefix` to false.
    """
    body = {name: value for name, value in request.items() if value is not None}
    if body.get("stream") is False:
        del body["stream"]
    body["messages"] = [_normal_message(message) for message in body["messages"]]
    if "tools" in body:
        body["tools"] = [_normal_tool(tool) for tool in body["tools"]]
    schema = body.get("response_format", {}).get("json_schema")
    if schema:
        form = {**schema, "schema": in_order(schema["schema"])}
        body["response_format"] = {**body["response_format"], "json_schema": form}
    return {name: value for name, value in body.items() if value != []}


def _normal_message(message: Json) -> Json:
    message = {name: value for name, value in message.items() if value not in (None, []) and value is not False}
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = [{"type": "text", "text": content}]
    if "tool_calls" in message:
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for call in message["tool_calls"]
        ]
        if content == "":
            del message["content"]
    return message


def _normal_tool(tool: Json) -> Json:
    tool = {"type": "function", **tool}
    if "parameters" in tool.get("function", {}):
        function = tool["function"]
        tool["function"] = {**function, "parameters": in_order(function["parameters"])}
        if function.get("strict") is False:
            del tool["function"]["strict"]
    return tool


def in_order(schema: Any) -> str:
    """JSON as text, so that a comparison sees the order of its keys."""
    return json.dumps(schema)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        kept = {"input", "input_schema", "schema"}
        return {
            name: item if name in kept else _without_nulls(item) for name, item in value.items() if item is not None
        }
    return value


def differences(recorded: Any, received: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, by path: what was recorded, and what was received; ABSENT where nothing."""
    if isinstance(recorded, dict) and isinstance(received, dict):
        for name in sorted({*recorded, *received}):
            place = f"{path}.{name}" if path else name
            yield from differences(recorded.get(name, ABSENT), received.get(name, ABSENT), place)
    elif isinstance(recorded, list) and isinstance(received, list) and len(recorded) == len(received):
        for index, (one, other) in enumerate(zip(recorded, received, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif recorded != received or isinstance(recorded, bool) is not isinstance(received, bool):
        yield path, recorded, received


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()
