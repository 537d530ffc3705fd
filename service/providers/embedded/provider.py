"""The embedded model as a provider: an OpenAI-compatible one that can do less, and says so first.

llama.cpp answers an image with HTTP 500 and too large an `n` with a 400 that names no parameter
(xllamacpp 2026.10, run here), so both are refused before they are sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service.errors import Reason, RequestError, invalid
from service.providers.provider import Identity, Provider

_KNOWN: Final = frozenset(
    # What llama.cpp's server acts on.
    {"messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "n", "presence_penalty"}
    | {"frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "tools", "tool_choice", "response_format"}
    | {"parallel_tool_calls", "top_k", "min_p", "typical_p", "chat_template_kwargs", "modalities", "extra_body"}
    # What names the caller to a provider, of which there is none here.
    | {"user", "safety_identifier", "prompt_cache_key"}
    # Parley's own, and what the validation lets pass only when it asks for nothing.
    | {"model", "stream", "stream_options", "store", "metadata", "drop_params", "max_ttft_ms", "session_id"}
    | {"ab_campaign", "labels", "system_prompt_args", "tags", "use_tools"}
)


class EmbeddedChatProvider:
    """Refuses what the model can't do, and asks `inner` for the rest."""

    def __init__(self, inner: Provider, slots: int) -> None:
        self._inner = inner
        self._slots = slots

    async def complete(self, request: ChatCompletionRequest, model: str, identity: Identity) -> ChatCompletion:
        """See `Provider.complete`."""
        check_abilities(request, self._slots)
        return await self._inner.complete(request, model, identity)

    def stream(
        self, request: ChatCompletionRequest, model: str, identity: Identity
    ) -> AsyncGenerator[ChatCompletionChunk]:
        """See `Provider.stream`."""
        check_abilities(request, self._slots)
        return self._inner.stream(request, model, identity)


def check_abilities(request: ChatCompletionRequest, slots: int) -> None:
    """Refuse what the embedded model can't do.

    Raises:
        RequestError: PARAMETER_UNSUPPORTED or PARAMETER_INVALID, with `param`.
    """
    for field, _ in request.ListFields():
        if field.name not in _KNOWN:
            raise _unsupported(field.name, "does not know this parameter")
    if request.n > slots:
        raise invalid("n", f"at most {slots} for the embedded model")
    choice = request.tool_choice
    if choice.string_value == "required" or choice.WhichOneof("kind") == "struct_value":
        raise _unsupported("tool_choice", "can't be made to call a tool")
    for index, tool in enumerate(request.tools):
        if tool.HasField("custom"):
            raise _unsupported(f"tools[{index}].type", "has function tools alone")
    for index, modality in enumerate(request.modalities):
        if modality != "text":
            raise _unsupported(f"modalities[{index}]", "writes text alone")
    for index, message in enumerate(request.messages):
        _check_message(f"messages[{index}]", message)


def _check_message(path: str, message: Message) -> None:
    for index, call in enumerate(message.tool_calls):
        if call.HasField("custom"):
            raise _unsupported(f"{path}.tool_calls[{index}].type", "has function tools alone")
    if message.HasField("audio"):
        raise _unsupported(f"{path}.audio", "reads text alone")
    for place, kind in _parts(message):
        if kind != "text":
            raise _unsupported(f"{path}.{place}.type", "reads text alone")


def _parts(message: Message) -> list[tuple[str, str]]:
    """Place and type of each part of the content."""
    typed = [(f"parts[{index}]", part.type) for index, part in enumerate(message.parts)]
    values = message.content.list_value.values if message.HasField("content") else ()
    return typed + [
        (f"content[{index}]", value.struct_value.fields["type"].string_value) for index, value in enumerate(values)
    ]


def _unsupported(param: str, what: str) -> RequestError:
    return RequestError(Reason.PARAMETER_UNSUPPORTED, f"`{param}`: the embedded model {what}.", param=param)
