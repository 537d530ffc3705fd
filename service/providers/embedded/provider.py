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

_TEXT_PARTS: Final = frozenset({"text", "refusal"})


class EmbeddedChatProvider:
    """Refuses what the model can't do, and asks `inner` for the rest."""

    def __init__(self, inner: Provider, slots: int) -> None:
        self._inner = inner
        self._slots = slots

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._inner.name

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
    if request.n > slots:
        raise invalid("n", f"at most {slots} for the embedded model")
    for index, tool in enumerate(request.tools):
        if tool.HasField("custom"):
            raise _unsupported(f"tools[{index}].type", "has function tools alone")
    for index, message in enumerate(request.messages):
        for place, kind in _parts(message):
            if kind not in _TEXT_PARTS:
                raise _unsupported(f"messages[{index}].{place}.type", "reads text alone")
    for index, modality in enumerate(request.modalities):
        if modality != "text":
            raise _unsupported(f"modalities[{index}]", "writes text alone")


def _parts(message: Message) -> list[tuple[str, str]]:
    """Place and type of each part of the content."""
    typed = [(f"parts[{index}]", part.type) for index, part in enumerate(message.parts)]
    values = message.content.list_value.values if message.HasField("content") else ()
    return typed + [
        (f"content[{index}]", value.struct_value.fields["type"].string_value) for index, value in enumerate(values)
    ]


def _unsupported(param: str, what: str) -> RequestError:
    return RequestError(Reason.PARAMETER_UNSUPPORTED, f"`{param}`: the embedded model {what}.", param=param)
