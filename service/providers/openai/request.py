"""From the contract's request to the body that an OpenAI-compatible provider is sent. Pure.

Only fields that are set are visited, so that a plain request costs little. Every field of the
contract stands in `_FIELDS`; a test holds that.

Source: https://platform.openai.com/docs/api-reference/chat/create (2026-11-21, by openai-python
3.54).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from service._gen.parley.v1 import message_pb2, tool_pb2
from service._gen.parley.v1.chat_service_pb2 import (
    AudioParameters,
    ChatCompletionRequest,
    Prediction,
    ResponseFormat,
    StreamOptions,
)
from service.errors import Reason, RequestError
from service.json_values import InvalidJsonError, Json, object_to_json, value_to_json

_Body = dict[str, Any]
_Encoder = Callable[[Any], Any]
_encode_json = msgspec.json.Encoder().encode


def encode_request(request: ChatCompletionRequest, model: str, *, stream: bool) -> bytes:
    """The body of the provider's request.

    Args:
        request: A validated request.
        model: The provider's own name of the model.
        stream: Whether the answer shall come in pieces; the usage is then always asked for.

    Raises:
        RequestError: A free-form field holds what JSON can't say; `param` names it.
    """
    body: _Body = {"model": model}
    for field, value in request.ListFields():
        encoder = _FIELDS[field.name]
        if encoder is None:
            continue
        try:
            encoded = encoder(value)
        except InvalidJsonError as error:
            raise RequestError(Reason.PARAMETER_INVALID, f"`{field.name}` {error}.", param=field.name) from None
        if encoded is not None:
            body[field.name] = encoded
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True} | body.get("stream_options", {})
    else:
        body.pop("stream_options", None)
    if request.HasField("extra_body"):
        body.update(body.pop("extra_body"))
    return _encode_json(body)


def _same(value: Any) -> Any:
    return value


def _positive(value: int) -> int | None:
    """0 counts as not given."""
    return value or None


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _objects(values: Any) -> list[dict[str, Json]]:
    return [object_to_json(value) for value in values]


def _encode_messages(messages: Any) -> list[_Body]:
    encoded = []
    for index, message in enumerate(messages):
        try:
            encoded.append(_encode_message(message))
        except InvalidJsonError as error:
            param = f"messages[{index}]"
            raise RequestError(Reason.PARAMETER_INVALID, f"`{param}` {error}.", param=param) from None
    return encoded


def _encode_message(message: message_pb2.Message) -> _Body:
    body: _Body = {}
    for field, value in message.ListFields():
        encoder = _MESSAGE_FIELDS[field.name]
        if encoder is not None:
            body[field.name] = encoder(value)
    if "parts" in body:
        body["content"] = body.pop("parts")
    return body


def _encode_part(part: message_pb2.ContentPart) -> _Body:
    return {field.name: _PART_FIELDS[field.name](value) for field, value in part.ListFields()}


def _encode_flat(message: Any) -> _Body:
    """A message whose fields are all scalars that are sent by their names."""
    return {field.name: value for field, value in message.ListFields()}


def _encode_tool_call(call: tool_pb2.ToolCall) -> _Body:
    body: _Body = {"id": call.id, "type": call.type or ("custom" if call.HasField("custom") else "function")}
    if call.HasField("function"):
        body["function"] = {"name": call.function.name, "arguments": call.function.arguments}
    if call.HasField("custom"):
        body["custom"] = {"name": call.custom.name, "input": call.custom.input}
    if call.HasField("extra_content"):
        body["extra_content"] = object_to_json(call.extra_content)
    return body


def _encode_tool(tool: tool_pb2.Tool) -> _Body:
    body: _Body = {"type": tool.type or ("custom" if tool.HasField("custom") else "function")}
    if tool.HasField("function"):
        body["function"] = _encode_function(tool.function)
    if tool.HasField("custom"):
        body["custom"] = {"name": tool.custom.name}
        if tool.custom.HasField("description"):
            body["custom"]["description"] = tool.custom.description
        if tool.custom.HasField("format"):
            body["custom"]["format"] = object_to_json(tool.custom.format)
    if tool.HasField("cache_control"):
        body["cache_control"] = object_to_json(tool.cache_control)
    return body


def _encode_function(function: tool_pb2.FunctionDefinition) -> _Body:
    body: _Body = {"name": function.name}
    if function.HasField("description"):
        body["description"] = function.description
    if function.HasField("parameters"):
        body["parameters"] = object_to_json(function.parameters)
    if function.HasField("strict"):
        body["strict"] = function.strict
    return body


def _encode_response_format(response_format: ResponseFormat) -> _Body:
    body: _Body = {"type": response_format.type}
    if response_format.HasField("json_schema"):
        schema = response_format.json_schema
        body["json_schema"] = {"name": schema.name}
        if schema.HasField("description"):
            body["json_schema"]["description"] = schema.description
        if schema.HasField("schema"):
            body["json_schema"]["schema"] = object_to_json(schema.schema)
        if schema.HasField("strict"):
            body["json_schema"]["strict"] = schema.strict
    return body


def _encode_stream_options(options: StreamOptions) -> _Body | None:
    """`include_usage` is the caller's wish towards Parley, not towards the provider."""
    if not options.HasField("include_obfuscation"):
        return None
    return {"include_obfuscation": options.include_obfuscation}


def _encode_audio(audio: AudioParameters) -> _Body:
    return {"format": audio.format, "voice": value_to_json(audio.voice)}


def _encode_prediction(prediction: Prediction) -> _Body:
    return {"type": prediction.type, "content": value_to_json(prediction.content)}


_PART_FIELDS: dict[str, _Encoder] = {
    "type": _same,
    "text": _same,
    "image_url": _encode_flat,
    "input_audio": _encode_flat,
    "file": _encode_flat,
    "video_url": _encode_flat,
    "document_url": _same,
    "refusal": _same,
    "cache_control": object_to_json,
    "prompt_cache_breakpoint": object_to_json,
}

# None: accepted so that an answer can be sent back, and of no use to the provider; or refused before.
_MESSAGE_FIELDS: dict[str, _Encoder | None] = {
    "role": _same,
    "content": value_to_json,
    "parts": lambda parts: [_encode_part(part) for part in parts],
    "name": _same,
    "tool_call_id": _same,
    "tool_calls": lambda calls: [_encode_tool_call(call) for call in calls],
    "function_call": lambda call: {"name": call.name, "arguments": call.arguments},
    "refusal": _same,
    "audio": lambda audio: {"id": audio.id},
    "reasoning_content": _same,
    "reasoning": _same,
    "reasoning_details": _objects,
    "annotations": None,
    "cache_control": object_to_json,
    "prefix": _same,
    "id": None,
    "completion_id": None,
    "metadata": None,
}

# None: not the provider's; either Parley's own, or refused by the validation unless empty.
_FIELDS: dict[str, _Encoder | None] = {
    "model": None,
    "messages": _encode_messages,
    "stream": None,
    "stream_options": _encode_stream_options,
    "temperature": _number,
    "top_p": _number,
    "max_tokens": _positive,
    "max_completion_tokens": _positive,
    "stop": list,
    "n": _positive,
    "presence_penalty": _number,
    "frequency_penalty": _number,
    "logit_bias": lambda bias: {token: _number(value) for token, value in bias.items()},
    "logprobs": _same,
    "top_logprobs": _same,
    "seed": _same,
    "tools": lambda tools: [_encode_tool(tool) for tool in tools],
    "tool_choice": value_to_json,
    "parallel_tool_calls": _same,
    "functions": lambda functions: [_encode_function(function) for function in functions],
    "function_call": value_to_json,
    "response_format": _encode_response_format,
    "reasoning_effort": _same,
    "verbosity": _same,
    "modalities": list,
    "audio": _encode_audio,
    "prediction": _encode_prediction,
    "web_search_options": object_to_json,
    "service_tier": _same,
    "store": None,
    "metadata": None,
    "user": _same,
    "safety_identifier": _same,
    "prompt_cache_key": _same,
    "prompt_cache_retention": _same,
    "prompt_cache_options": object_to_json,
    "moderation": object_to_json,
    "top_k": _same,
    "min_p": _number,
    "top_a": _number,
    "typical_p": _number,
    "repetition_penalty": _number,
    "min_tokens": _same,
    "thinking": object_to_json,
    "reasoning": object_to_json,
    "include_reasoning": _same,
    "reasoning_format": _same,
    "enable_thinking": _same,
    "thinking_budget": _same,
    "chat_template_kwargs": object_to_json,
    "safe_prompt": _same,
    "prompt_mode": _same,
    "random_seed": _same,
    "cache_control": object_to_json,
    "safety_settings": _objects,
    "search_parameters": object_to_json,
    "extra_body": object_to_json,
    "drop_params": None,
    "max_ttft_ms": None,
    "session_id": None,
    "ab_campaign": None,
    "labels": None,
    "system_prompt_args": None,
    "tags": None,
    "use_tools": None,
}
