"""From a recorded request to an OpenAI-compatible provider to the contract's: nearly the same."""

from __future__ import annotations

from typing import Any

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest

Json = dict[str, Any]

_KNOWN = set(ChatCompletionRequest.DESCRIPTOR.fields_by_name)


def asked_openai(request: Json) -> Json:
    """The contract's request, without `model`; parameters that it does not have stand in `extra_body`."""
    request = {name: value for name, value in request.items() if value is not None}
    left_out = {"model", "stream", "stream_options"}
    body = {name: value for name, value in request.items() if name in _KNOWN - left_out}
    body["messages"] = [_message(message) for message in request["messages"]]
    if "tools" in request:
        body["tools"] = [_tool(tool) for tool in request["tools"]]
    extra = {name: value for name, value in request.items() if name not in _KNOWN}
    return body | ({"extra_body": extra} if extra else {})


def _message(message: Json) -> Json:
    message = {name: value for name, value in message.items() if value is not None or name == "content"}
    if message.get("tool_calls"):
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for call in message["tool_calls"]
        ]
    return message


def _tool(tool: Json) -> Json:
    if tool.get("type", "function") == "function":
        return {"type": "function", **tool}
    return {"type": "provider", "provider": tool}
