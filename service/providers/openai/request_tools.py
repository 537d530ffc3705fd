"""From tools in OpenAI's form to what a dialect takes. Pure."""

from __future__ import annotations

from typing import Any

from service._gen.parley.v1 import tool_pb2
from service.errors import invalid
from service.providers.omissions import Omissions
from service.providers.openai.dialect import Dialect
from service.providers.openai.request_fields import kind_of_tool

_Body = dict[str, Any]


def adapt_tools(encoded: list[_Body], tools: Any, dialect: Dialect, omissions: Omissions) -> None:
    """Bring the bodies of `tools` into the dialect's form, in place.

    Raises:
        RequestError: A tool is of a kind that the API doesn't have, or says what its kind has no place for.
    """
    for index, (body, tool) in enumerate(zip(encoded, tools, strict=True)):
        path, kind = f"tools[{index}]", kind_of_tool(tool)
        if dialect.tool_kinds is not None and kind not in dialect.tool_kinds:
            omissions.refuse(f"{path}.type", f"has no tools of the type `{kind}`")
        _check_members(path, kind, tool)
        if tool.HasField("cache_control") and "cache_control" not in dialect.members:
            omissions.omit(f"{path}.cache_control", "has no such mark")
            del body["cache_control"]
        if kind == "function" and dialect.wants_parameters:
            body["function"].setdefault("parameters", {"type": "object", "properties": {}})


def _check_members(path: str, kind: str, tool: tool_pb2.Tool) -> None:
    """Refuse what would be left out of the body in silence."""
    if kind != "provider":
        if tool.HasField("provider"):
            raise invalid(f"{path}.provider", 'left out unless the type is "provider"')
        return
    if tool.HasField("function"):
        raise invalid(f"{path}.function", 'left out where the type is "provider"')
    if tool.HasField("custom"):
        raise invalid(f"{path}.custom", 'left out where the type is "provider"')
    if tool.HasField("cache_control") and any(entry.key == "cache_control" for entry in tool.provider.fields):
        raise invalid(f"{path}.cache_control", "left out where `provider` has one")
