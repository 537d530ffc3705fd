"""From single parameters of the contract to OpenAI's form of them. Pure.

Every field of the contract's request stands in `FIELDS`; a test holds that.

Source: https://platform.openai.com/docs/api-reference/chat/create (2026-11-21, by openai-python
3.54).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service._gen.parley.v1 import tool_pb2
from service._gen.parley.v1.chat_service_pb2 import AudioParameters, Prediction, ResponseFormat
from service.json_values import Json, json_number, object_to_json, value_to_json
from service.providers.openai.request_messages import encode_message

_Body = dict[str, Any]
_Encoder = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _positive(value: int) -> int | None:
    """0 counts as not given."""
    return value or None


def _objects(values: Any) -> list[dict[str, Json]]:
    return [object_to_json(value) for value in values]


def kind_of_tool(tool: tool_pb2.Tool) -> str:
    """One of those of `Dialect.tool_kinds`."""
    return tool.type or ("custom" if tool.HasField("custom") else "function")


def _encode_tool(tool: tool_pb2.Tool) -> _Body:
    kind = kind_of_tool(tool)
    body: _Body = object_to_json(tool.provider) if kind == "provider" else {"type": kind}
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


def _encode_audio(audio: AudioParameters) -> _Body:
    return {"format": audio.format, "voice": value_to_json(audio.voice)}


def _encode_prediction(prediction: Prediction) -> _Body:
    return {"type": prediction.type, "content": value_to_json(prediction.content)}


# None: not a parameter of the provider's, but Parley's own.
FIELDS: dict[str, _Encoder | None] = {
    "model": None,
    "messages": lambda messages: [encode_message(message) for message in messages],
    "stream": None,
    "stream_options": None,
    "temperature": json_number,
    "top_p": json_number,
    "max_tokens": _positive,
    "max_completion_tokens": _positive,
    "stop": list,
    "n": _positive,
    "presence_penalty": json_number,
    "frequency_penalty": json_number,
    "logit_bias": lambda bias: {token: json_number(value) for token, value in bias.items()},
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
    "min_p": json_number,
    "top_a": json_number,
    "typical_p": json_number,
    "repetition_penalty": json_number,
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
    "extra_body": None,
    "drop_params": None,
    "max_ttft_ms": None,
    "on_disconnect": None,
    "session_id": None,
    "ab_campaign": None,
    "labels": None,
    "system_prompt_args": None,
    "tags": None,
    "use_tools": None,
}
