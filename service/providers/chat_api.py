"""What an adapter consists of: four pure functions, which `HttpChatProvider` joins to the transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.errors import UpstreamError
from service.providers.provider import ProviderCall
from service.providers.sse import SseEvent
from service.unspoken import Unspoken

HeaderLookup = Callable[[str], str | None]
"""Gives the header of a name in lower case."""


class EncodedCall(Unspoken, frozen=True):
    """What a provider is sent."""

    path: str
    """Goes on after the configured base URL; begins with a slash."""
    body: bytes
    headers: Mapping[str, str] = {}
    """Besides those of the configuration, in lower case; no credentials."""


class StreamTranslator(Protocol):
    """Translates one stream of events. What it keeps does not grow with the length of the stream."""

    @property
    def is_over(self) -> bool:
        """Whether the provider has said that nothing more comes, as with `[DONE]`."""

    def translate(self, event: SseEvent) -> list[ChatCompletionChunk]:
        """The chunks that an event with data makes; often one, or none.

        Raises:
            Malformed: The event is none that the API allows.
            UpstreamError: It reports a failure.
        """

    def finish(self) -> list[ChatCompletionChunk]:
        """The chunks that the stream's end makes: the one with the usage, where it is known.

        Raises:
            Interrupted: A choice has no finish reason, or there was no choice.
        """


@dataclass(frozen=True, slots=True)
class ChatApi:
    """The translators of one provider's API. Each `str` is the provider's name in the configuration."""

    encode: Callable[[ProviderCall, bool], EncodedCall]
    """The request, as a stream or not. Raises RequestError for what can't be sent."""
    translate: Callable[[str, bytes, ProviderCall], ChatCompletion]
    """A whole answer of status 200. Raises UpstreamError."""
    stream: Callable[[str, ProviderCall], StreamTranslator]
    """A new translator of a stream of status 200."""
    error: Callable[[str, int, bytes, HeaderLookup], UpstreamError]
    """What an answer of another status, with its body, means."""
