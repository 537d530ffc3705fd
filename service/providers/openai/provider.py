"""The adapter of OpenAI-compatible providers: the pure translators, joined to the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Interrupted, Malformed, Unavailable, UpstreamError
from service.providers.openai.errors import error_of_answer
from service.providers.openai.request import encode_request
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.provider import Identity
from service.providers.sse import SseDecoder, SseEvent, SseTooLongError
from service.providers.transport import Transport, UpstreamRequest, UpstreamResponse

_MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Room for an answer with sound in base64; what is larger is refused, not cut."""
_MAX_ERROR_BYTES = 1024 * 1024
_LEFTOVER_S = 0.05
"""How long to wait, after a stream's end, for the body's end, so that the connection can be kept."""

EndpointLookup = Callable[[], tuple[str, Mapping[str, str]]]
"""Gives base URL and headers for a request; may raise `Unavailable`."""


class OpenAIChatProvider:
    """Answers from one OpenAI-compatible API."""

    def __init__(self, name: str, endpoint: EndpointLookup, transport: Transport) -> None:
        self._name = name
        self._endpoint = endpoint
        self._transport = transport

    async def complete(self, request: ChatCompletionRequest, model: str, identity: Identity) -> ChatCompletion:
        """See `Provider.complete`."""
        body = encode_request(request, model, stream=False)
        try:
            async with self._transport.send(self._upstream_request(body, "application/json")) as response:
                await self._raise_for_status(response)
                answer = await response.read(_MAX_ANSWER_BYTES)
        except UpstreamError as error:
            raise self._named(error)  # noqa: B904 - the very same error
        return translate_completion(self._name, answer, identity)

    async def stream(
        self, request: ChatCompletionRequest, model: str, identity: Identity
    ) -> AsyncGenerator[ChatCompletionChunk]:
        """See `Provider.stream`."""
        body = encode_request(request, model, stream=True)
        translator = StreamTranslator(self._name, identity)
        has_begun = False
        try:
            async with self._transport.send(self._upstream_request(body, "text/event-stream")) as response:
                await self._raise_for_status(response)
                self._require_event_stream(response)
                async with aclosing(response.chunks()) as pieces:
                    async with aclosing(_events(pieces)) as events:
                        async for event in events:
                            if event.event == "error":
                                raise translator.error_of_event(event.data)
                            for chunk in translator.translate(event.data):
                                has_begun = True
                                yield chunk
                    for chunk in translator.finish():
                        yield chunk
        except Unavailable as error:
            raise self._named(_interrupted(error) if has_begun else error)  # noqa: B904 - the same error, or its heir
        except SseTooLongError:
            raise self._named(Malformed("An event of the provider's stream is too large.")) from None
        except UpstreamError as error:
            raise self._named(error)  # noqa: B904 - the very same error

    def _upstream_request(self, body: bytes, accept: str) -> UpstreamRequest:
        base_url, headers = self._endpoint()
        return UpstreamRequest(
            url=f"{base_url}/chat/completions",
            body=body,
            headers={**headers, "content-type": "application/json", "accept": accept},
        )

    async def _raise_for_status(self, response: UpstreamResponse) -> None:
        if response.status != 200:  # noqa: PLR2004 - OK
            try:
                body = await response.read(_MAX_ERROR_BYTES)
            except UpstreamError:  # the status tells enough
                body = b""
            raise error_of_answer(self._name, response.status, body, response.header)

    def _require_event_stream(self, response: UpstreamResponse) -> None:
        content_type = (response.header("content-type") or "").partition(";")[0].strip().lower()
        if content_type != "text/event-stream":
            raise Malformed("The provider's answer is no event stream, though a stream was asked for.")

    def _named(self, error: UpstreamError) -> UpstreamError:
        error.metadata.setdefault("provider", self._name)
        return error


def _interrupted(error: Unavailable) -> Interrupted:
    return Interrupted("The provider broke off before the answer was complete.", metadata=error.metadata)


async def _events(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[SseEvent]:
    """The events with data up to `[DONE]`, or to the body's end."""
    decoder = SseDecoder()
    async for piece in pieces:
        for event in decoder.feed(piece):
            if event.data == b"[DONE]":
                await _read_leftover(pieces)
                return
            if event.data:
                yield event


async def _read_leftover(pieces: AsyncGenerator[bytes]) -> None:
    """Read to the body's end, which normally is there already, so that the connection can be kept."""
    try:
        async with asyncio.timeout(_LEFTOVER_S):
            async for _ in pieces:
                pass
    except (TimeoutError, UpstreamError):
        return  # the answer is complete; only the connection is lost
