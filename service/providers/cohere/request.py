"""From the contract's request to the body that Cohere is sent. Pure.

Source: https://docs.cohere.com/reference/chat (2026-11-22, by cohere-python's types).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import ContentPart, Message
from service._gen.parley.v1.tool_pb2 import ToolCall
from service.errors import invalid
from service.providers.chat_api import EncodedCall
from service.providers.content import object_at, parts_of
from service.providers.extra_body import merge_extra_body
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall
from service.providers.tool_choice import tool_choice_of

_SAME: Final = (("temperature", "temperature"), ("top_p", "p"), ("top_k", "k"), ("seed", "seed"))
_PENALTIES: Final = ("frequency_penalty", "presence_penalty")
_KNOWN: Final = frozenset(
    {"messages", "temperature", "top_p", "top_k", "seed", "max_tokens", "max_completion_tokens", "stop", *_PENALTIES}
    | {"tools", "tool_choice", "response_format", "reasoning_effort", "thinking_budget", "thinking", "enable_thinking"}
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
    for name, theirs in _SAME:
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
    _add_response_format(body, request, omissions)
    _add_thinking(body, request)
    merge_extra_body(body, request)
    return EncodedCall("/v2/chat", msgspec.json.encode(body))


def _message(path: str, message: Message, omissions: Omissions) -> dict[str, Any]:
    _check_members(path, message, omissions)
    body: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    place = f"{path}.parts" if message.parts else f"{path}.content"
    content = [_part(f"{place}[{index}]", part, omissions) for index, part in enumerate(parts_of(path, message))]
    if message.refusal:
        content.append({"type": "text", "text": message.refusal})
    reasoning = message.reasoning_content or message.reasoning
    if message.tool_calls:
        calls = enumerate(message.tool_calls)
        body["tool_calls"] = [_call(f"{path}.tool_calls[{index}]", made, omissions) for index, made in calls]
        body |= {"tool_plan": reasoning} if reasoning else {}
    elif reasoning:
        content.insert(0, {"type": "thinking", "thinking": reasoning})
    if any(part["type"] != "text" for part in content):
        body["content"] = content
    elif content or not message.tool_calls:
        body["content"] = "".join(part["text"] for part in content)
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _check_members(path: str, message: Message, omissions: Omissions) -> None:
    if message.role == "function":
        omissions.refuse(f"{path}.role", "has no such role: use `tools`")
    for field, value in message.ListFields():
        if field.name in {"function_call", "audio"}:
            omissions.refuse(f"{path}.{field.name}", "has no such thing in an assistant message")
        is_mark = field.name in {"prefix", "cache_control"} or (field.name == "name" and message.role != "tool")
        if is_mark and value not in ("", False):
            omissions.omit(f"{path}.{field.name}", "has no such member of messages")


def _part(path: str, part: ContentPart, omissions: Omissions) -> dict[str, Any]:
    for mark in ("cache_control", "prompt_cache_breakpoint"):
        if part.HasField(mark):
            omissions.omit(f"{path}.{mark}", "has no such mark")
    if part.type == "image_url":
        url, detail = part.image_url.url, part.image_url.detail or "auto"
        return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    if part.type not in {"text", "refusal"}:
        omissions.refuse(f"{path}.type", "reads text and images alone")
    return {"type": "text", "text": part.text or part.refusal}


def _call(path: str, made: ToolCall, omissions: Omissions) -> dict[str, Any]:
    if not made.HasField("function"):
        omissions.refuse(f"{path}.custom", "has function tools alone")
    function = {"name": made.function.name, "arguments": made.function.arguments or "{}"}
    return {"id": made.id, "type": "function", "function": function}


def _add_tools(body: dict[str, Any], request: ChatCompletionRequest, omissions: Omissions) -> None:
    choice = tool_choice_of(request)
    tools = []
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        if not tool.HasField("function"):
            omissions.omit(f"{path}.type", "has function tools alone")
            continue
        if tool.HasField("cache_control"):
            omissions.omit(f"{path}.cache_control", "has no such mark")
        if choice is None or choice.names is None or tool.function.name in choice.names:
            parameters = object_at(f"{path}.function.parameters", tool.function.parameters)
            function: dict[str, Any] = {"name": tool.function.name, "description": tool.function.description}
            function["parameters"] = parameters or {"type": "object", "properties": {}}
            tools.append({"type": "function", "function": function})
    if tools:
        body["tools"] = tools
        if any(tool.function.strict for tool in request.tools):
            body["strict_tools"] = True
    if choice is not None and choice.mode != "auto":
        if tools:
            body["tool_choice"] = choice.mode.upper()
        elif choice.mode == "required":
            omissions.omit("tool_choice", "has none of the tools that it names")


def _add_response_format(body: dict[str, Any], request: ChatCompletionRequest, omissions: Omissions) -> None:
    form = request.response_format.json_schema
    if request.response_format.type in {"json_object", "json_schema"}:
        body["response_format"] = {"type": "json_object"}
    if form.HasField("schema"):
        body["response_format"]["json_schema"] = object_at("response_format.json_schema.schema", form.schema)
    if form.description:
        omissions.omit("response_format.json_schema.description", "reads only the descriptions within the schema")


def _add_thinking(body: dict[str, Any], request: ChatCompletionRequest) -> None:
    """Cohere's reasoning models think unless told not to, and take a budget.

    Source: https://docs.cohere.com/docs/reasoning (2026-11-22).
    """
    wishes: dict[str, bool] = {}
    budget: Any = None
    if request.HasField("thinking"):
        thinking = object_at("thinking", request.thinking)
        wishes["thinking"] = thinking.get("type") != "disabled"
        budget = thinking.get("budget_tokens")
    if request.reasoning_effort:
        wishes["reasoning_effort"] = request.reasoning_effort != "none"
    if request.HasField("enable_thinking"):
        wishes["enable_thinking"] = request.enable_thinking
    if request.HasField("thinking_budget"):
        wishes["thinking_budget"] = request.thinking_budget > 0
        budget = request.thinking_budget or None
    if not wishes:
        return
    (first, is_on), *others = wishes.items()
    for param, wish in others:
        if wish != is_on:
            raise invalid(param, f"in accord with `{first}`, or left out")
    body["thinking"] = {"type": "enabled" if is_on else "disabled"}
    if budget is not None:
        body["thinking"]["token_budget"] = budget
