"""What a model is asked where it may call server-side tools. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.tool_pb2 import Tool
from service.errors import invalid
from service.providers.tool_choice import tool_choice_of
from service.turns.offer import Offer

_FORBIDDEN: Final = "none"


def may_call(request: ChatCompletionRequest, offer: Offer) -> bool:
    """Whether the model is offered the tools at all.

    It is not where the request forbids all tools, and where the only turn would be the last, in which none
    may be called.
    """
    return request.tool_choice.string_value != _FORBIDDEN and offer.limits.max_turns > 1


def check(request: ChatCompletionRequest, offer: Offer) -> None:
    """Refuse what can't be had together with server-side tools; `request` is the caller's, so that paths are right.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if not may_call(request, offer):
        return
    if request.n > 1:
        raise invalid("n", "1 where server-side tools may be used")
    if request.functions:
        raise invalid("functions", "given as `tools` where server-side tools may be used")
    if "audio" in request.modalities:
        raise invalid("modalities", 'without "audio" where server-side tools may be used')
    for index, tool in enumerate(request.tools):
        for kind, name in _names(tool):
            if offer.is_server_side(name):
                raise invalid(f"tools[{index}].{kind}.name", "another name than that of a server-side tool")
    choice = tool_choice_of(request)
    names = {name for tool in request.tools for _, name in _names(tool)}
    for name in choice.names or () if choice else ():
        if name not in names and not offer.is_server_side(name):
            raise invalid("tool_choice", "one that names some of `tools`, or server-side tools that may be used")


def offering(request: ChatCompletionRequest, offer: Offer) -> ChatCompletionRequest:
    """A copy of the request, with the tools."""
    offered = ChatCompletionRequest()
    offered.CopyFrom(request)
    for definition in offer.definitions:
        offered.tools.add(type="function", function=definition)
    return offered


def free_choice(request: ChatCompletionRequest) -> None:
    """Let the model answer: what it had to call in its first turn would else be called for ever."""
    choice = request.tool_choice
    if choice.string_value == "auto":
        return
    fields = choice.struct_value.fields
    if "allowed_tools" in fields:
        fields["allowed_tools"].struct_value.fields["mode"].string_value = "auto"
    else:
        request.ClearField("tool_choice")


def forbid_calls(request: ChatCompletionRequest) -> None:
    """Have the model answer without calling anything. The tools stay: the conversation has calls of them."""
    request.tool_choice.string_value = _FORBIDDEN


def _names(tool: Tool) -> Iterator[tuple[str, str]]:
    """By which the model may call the tool, with the field that has the name; one of the provider's own has its own."""
    if tool.HasField("function"):
        yield "function", tool.function.name
    if tool.HasField("custom"):
        yield "custom", tool.custom.name
    for entry in tool.provider.fields:
        if entry.key == "name":
            yield "provider", entry.value.string_value
