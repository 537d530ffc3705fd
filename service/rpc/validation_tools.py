"""What the tools and the response format of a request must be like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from service._gen.parley.v1.chat_service_pb2 import ResponseFormat
from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue
from service._gen.parley.v1.tool_pb2 import FunctionDefinition, Tool
from service.errors import invalid, missing

_MAX_TOOLS: Final = 128
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,128}")
_SCHEMA_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL_NAME_TEXT: Final = "1 to 128 characters out of a-z, A-Z, 0-9, _, -, . and :"
_SCHEMA_NAME_TEXT: Final = "1 to 64 characters out of a-z, A-Z, 0-9, _ and -"


def check_tools(tools: Sequence[Tool]) -> None:
    """Check `tools`.

    Raises:
        RequestError: The first that is wrong; `param` is its path, such as `tools[0].function.name`.
    """
    if len(tools) > _MAX_TOOLS:
        raise invalid("tools", f"an array of at most {_MAX_TOOLS} tools")
    names: set[str] = set()
    switched: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.id or tool.HasField("enabled"):
            _check_switch(path, tool)
            if tool.id in switched:
                raise invalid(f"{path}.id", "unique among the switches")
            switched.add(tool.id)
            continue
        kind = tool.type or ("custom" if tool.HasField("custom") else "function")
        name = _check_tool(path, kind, tool)
        if name in names:
            raise invalid(f"{path}.{kind}.name", "unique among the tools")
        if name is not None:
            names.add(name)


def _check_switch(path: str, tool: Tool) -> None:
    """Check the switch of a server-side tool; whether there is such a tool, its project knows."""
    if not tool.id:
        raise missing(f"{path}.id", "the id of the server-side tool that `enabled` switches")
    for field, _ in tool.ListFields():
        if field.name not in {"id", "enabled"}:
            raise invalid(f"{path}.{field.name}", "left out where `id` is given: that tool is the project's")
    if not tool.HasField("enabled"):
        raise missing(f"{path}.enabled", "whether the server-side tool may be used, true or false")


def _check_tool(path: str, kind: str, tool: Tool) -> str | None:
    """The tool's name; None for one of the provider's own, whose form is the provider's to check."""
    match kind:
        case "function":
            if not tool.HasField("function"):
                raise missing(f"{path}.function", "the function that can be called")
            _check_function(f"{path}.function", tool.function)
            return tool.function.name
        case "custom":
            _check_name(f"{path}.custom.name", tool.custom.name)
            return tool.custom.name
        case "provider":
            if not tool.provider.fields:
                raise missing(f"{path}.provider", "the tool in the provider's own form")
            return None
        case _:
            raise invalid(f"{path}.type", '"function", "custom" or "provider"')


def check_functions(functions: Sequence[FunctionDefinition], tools: Sequence[Tool]) -> None:
    """Check the deprecated `functions`, which may not stand beside `tools`."""
    if tools:
        raise invalid("functions", "left out where `tools` is given")
    if len(functions) > _MAX_TOOLS:
        raise invalid("functions", f"an array of at most {_MAX_TOOLS} functions")
    for index, function in enumerate(functions):
        _check_function(f"functions[{index}]", function)


def check_tool_choice(choice: Value, tools: Sequence[Tool]) -> None:
    """Check `tool_choice`, which may name only what the model may call: the caller's tools, and server-side ones."""
    match choice.WhichOneof("kind"):
        case "null_value" | None:
            return
        case "string_value":
            if choice.string_value not in {"none", "auto", "required"}:
                raise invalid("tool_choice", '"none", "auto", "required" or an object that names a tool')
            if choice.string_value == "required" and not tools:
                raise invalid("tool_choice", '"none" or "auto" where no `tools` are given')
        case "struct_value":
            _check_named_choice(choice.struct_value, tools)
        case _:
            raise invalid("tool_choice", '"none", "auto", "required" or an object that names a tool')


def check_function_call(choice: Value, functions: Sequence[FunctionDefinition]) -> None:
    """Check the deprecated `function_call`, which may name only a function that is given."""
    expected = '"none", "auto" or an object with the name of a function'
    match choice.WhichOneof("kind"):
        case "null_value" | None:
            return
        case "string_value":
            if choice.string_value not in {"none", "auto"}:
                raise invalid("function_call", expected)
        case "struct_value":
            fields = choice.struct_value.fields
            name = fields["name"].string_value if "name" in fields else ""
            if not name:
                raise missing("function_call.name", "the name of a function")
            if name not in {function.name for function in functions}:
                raise invalid("function_call.name", "the name of one of `functions`")
        case _:
            raise invalid("function_call", expected)


def check_response_format(response_format: ResponseFormat) -> None:
    """Check `response_format`."""
    match response_format.type:
        case "text" | "json_object":
            if response_format.HasField("json_schema"):
                raise invalid("response_format.json_schema", 'left out unless the type is "json_schema"')
        case "json_schema":
            if not response_format.HasField("json_schema"):
                raise missing("response_format.json_schema", "an object with a name and a schema")
            schema = response_format.json_schema
            if not _SCHEMA_NAME.fullmatch(schema.name):
                raise invalid("response_format.json_schema.name", _SCHEMA_NAME_TEXT)
            if schema.HasField("schema"):
                _check_schema("response_format.json_schema.schema", schema.schema)
        case "":
            raise missing("response_format.type", '"text", "json_object" or "json_schema"')
        case _:
            raise invalid("response_format.type", '"text", "json_object" or "json_schema"')


def _check_named_choice(choice: Struct, tools: Sequence[Tool]) -> None:
    kind = choice.fields["type"].string_value if "type" in choice.fields else ""
    if kind == "allowed_tools":
        _check_allowed_tools(choice, tools)
        return
    if kind not in {"function", "custom"}:
        raise invalid("tool_choice.type", '"function", "custom" or "allowed_tools"')
    name = _name_in(choice.fields, kind)
    if not name:
        raise missing(f"tool_choice.{kind}.name", "the name of a tool")
    if name not in {tool.custom.name if kind == "custom" else tool.function.name for tool in tools}:
        raise invalid(f"tool_choice.{kind}.name", "the name of one of `tools`")


def _check_allowed_tools(choice: Struct, tools: Sequence[Tool]) -> None:
    """Check what a list of allowed tools names; the rest of its form is the provider's to check."""
    allowed = choice.fields["allowed_tools"].struct_value.fields if "allowed_tools" in choice.fields else {}
    listed = allowed["tools"].list_value.values if "tools" in allowed else ()
    known = {(kind, name) for tool in tools for kind, name in _names(tool)}
    for index, value in enumerate(listed):
        item = value.struct_value.fields
        kind = item["type"].string_value if "type" in item else ""
        name = _name_in(item, kind)
        if name and kind in {"function", "custom"} and (kind, name) not in known:
            raise invalid(f"tool_choice.allowed_tools.tools[{index}]", "the name of one of `tools`")


def _name_in(choice: Mapping[str, Value], kind: str) -> str:
    """The name of a tool in {"type": kind, kind: {"name": …}}; empty where there is none."""
    named = choice[kind].struct_value.fields if kind in choice else {}
    return named["name"].string_value if "name" in named else ""


def _names(tool: Tool) -> Iterator[tuple[str, str]]:
    """By which kind and name a choice may name the tool; one of the provider's own goes as a function."""
    yield "custom", tool.custom.name
    yield "function", tool.function.name
    for entry in tool.provider.fields:
        if entry.key == "name":
            yield "function", entry.value.string_value


def _check_function(path: str, function: FunctionDefinition) -> None:
    _check_name(f"{path}.name", function.name)
    if function.HasField("parameters"):
        _check_schema(f"{path}.parameters", function.parameters)


def _check_name(path: str, name: str) -> None:
    if not name:
        raise missing(path, _TOOL_NAME_TEXT)
    if not _TOOL_NAME.fullmatch(name):
        raise invalid(path, _TOOL_NAME_TEXT)


def _check_schema(path: str, schema: JsonObject) -> None:
    """A JSON Schema's outer form: its `type` names types, its `properties` are an object."""
    for entry in schema.fields:
        match entry.key:
            case "type":
                _check_type(path, entry.value)
            case "properties" if not entry.value.HasField("struct_value"):
                raise invalid(f"{path}.properties", "an object")
            case "required" if not entry.value.HasField("list_value"):
                raise invalid(f"{path}.required", "an array")


def _check_type(path: str, value: JsonValue) -> None:
    if value.HasField("list_value"):
        return
    if not value.HasField("string_value"):
        raise invalid(f"{path}.type", "the name of a JSON type, or an array of such names")
    if value.string_value not in _JSON_TYPES:
        raise invalid(f"{path}.type", "one of " + ", ".join(f'"{name}"' for name in _JSON_TYPES))


_JSON_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
