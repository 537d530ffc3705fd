"""From the contract's request to what Gemini is sent. Pure.

Source: https://ai.google.dev/api/generate-content#GenerationConfig (2026-11-22).
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from service.json_values import json_number
from service.providers.chat_api import EncodedCall
from service.providers.content import object_at
from service.providers.extra_body import merge_extra_body
from service.providers.gemini.contents import encode_messages
from service.providers.gemini.models import needs_property_ordering
from service.providers.gemini.reasoning import KNOWN as REASONING
from service.providers.gemini.reasoning import thinking_config
from service.providers.gemini.schema import with_property_ordering
from service.providers.gemini.spelling import with_camel_case
from service.providers.gemini.tools import encode_tool_config, encode_tools
from service.providers.provider import ProviderCall

_NUMBERS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
_MODALITIES: Final = {"text": "TEXT", "image": "IMAGE"}
_SEEDS: Final = range(-(2**31), 2**31)

KNOWN: Final = (
    frozenset({"messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "web_search_options"})
    | frozenset({"max_tokens", "max_completion_tokens", "stop", "n", "seed", "top_k", "logprobs", "top_logprobs"})
    | frozenset({"modalities", "service_tier", "safety_settings"})
    | frozenset(_NUMBERS)
    | REASONING
)
"""Fields of the request that are read here; others are left out by name."""

_encode_json: Final = msgspec.json.Encoder().encode


def encode_request(call: ProviderCall, stream: bool) -> EncodedCall:  # noqa: FBT001 - as ChatApi has it
    """The request.

    Raises:
        RequestError: It holds what can't be sent.
    """
    request = call.request
    call.omissions.omit_others(request, KNOWN)
    conversation = encode_messages(call)
    tools = encode_tools(call)
    body: dict[str, Any] = {
        "systemInstruction": {"parts": conversation.system} if conversation.system else None,
        "contents": conversation.contents,
        "tools": tools,
        "toolConfig": encode_tool_config(call, tools),
        "safetySettings": [
            object_at(f"safety_settings[{index}]", setting) for index, setting in enumerate(request.safety_settings)
        ],
        "generationConfig": _generation_config(call),
        "serviceTier": _service_tier(call),
    }
    body = {name: value for name, value in body.items() if value}
    merge_extra_body(body, with_camel_case(request))
    return EncodedCall(_path(call.model, stream=stream), _encode_json(body))


def _path(model: str, *, stream: bool) -> str:
    """A name with slashes is that of a resource, such as "tunedModels/x" or Vertex AI's "endpoints/123"."""
    name = model if "/" in model else f"models/{model}"
    return f"/{quote(name, safe='/@')}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


def _generation_config(call: ProviderCall) -> dict[str, Any]:
    request = call.request
    config: dict[str, Any] = {}
    for name, theirs in _NUMBERS.items():
        if request.HasField(name):  # type: ignore[arg-type]  # names of the contract, all of them
            config[theirs] = json_number(getattr(request, name))
    limit = request.max_completion_tokens or request.max_tokens
    config |= {"topK": request.top_k} if request.top_k else {}
    config |= {"maxOutputTokens": limit} if limit else {}
    config |= {"stopSequences": list(request.stop)} if request.stop else {}
    config |= {"candidateCount": request.n} if request.n > 1 else {}
    if request.logprobs:
        config["responseLogprobs"] = True
        config |= {"logprobs": request.top_logprobs} if request.top_logprobs else {}
    config |= _seed(call) | _response_format(call) | _modalities(call)
    if request.HasField("parallel_tool_calls") and not request.parallel_tool_calls:
        call.omissions.omit("parallel_tool_calls", "can't keep its models from making several calls at once")
    thinking = thinking_config(call)
    return config | ({"thinkingConfig": thinking} if thinking else {})


def _seed(call: ProviderCall) -> dict[str, Any]:
    if not call.request.HasField("seed"):
        return {}
    if call.request.seed not in _SEEDS:
        call.omissions.omit("seed", "takes seeds of 32 bits only")
        return {}
    return {"seed": call.request.seed}


def _response_format(call: ProviderCall) -> dict[str, Any]:
    """The name of a schema has no place in the API, which needs none; its description becomes the schema's own."""
    if not call.request.HasField("response_format") or call.request.response_format.type == "text":
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    form = call.request.response_format.json_schema
    if not form.HasField("schema"):
        return config
    schema = object_at("response_format.json_schema.schema", form.schema)
    if form.description and schema.setdefault("description", form.description) != form.description:
        call.omissions.omit("response_format.json_schema.description", "reads the schema's own description")
    config["responseJsonSchema"] = with_property_ordering(schema) if needs_property_ordering(call.model) else schema
    return config


def _modalities(call: ProviderCall) -> dict[str, Any]:
    told = list(call.request.modalities)
    if not set(told) <= _MODALITIES.keys():
        call.omissions.omit("modalities", "gives no sound over this API")
    kinds = [_MODALITIES[modality] for modality in told if modality in _MODALITIES]
    return {"responseModalities": kinds} if kinds else {}


def _service_tier(call: ProviderCall) -> str | None:
    """Source: https://ai.google.dev/gemini-api/docs/flex-inference (2026-11-22), by google-genai 3.4."""
    tier = call.request.service_tier
    if tier in {"", "auto"}:
        return None
    if tier not in _TIERS:
        call.omissions.omit("service_tier", "has only the tiers standard, flex and priority")
    return _TIERS.get(tier)
