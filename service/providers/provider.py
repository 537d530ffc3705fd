"""The seam between the RPCs and the adapters of providers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities
from service.providers.omissions import Omissions
from service.providers.transport import Timeouts
from service.tracing.trace import AttemptTrace
from service.unspoken import Unspoken


class Identity(msgspec.Struct, frozen=True):
    """What an answer is called, whatever its provider calls it."""

    id: str
    """Id of the completion, used where the provider gives none."""
    created: int
    """Seconds since 1970, used where the provider gives none."""
    model: str
    """The model id of the request."""


class ProviderCall(Unspoken, frozen=True):
    """A validated request, on its way to one model of one provider."""

    request: ChatCompletionRequest
    model: str
    """The provider's own name of the model."""
    identity: Identity
    capabilities: Capabilities
    """What is known of the model."""
    omissions: Omissions
    """Takes what the provider can't follow; complete before the answer's first chunk."""
    timeouts: Timeouts | None = None
    """For this call; None: the provider's own."""
    trace: AttemptTrace | None = None
    """Is told where the provider was asked, and says what the provider is told of the call's trace."""


class Provider(Protocol):
    """Answers validated requests from one provider. Safe for any number of tasks."""

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        """Have the provider answer in one piece.

        Raises:
            UpstreamError: The provider, or the way to it, failed.
            RequestError: The request holds what can't be sent to this provider.
        """

    def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        """Have the provider answer in pieces; close the generator when done with it.

        Each choice begins with a chunk whose delta has the role and an empty content; one chunk of it,
        as a rule its last, has an empty delta and the finish reason. A last chunk without choices has
        the usage, where the provider tells it. Nothing is yielded before the provider's first event.
        A generator that ends without an exception has given every choice its finish reason.

        Raises:
            UpstreamError: The provider, or the way to it, failed; also when that happens midway.
            RequestError: The request holds what can't be sent to this provider.
        """
