"""From the contract's tools to those of the Messages API. Pure.

Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools (2026-11-22, by
anthropic-sdk-python 2.12).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from service._gen.parley.v1.tool_pb2 import FunctionDefinition, Tool
from service.errors import invalid, missing
from service.json_values import Json
from service.providers.content import object_at
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall
from service.providers.tool_choice import ToolChoice, tool_choice_of

_ANSWER_TOOL: Final = "json_schema_"
_NOT_FORCED: Final = "can't make a model call a tool that is given a budget to think"

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

    A model that has to call one of the caller's tools writes no text, so that then no tool stands for the
    answer's format. Source:
    https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools#forcing-tool-use (2026-11-22).

    Args:
        call: The whole call.
        has_budget: Whether the model is given a budget to think, which rules out that it has to call a tool;
            thinking as it sees fit does not. Source:
            https://platform.claude.com/docs/en/build-with-claude/thinking#thinking-with-tool-use (2026-11-22)

    Raises:
        RequestError: There is what this provider can't do.
    """
    tools = _functions(call)
    choice = _possible_choice(call, tools)
    tools = _offered(tools, choice)
    if call.request.HasField("web_search_options"):
        options = object_at("web_search_options", call.request.web_search_options)
        tools.append(_web_search(options, call.omissions))
    if has_budget and choice.mode == "required":
        call.omissions.omit("tool_choice", _NOT_FORCED)
        choice = ToolChoice("auto")
    name = answer_tool_name(call)
    answer_tool = None if name is None else _answer_tool(name, call)
    if has_budget and answer_tool is not None:
        call.omissions.omit("response_format", _NOT_FORCED)
        answer_tool = None
    if answer_tool is not None and choice.mode != "required":
        return _with_answer_tool(call, tools, choice, answer_tool)
    if not tools:
        return {}
    is_serial = _is_off(call, "parallel_tool_calls")
    if not is_serial and not call.request.HasField("tool_choice"):
        return {"tools": tools}
    return {"tools": tools, "tool_choice": _encoded_choice(choice, is_serial=is_serial)}


def _with_answer_tool(
    call: ProviderCall, tools: list[Definition], choice: ToolChoice, answer_tool: Definition
) -> dict[str, Any]:
    """A choice that ends in an answer: by the tool that stands for it, unless the model may call another first."""
    if tools and choice.mode == "auto":
        wanted = _encoded_choice(ToolChoice("required"), is_serial=_is_off(call, "parallel_tool_calls"))
    else:
        wanted = _encoded_choice(ToolChoice("required", (answer_tool["name"],)), is_serial=True)
    return {"tools": [*tools, answer_tool], "tool_choice": wanted}


def _is_off(call: ProviderCall, name: str) -> bool:
    return call.request.HasField(name) and not getattr(call.request, name)  # type: ignore[arg-type]  # a contract's name


def _functions(call: ProviderCall) -> list[Definition]:
    """All tools of the request, but for those of a kind that the provider doesn't have."""
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
        tools.append(encoded)
    return tools


def _possible_choice(call: ProviderCall, tools: list[Definition]) -> ToolChoice:
    """The choice, as far as the tools that it is about are there; without one, the model's own."""
    choice = tool_choice_of(call.request) or ToolChoice("auto")
    offered = [tool.get("name") for tool in tools]
    names = None if choice.names is None else tuple(name for name in choice.names if name in offered)
    if names == () or (choice.mode == "required" and not tools):
        call.omissions.omit("tool_choice", "is offered no tool that it allows")
        return ToolChoice("auto")
    return replace(choice, names=names)


def _offered(tools: list[Definition], choice: ToolChoice) -> list[Definition]:
    """The tools that the model may call: of several by name, only those."""
    if choice.names is None or (len(choice.names) == 1 and choice.mode == "required"):
        return tools
    return [tool for tool in tools if tool.get("name") in choice.names]


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
    encoded["input_schema"] = _input_schema(parameters) if parameters else {"type": "object", "properties": {}}
    if function.HasField("strict"):
        encoded["strict"] = function.strict
    return encoded


def _input_schema(schema: dict[str, Json]) -> dict[str, Json]:
    """The schema with a type at its top, without which the API refuses it."""
    return schema if "type" in schema else {"type": "object", **schema}


def _encoded_choice(choice: ToolChoice, *, is_serial: bool) -> dict[str, Any]:
    wanted: dict[str, Any]
    if choice.mode != "required":
        wanted = {"type": choice.mode}
    elif choice.names is not None and len(choice.names) == 1:
        wanted = {"type": "tool", "name": choice.names[0]}
    else:
        wanted = {"type": "any"}
    if is_serial and choice.mode != "none":
        wanted["disable_parallel_tool_use"] = True
    return wanted


def _answer_tool(name: str, call: ProviderCall) -> Definition:
    json_schema = call.request.response_format.json_schema
    path = "response_format.json_schema"
    if not json_schema.HasField("schema"):
        raise missing(f"{path}.schema", "the JSON Schema of the answer")
    tool: Definition = {"name": name}
    if json_schema.HasField("description"):
        tool["description"] = json_schema.description
    return tool | {"input_schema": _input_schema(object_at(f"{path}.schema", json_schema.schema))}


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
