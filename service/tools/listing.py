"""The tools of a server, as its list tells them and as models are told. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from service._gen.parley.v1.tool_pb2 import FunctionDefinition
from service.json_values import InvalidJsonError, json_object, object_to_json

if TYPE_CHECKING:  # the package is heavy, and loaded only where there are tools
    from mcp_types import Tool

SEPARATOR: Final = "__"
"""Between a server's name, which can't hold it, and a tool's."""
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What every provider takes as a function's name. Source: platform.openai.com/docs/api-reference/chat/create,
`tools[].function.name` (2026-11-22); the others allow at least this."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that can be offered to models."""

    id: str
    """SERVER__TOOL."""
    name: str
    """As its server calls it."""
    function: FunctionDefinition = field(repr=False)
    """As models are told; its name is the id."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server, by id, and why others were left out, by their name at the server."""

    tools: Mapping[str, ToolDefinition]
    left_out: Mapping[str, str]


def listing_of(server: str, tools: Iterable[Tool], only: Collection[str] | None) -> Listing:
    """What of a server's list can be offered; `only` names the tools that may be, None stands for all.

    Names that are not in `only` are left out without a word, names in it that the server does not have are told.
    """
    taken: dict[str, ToolDefinition] = {}
    left_out: dict[str, str] = {}
    missing = set(only or ())
    for tool in tools:
        missing.discard(tool.name)
        if only is not None and tool.name not in only:
            continue
        definition = _definition(server, tool)
        if isinstance(definition, str):
            left_out[tool.name] = definition
        else:
            taken[definition.id] = definition
    left_out.update(dict.fromkeys(sorted(missing), "the server has no such tool"))
    return Listing(taken, left_out)


def _definition(server: str, tool: Tool) -> ToolDefinition | str:
    """The definition, or why there can't be one."""
    id_ = f"{server}{SEPARATOR}{tool.name}"
    if not _ID.fullmatch(id_):
        return f"with the server's name it must be 1 to 64 characters out of a-z, A-Z, 0-9, _ and -, not {len(id_)}"
    try:
        parameters = json_object(tool.input_schema)
        object_to_json(parameters)  # finds numbers that are not finite
    except (InvalidJsonError, OverflowError, TypeError):
        return "its input schema can't be sent on: it is nested too deeply, or has a number that JSON can't write"
    function = FunctionDefinition(name=id_, description=tool.description, parameters=parameters)
    return ToolDefinition(id_, tool.name, function)
