"""Reads which tools a request's `tool_choice` lets the model call. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason, RequestError, invalid, missing
from service.json_values import InvalidJsonError, Json, value_to_json


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What the model may, or has to, call."""

    mode: Literal["auto", "none", "required"]
    """Whether it has to call a tool, may, or must not."""
    names: tuple[str, ...] | None = None
    """Which tools it may call; None where any of the request's."""


def tool_choice_of(request: ChatCompletionRequest) -> ToolChoice | None:
    """The validated choice; None where the request leaves it to the provider.

    Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tool_choice
    (2026-11-22), which has `allowed_tools` as {"type": "allowed_tools", "allowed_tools": {"mode":
    "auto" | "required", "tools": [{"type": "function", "function": {"name": …}}]}}.

    Raises:
        RequestError: `allowed_tools` has another form, or the choice holds what JSON can't say.
    """
    if not request.HasField("tool_choice"):
        return None
    try:
        choice = value_to_json(request.tool_choice)
    except InvalidJsonError as error:
        raise RequestError(Reason.PARAMETER_INVALID, f"`tool_choice` {error}.", param="tool_choice") from None
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case {"type": "allowed_tools"} if isinstance(choice, dict):
            return _allowed(choice)
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice("required", (name,))
        case _:
            return None


def _allowed(choice: dict[str, Json]) -> ToolChoice:
    path = "tool_choice.allowed_tools"
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, dict):
        raise missing(path, "an object with a mode and tools")
    mode, tools = allowed.get("mode"), allowed.get("tools")
    if mode != "auto" and mode != "required":  # noqa: PLR1714 - it may be no string, and nothing that a set takes
        raise invalid(f"{path}.mode", '"auto" or "required"')
    if not isinstance(tools, list) or not tools:
        raise missing(f"{path}.tools", "an array of at least one tool")
    names = []
    for index, tool in enumerate(tools):
        match tool:
            case {"type": "function", "function": {"name": str(name)}} | {
                "type": "custom",
                "custom": {"name": str(name)},
            }:
                names.append(name)
            case _:
                raise invalid(f"{path}.tools[{index}]", "an object that names a function")
    return ToolChoice("required" if mode == "required" else "auto", tuple(names))
