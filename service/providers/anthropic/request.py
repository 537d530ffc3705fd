"""From the contract's request to the body of the Messages API. Pure.

Source: https://platform.claude.com/docs/en/api/messages (2026-11-22, by anthropic-sdk-python 2.12).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service.errors import missing
from service.json_values import Json, json_number
from service.providers.anthropic.messages import encode_messages
from service.providers.anthropic.reasoning import Reasoning, encode_reasoning
from service.providers.anthropic.tools import answer_tool_name, encode_tools
from service.providers.chat_api import EncodedCall
from service.providers.content import object_at
from service.providers.extra_body import merge_extra_body
from service.providers.provider import ProviderCall

_PATH: Final = "/v1/messages"
_Body = dict[str, Any]
_encode_json = msgspec.json.Encoder().encode

KNOWN: Final = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "service_tier"}
    | {"user", "safety_identifier", "tools", "tool_choice", "parallel_tool_calls", "web_search_options"}
    | {"response_format", "cache_control"}
    | {"thinking", "reasoning", "reasoning_effort", "thinking_budget", "enable_thinking", "include_reasoning"}
)
"""Parameters that have a counterpart here; all others are refused, or dropped."""

_SERVICE_TIERS: Final = {
    "auto": "auto",
    "default": "standard_only",
    "standard": "standard_only",
    "standard_only": "standard_only",
}
_LEAST_TOP_P_THINKING: Final = 0.95


def encode_request(call: ProviderCall, stream: bool) -> EncodedCall:  # noqa: FBT001 - as ChatApi has it
    """What the provider is sent.

    Raises:
        RequestError: The request holds what can't be sent to this provider.
    """
    request, omissions = call.request, call.omissions
    if request.functions:
        omissions.omit("functions", "knows no functions but as `tools`")
    omissions.omit_others(request, KNOWN | {"functions"})
    reasoning = encode_reasoning(call)
    system, messages = encode_messages(call)
    body: _Body = {"model": call.model, "max_tokens": reasoning.max_tokens}
    if system is not None:
        body["system"] = system
    body["messages"] = messages
    body |= _sampling(call, reasoning)
    body |= _stop(call)
    body |= encode_tools(call, has_budget=reasoning.has_budget)
    if reasoning.thinking is not None:
        body["thinking"] = reasoning.thinking
    body |= _output_config(call, reasoning)
    body |= _others(call)
    if stream:
        body["stream"] = True
    merge_extra_body(body, request)
    return EncodedCall(_PATH, _encode_json(body))


def _sampling(call: ProviderCall, reasoning: Reasoning) -> _Body:
    """Temperature, top_p and top_k.

    Thinking goes with no other temperature than 1, with no top_k, and with a top_p from 0.95 on. Source:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility (2026-11-22).
    """
    request, omissions = call.request, call.omissions
    body: _Body = {}
    if request.HasField("temperature"):
        if request.temperature > 1:
            omissions.omit("temperature", "takes temperatures up to 1")
        elif reasoning.is_on and request.temperature != 1:
            omissions.omit("temperature", "takes no other temperature than 1 while a model thinks")
        else:
            body["temperature"] = json_number(request.temperature)
    if request.HasField("top_p"):
        if reasoning.is_on and request.top_p < _LEAST_TOP_P_THINKING:
            omissions.omit("top_p", f"takes nothing below {_LEAST_TOP_P_THINKING} while a model thinks")
        else:
            body["top_p"] = json_number(request.top_p)
    if request.top_k:
        if reasoning.is_on:
            omissions.omit("top_k", "takes none while a model thinks")
        else:
            body["top_k"] = request.top_k
    return body


def _stop(call: ProviderCall) -> _Body:
    stop = []
    for index, sequence in enumerate(call.request.stop):
        if sequence.isspace():
            call.omissions.omit(f"stop[{index}]", "takes no stop sequence of white space alone")
        else:
            stop.append(sequence)
    return {"stop_sequences": stop} if stop else {}


def _output_config(call: ProviderCall, reasoning: Reasoning) -> _Body:
    config: _Body = {}
    if reasoning.effort is not None:
        config["effort"] = reasoning.effort
    match call.request.response_format.type:
        case "json_object":
            call.omissions.omit("response_format", 'has no JSON without a schema: give one, as "json_schema"')
        case "json_schema" if answer_tool_name(call) is None:
            config["format"] = {"type": "json_schema", "schema": _schema(call)}
    return {"output_config": config} if config else {}


def _schema(call: ProviderCall) -> dict[str, Json]:
    """The schema, which is always held to, so that `strict` adds nothing; the description stands within it."""
    path = "response_format.json_schema"
    json_schema = call.request.response_format.json_schema
    if not json_schema.HasField("schema"):
        raise missing(f"{path}.schema", "the JSON Schema of the answer")
    schema = object_at(f"{path}.schema", json_schema.schema)
    if not json_schema.description:
        return schema
    if "description" in schema:
        call.omissions.omit(f"{path}.description", "reads only the description within the schema")
        return schema
    return {"description": json_schema.description, **schema}


def _others(call: ProviderCall) -> _Body:
    request, omissions = call.request, call.omissions
    body: _Body = {}
    # Of the two, the safety identifier is what the API asks for: a hash, to find abuse by.
    # Source: https://platform.claude.com/docs/en/api/messages#metadata (2026-11-22)
    user_id = request.safety_identifier or request.user
    if user_id:
        body["metadata"] = {"user_id": user_id}
    if request.user and request.user != user_id:
        omissions.omit("user", "takes one name of the end user, and `safety_identifier` is given")
    if request.service_tier:
        tier = _SERVICE_TIERS.get(request.service_tier)
        if tier is None:
            omissions.omit("service_tier", 'takes only "auto", and "default" for its standard tier')
        else:
            body["service_tier"] = tier
    if request.HasField("cache_control"):
        body["cache_control"] = object_at("cache_control", request.cache_control)
    return body
