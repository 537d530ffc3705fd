"""From the contract's tools to Gemini's `tools` and `toolConfig`. Pure.

Source: https://ai.google.dev/gemini-api/docs/function-calling (2026-11-22).
"""

from __future__ import annotations

from typing import Any, Final

from service._gen.parley.v1.tool_pb2 import FunctionDefinition, Tool
from service.json_values import Json
from service.providers.content import member_path, object_at
from service.providers.provider import ProviderCall
from service.providers.tool_choice import ToolChoice, tool_choice_of

_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_SEARCH: Final = frozenset({"googleSearch", "google_search"})
_DECLARATIONS: Final = ("functionDeclarations", "function_declarations")


def encode_tools(call: ProviderCall) -> list[dict[str, Any]]:
    """The tools: all functions in one, at the place of the first; the provider's own as they are.

    `web_search_options` asks for the search with Google, unless `tools` has it already.

    Raises:
        RequestError: A tool can't be had, or holds what JSON can't say.
    """
    tools: list[dict[str, Any]] = []
    functions: list[dict[str, Any]] = []
    for index, tool in enumerate(call.request.tools):
        path = f"tools[{index}]"
        if tool.HasField("cache_control"):
            call.omissions.omit(f"{path}.cache_control", "reads no marks for its cache")
        match _kind(tool):
            case "provider":
                tools.append(object_at(f"{path}.provider", tool.provider))
            case "custom":
                call.omissions.omit(path, "knows no tools of free text")
            case _:
                if not functions:
                    tools.append({"functionDeclarations": functions})
                functions.append(_function(f"{path}.function", tool.function))
    if call.request.HasField("web_search_options"):
        _omit_search_options(object_at("web_search_options", call.request.web_search_options), call)
        if not any(_SEARCH & tool.keys() for tool in tools):
            tools.append({"googleSearch": {}})
    return tools


def encode_tool_config(call: ProviderCall, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """`toolConfig` for the encoded `tools`; empty where the request leaves the choice to the provider.

    The choice is one among functions: where there are none, the Gemini API refuses it, and other tools can be
    neither demanded nor kept from the model. Source: https://github.com/pydantic/pydantic-ai/pull/5791
    (2026-11-22).

    `strict` asks that calls match their schema. Gemini has no such mark for one function, but the mode
    VALIDATED for all of them; ANY ensures it in any case. VALIDATED is also the mode in which the model may
    call only some functions, or none.

    Raises:
        RequestError: The choice can't be told.
    """
    choice = tool_choice_of(call.request)
    functions = _names_of_functions(tools)
    names = None if choice is None or choice.names is None else [name for name in choice.names if name in functions]
    if choice is not None and _is_untold(choice, names, tools, functions):
        call.omissions.omit("tool_choice", "can be told to choose among functions only")
        choice, names = None, None
    is_strict = any(tool.function.strict for tool in call.request.tools)
    if not functions or (choice is None and not is_strict):
        return {}
    choice = choice or ToolChoice("auto")
    config: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "auto" and (is_strict or names is not None):
        config["mode"] = "VALIDATED"
    if names is not None:
        config["allowedFunctionNames"] = names
    return {"functionCallingConfig": config}


def _names_of_functions(tools: list[dict[str, Any]]) -> set[str]:
    """The functions' names, also of those that a tool of the provider's own declares."""
    lists = [tool[member] for tool in tools for member in _DECLARATIONS if isinstance(tool.get(member), list)]
    declared = [function.get("name") for functions in lists for function in functions if isinstance(function, dict)]
    return {name for name in declared if isinstance(name, str)}


def _is_untold(choice: ToolChoice, names: list[str] | None, tools: list[dict[str, Any]], functions: set[str]) -> bool:
    """Whether the choice asks for what no `toolConfig` says."""
    if names is not None:
        return not names
    if functions:
        return False
    return choice.mode == "required" or (choice.mode == "none" and bool(tools))


def _kind(tool: Tool) -> str:
    return tool.type or ("custom" if tool.HasField("custom") else "function")


def _function(path: str, function: FunctionDefinition) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": function.name}
    if function.HasField("description"):
        declared["description"] = function.description
    if function.HasField("parameters"):
        declared["parametersJsonSchema"] = object_at(f"{path}.parameters", function.parameters)
    return declared


def _omit_search_options(options: dict[str, Json], call: ProviderCall) -> None:
    for name, value in options.items():
        if value is not None:
            call.omissions.omit(member_path("web_search_options", name), "has no such setting")
