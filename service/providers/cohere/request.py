"""From the contract's request to the body that Cohere is sent. Pure.

Source: https://docs.cohere.com/reference/chat (2026-11-22, by cohere-python's types).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service.providers.chat_api import EncodedCall
from service.providers.content import object_at, parts_of, text_of
from service.providers.extra_body import merge_extra_body
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall
from service.providers.tool_choice import tool_choice_of

_PENALTIES: Final = ("frequency_penalty", "presence_penalty")
_KNOWN: Final = frozenset(
    {"messages", "temperature", "top_p", "top_k", "seed", "max_tokens", "max_completion_tokens", "stop", *_PENALTIES}
    | {"tools", "tool_choice", "response_format", "reasoning_effort", "thinking_budget", "thinking"}
)


def encode_request(call: ProviderCall, stream: bool) -> EncodedCall:  # noqa: FBT001 - ChatApi's form
    """The body of `POST /v2/chat`.

    Raises:
        RequestError: The request holds what Cohere can't be told.
    """
    request, omissions = call.request, call.omissions
    omissions.omit_others(request, _KNOWN)
    body: dict[str, Any] = {"model": call.model, "stream": stream}
    body["messages"] = [_message(f"messages[{i}]", message, omissions) for i, message in enumerate(request.messages)]
    for name, theirs in (("temperature", "temperature"), ("top_p", "p"), ("top_k", "k"), ("seed", "seed")):
        if request.HasField(name):  # type: ignore[arg-type]  # the names above
            body[theirs] = getattr(request, name)
    for name in _PENALTIES:
        penalty = getattr(request, name)
        if penalty < 0 or penalty > 1:
            omissions.omit(name, "takes it from 0 to 1")
        elif penalty:
            body[name] = penalty
    if limit := request.max_completion_tokens or request.max_tokens:
        body["max_tokens"] = limit
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    _add_tools(body, request, omissions)
    _add_response_format(body, request)
    _add_thinking(body, request)
    merge_extra_body(body, request)
    return EncodedCall("/v2/chat", msgspec.json.encode(body))


def _message(path: str, message: Message, omissions: Omissions) -> dict[str, Any]:
    parts = parts_of(path, message)
    for index, part in enumerate(parts):
        if part.type not in {"text", "image_url", "refusal"}:
            omissions.refuse(f"{path}.content[{index}].type", "reads text and images alone")
    if message.role == "function":
        omissions.refuse(f"{path}.role", "has no such role: use `tools`")
    text = text_of(parts)
    body: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    if any(part.type == "image_url" for part in parts):
        body["content"] = [
            {"type": "image_url", "image_url": {"url": part.image_url.url, "detail": part.image_url.detail or "auto"}}
            if part.type == "image_url"
            else {"type": "text", "text": part.text}
            for part in parts
        ]
    elif text or not message.tool_calls:
        body["content"] = text
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": made.id, "type": "function", "function": _called(made.function.name, made.function.arguments)}
            for made in message.tool_calls
        ]
        if message.reasoning_content:
            body["tool_plan"] = message.reasoning_content
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _called(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments or "{}"}


def _add_tools(body: dict[str, Any], request: ChatCompletionRequest, omissions: Omissions) -> None:
    choice = tool_choice_of(request)
    tools = []
    for index, tool in enumerate(request.tools):
        if not tool.HasField("function"):
            omissions.omit(f"tools[{index}].type", "has function tools alone")
        elif choice is None or choice.names is None or tool.function.name in choice.names:
            function: dict[str, Any] = {"name": tool.function.name, "description": tool.function.description}
            function["parameters"] = object_at(f"tools[{index}].function.parameters", tool.function.parameters)
            function["parameters"] = function["parameters"] or {"type": "object", "properties": {}}
            tools.append({"type": "function", "function": function})
    if tools:
        body["tools"] = tools
        if any(tool.function.strict for tool in request.tools):
            body["strict_tools"] = True
    if choice is not None and choice.mode != "auto":
        body["tool_choice"] = choice.mode.upper()


def _add_response_format(body: dict[str, Any], request: ChatCompletionRequest) -> None:
    if request.response_format.type in {"json_object", "json_schema"}:
        body["response_format"] = {"type": "json_object"}
        if request.response_format.json_schema.HasField("schema"):
            body["response_format"]["json_schema"] = object_at(
                "response_format.json_schema.schema", request.response_format.json_schema.schema
            )


def _add_thinking(body: dict[str, Any], request: ChatCompletionRequest) -> None:
    """Cohere's reasoning models think unless told not to, and take a budget.

    Source: https://docs.cohere.com/docs/reasoning (2026-11-22).
    """
    if request.HasField("thinking"):
        body["thinking"] = object_at("thinking", request.thinking)
    elif request.reasoning_effort:
        body["thinking"] = {"type": "disabled" if request.reasoning_effort == "none" else "enabled"}
    if request.thinking_budget:
        body["thinking"] = {"type": "enabled", "token_budget": request.thinking_budget}
