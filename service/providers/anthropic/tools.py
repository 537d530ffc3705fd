"""From the contract's tools to those of the Messages API. Pure.

Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools (2026-11-22, by
anthropic-sdk-python 2.12).
"""

from __future__ import annotations

from typing import Any, Final

from service._gen.parley.v1.tool_pb2 import FunctionDefinition, Tool
from service.errors import invalid, missing
from service.json_values import Json
from service.providers.content import object_at
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall
from service.providers.tool_choice import ToolChoice, tool_choice_of

_ANSWER_TOOL: Final = "json_schema_"

_WEB_SEARCH: Final = "web_search_20250305"
"""The version that every model takes. Newer ones run code to filter what they find, which older models can't:
a caller who wants one gives it as a tool of type "provider".
Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool (2026-11-22)."""

Definition = dict[str, Any]


def answer_tool_name(call: ProviderCall) -> str | None:
    """Name of the tool that stands for `response_format`, whose input is the answer; None where there is none.

    It does so for models that are known not to hold to a schema by themselves (`structured_output` false).
    """
    response_format = call.request.response_format
    if call.capabilities.structured_output is not False or response_format.type != "json_schema":
        return None
    return _ANSWER_TOOL + response_format.json_schema.name


def encode_tools(call: ProviderCall, *, has_budget: bool) -> dict[str, Any]:
    """The body's `tools` and `tool_choice`, as far as there are any.

    Args:
        call: The whole call.
        has_budget: Whether the model is given a budget to think, which rules out that it has to call a tool;
            thinking as it sees fit does not. Source:
            https://platform.claude.com/docs/en/build-with-claude/thinking#thinking-with-tool-use (2026-11-22)

    Raises:
        RequestError: There is what this provider can't do.
    """
    request, omissions = call.request, call.omissions
    choice = tool_choice_of(request) or ToolChoice("auto")
    tools = _offered(call, choice)
    if request.HasField("web_search_options"):
        tools.append(_web_search(object_at("web_search_options", request.web_search_options), omissions))
    wanted: dict[str, Any] | None = None
    if tools and (request.HasField("tool_choice") or _is_off(call, "parallel_tool_calls")):
        wanted = _choice(choice)
    name = answer_tool_name(call)
    if name is not None:
        wanted = {"type": "any"} if tools else {"type": "tool", "name": name}
        tools.append(_answer_tool(name, call))
    if wanted is not None and wanted["type"] in {"any", "tool"} and has_budget:
        param = "response_format" if name is not None else "tool_choice"
        omissions.omit(param, "can't make a model call a tool that is given a budget to think")
        tools = tools[:-1] if name is not None else tools
        wanted = {"type": "auto"} if tools else None
    if wanted is not None and wanted["type"] != "none" and _is_off(call, "parallel_tool_calls"):
        wanted["disable_parallel_tool_use"] = True
    return ({"tools": tools} if tools else {}) | ({"tool_choice": wanted} if wanted else {})


def _is_off(call: ProviderCall, name: str) -> bool:
    return call.request.HasField(name) and not getattr(call.request, name)  # type: ignore[arg-type]  # a contract's name


def _offered(call: ProviderCall, choice: ToolChoice) -> list[Definition]:
    """The tools that the model may call: of several by name, only those."""
    names = choice.names if choice.names is not None and (len(choice.names) > 1 or choice.mode == "auto") else None
    answer_tool = answer_tool_name(call)
    tools = []
    for index, tool in enumerate(call.request.tools):
        path = f"tools[{index}]"
        if tool.type == "custom" or (not tool.type and tool.HasField("custom")):
            call.omissions.omit(f"{path}.custom", "has no free-text tools")
            continue
        encoded = _tool(path, tool)
        if answer_tool is not None and encoded.get("name") == answer_tool:
            raise invalid(f"{path}.function.name", "another name: this one stands for `response_format`")
        if names is None or encoded.get("name") in names:
            tools.append(encoded)
    return tools


def _tool(path: str, tool: Tool) -> Definition:
    if tool.type == "provider":
        encoded = object_at(f"{path}.provider", tool.provider)
    else:
        encoded = _function(f"{path}.function", tool.function)
    if tool.HasField("cache_control"):
        encoded["cache_control"] = object_at(f"{path}.cache_control", tool.cache_control)
    return encoded


def _function(path: str, function: FunctionDefinition) -> Definition:
    encoded: Definition = {"name": function.name}
    if function.HasField("description"):
        encoded["description"] = function.description
    parameters: dict[str, Json] = {}
    if function.HasField("parameters"):
        parameters = object_at(f"{path}.parameters", function.parameters)
    encoded["input_schema"] = parameters or {"type": "object", "properties": {}}
    if function.HasField("strict"):
        encoded["strict"] = function.strict
    return encoded


def _choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode != "required":
        return {"type": choice.mode}
    if choice.names is not None and len(choice.names) == 1:
        return {"type": "tool", "name": choice.names[0]}
    return {"type": "any"}


def _answer_tool(name: str, call: ProviderCall) -> Definition:
    json_schema = call.request.response_format.json_schema
    path = "response_format.json_schema"
    if not json_schema.HasField("schema"):
        raise missing(f"{path}.schema", "the JSON Schema of the answer")
    tool: Definition = {"name": name}
    if json_schema.HasField("description"):
        tool["description"] = json_schema.description
    return tool | {"input_schema": object_at(f"{path}.schema", json_schema.schema)}


def _web_search(options: dict[str, Json], omissions: Omissions) -> Definition:
    """The search tool with the caller's place; OpenAI's form of that is one level deeper."""
    tool: Definition = {"type": _WEB_SEARCH, "name": "web_search"}
    for name, value in options.items():
        if name == "user_location" and isinstance(value, dict):
            place = value.get("approximate", {})
            if not isinstance(place, dict):
                raise invalid("web_search_options.user_location.approximate", "an object")
            tool["user_location"] = {"type": "approximate", **place}
        elif name == "search_context_size" and value == "medium":
            continue  # the default
        elif value is not None:
            path = f"web_search_options.{name}" if name == "search_context_size" else "web_search_options"
            omissions.omit(path, "searches the web with no other option than a `user_location`")
    return tool
