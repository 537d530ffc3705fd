"""Refuses what a model can't do, by what is known of it, before anything is sent. Pure."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service.providers.omissions import asks_for_nothing
from service.providers.provider import ProviderCall

_TOOLS: Final = ("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls")
_SAMPLING: Final = (
    *("temperature", "top_p", "top_k", "min_p", "top_a", "typical_p", "repetition_penalty"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
)
_KIND_OF_PART: Final = {
    "text": "text",
    "refusal": "text",
    "image_url": "image",
    "input_audio": "audio",
    "video_url": "video",
    # A file may be of any kind: its media type is the provider's to look at.
}


def within_abilities(call: ProviderCall) -> ProviderCall:
    """The call as the model can follow it: without the parameters that may be dropped and have to be.

    Raises:
        RequestError: PARAMETER_UNSUPPORTED: the model is known not to do what the request asks for.
            What is not known is let pass.
    """
    before = len(call.omissions.dropped)
    _check_parameters(call)
    if call.capabilities.input_kinds is not None:
        for index, message in enumerate(call.request.messages):
            if message.content.WhichOneof("kind") != "string_value":  # which every model reads
                _check_parts(call, f"messages[{index}]", message, call.capabilities.input_kinds)
    dropped = call.omissions.dropped[before:]
    if not dropped:
        return call
    remaining = ChatCompletionRequest()
    remaining.CopyFrom(call.request)
    for name in dropped:
        _clear(remaining, name)
    return replace(call, request=remaining)


def effort_of(request: ChatCompletionRequest) -> str:
    """The effort that the request names first; empty where it names none."""
    return next((effort for _, effort in _efforts_of(request)), "")


def _efforts_of(request: ChatCompletionRequest) -> list[tuple[str, str]]:
    """By which parameters the request names an effort, and which. Not to reason at all is one of "none".

    Of OpenRouter's `reasoning`, what is no effort is each provider's own to look at, as are the other ways to
    ask for reasoning.
    """
    efforts = [("reasoning_effort", request.reasoning_effort)] if request.reasoning_effort else []
    if request.HasField("reasoning"):
        for entry in request.reasoning.fields:
            if entry.key == "effort" and entry.value.string_value:
                efforts.append(("reasoning.effort", entry.value.string_value))
            elif entry.key == "enabled" and entry.value.WhichOneof("kind") == "bool_value":
                efforts += [] if entry.value.bool_value else [("reasoning.enabled", "none")]
    return efforts


def _check_parameters(call: ProviderCall) -> None:
    known, request, efforts = call.capabilities, call.request, _efforts_of(call.request)
    if known.tools is False and (request.tools or request.functions):
        _omit(call, _TOOLS, "can't call functions")
    for param, effort in efforts:
        _check_effort(call, param, effort)
    if known.sampling is False and not (known.reasoning == "effort" and efforts and efforts[0][1] == "none"):
        _omit(call, _SAMPLING, "samples in its own way")


def _check_effort(call: ProviderCall, param: str, effort: str) -> None:
    known, model = call.capabilities, call.model
    if known.reasoning == "none":
        if effort != "none":
            call.omissions.omit(param, f"has a model `{model}` that does not reason")
    elif known.reasoning_efforts is not None and effort not in known.reasoning_efforts:
        words = ", ".join(f'"{word}"' for word in known.reasoning_efforts)
        call.omissions.omit(param, f"has a model `{model}` that takes only {words}")


def _clear(request: ChatCompletionRequest, name: str) -> None:
    """Take a parameter of the contract away, or a member of one that is an object."""
    field, _, member = name.partition(".")
    if member:
        entries = getattr(request, field).fields
        kept = [entry for entry in entries if entry.key != member]
        if kept:
            del entries[:]
            entries.extend(kept)
            return
    request.ClearField(field)  # type: ignore[arg-type]  # names of the contract, all of them


def _omit(call: ProviderCall, names: tuple[str, ...], what: str) -> None:
    """Leave out those of the parameters that are set and ask for something."""
    for field, value in call.request.ListFields():
        if field.name in names and not _is_default(field.name, value):
            call.omissions.omit(field.name, f"has a model `{call.model}` that {what}")


def _is_default(name: str, value: object) -> bool:
    return value == 1 if name in {"temperature", "top_p"} else asks_for_nothing(name, value)


def _check_parts(call: ProviderCall, path: str, message: Message, kinds: tuple[str, ...]) -> None:
    for place, part_type in _parts(message):
        kind = _KIND_OF_PART.get(part_type)
        if kind is not None and kind not in kinds:
            call.omissions.refuse(f"{path}.{place}.type", f"has a model `{call.model}` that reads no {kind}")


def _parts(message: Message) -> list[tuple[str, str]]:
    """Place and type of each part of the content."""
    if message.parts:
        return [(f"parts[{index}]", part.type) for index, part in enumerate(message.parts)]
    values = message.content.list_value.values
    return [(f"content[{index}]", value.struct_value.fields["type"].string_value) for index, value in enumerate(values)]
