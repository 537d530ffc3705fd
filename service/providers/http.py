"""A provider that is asked over HTTP: its pure translators, joined to the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.errors import Interrupted, Malformed, Unavailable, UpstreamError
from service.providers.abilities import within_abilities
from service.providers.chat_api import ChatApi, StreamTranslator
from service.providers.delta_lists import DeltaLists
from service.providers.provider import ProviderCall
from service.providers.sse import SseDecoder, SseTooLongError
from service.providers.transport import Transport, UpstreamRequest, UpstreamResponse

_MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Room for an answer with sound in base64; what is larger is refused, not cut."""
_MAX_ERROR_BYTES = 1024 * 1024
_LEFTOVER_S = 0.05
"""How long to wait, after a stream's end, for the body's end, so that the connection can be kept."""

EndpointLookup = Callable[[], tuple[str, Mapping[str, str]]]
"""Gives base URL and headers for a request; may raise `Unavailable`."""


class HttpChatProvider:
    """Answers from one API. See `Provider`.

    Args:
        name: The provider's name in the configuration.
        endpoint: Asked before every request.
        transport: Carries the requests; closed by whoever made it.
        api: The translators.
    """

    def __init__(self, name: str, endpoint: EndpointLookup, transport: Transport, api: ChatApi) -> None:
        self._name = name
        self._endpoint = endpoint
        self._transport = transport
        self._api = api

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        """See `Provider.complete`."""
        request = self._upstream_request(call, stream=False)
        try:
            async with self._transport.send(request) as response:
                await self._raise_for_status(response)
                answer = await response.read(_MAX_ANSWER_BYTES)
        except UpstreamError as error:
            raise self._named(error)  # noqa: B904 - the very same error
        return self._api.translate(self._name, answer, call)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        """See `Provider.stream`."""
        request = self._upstream_request(call, stream=True)
        translator = self._api.stream(self._name, call)
        lists = DeltaLists()
        has_begun = False
        try:
            async with self._transport.send(request) as response:
                await self._raise_for_status(response)
                _require_event_stream(response)
                async with aclosing(response.chunks()) as pieces:
                    async with aclosing(_chunks(pieces, translator)) as chunks:
                        async for chunk in chunks:
                            has_begun = True
                            lists.number(chunk)
                            yield chunk
                    for chunk in translator.finish():
                        lists.number(chunk)
                        yield chunk
        except Unavailable as error:
            raise self._named(_interrupted(error) if has_begun else error)  # noqa: B904 - the same error, or its heir
        except SseTooLongError:
            raise self._named(Malformed("An event of the provider's stream is too large.")) from None
        except UpstreamError as error:
            raise self._named(error)  # noqa: B904 - the very same error

    def _upstream_request(self, call: ProviderCall, *, stream: bool) -> UpstreamRequest:
        encoded = self._api.encode(within_abilities(call), stream)
        base_url, headers = self._endpoint()
        trace = call.trace
        if trace is not None:
            trace.base_url = base_url
        accept = "text/event-stream" if stream else "application/json"
        return UpstreamRequest(
            url=base_url + encoded.path,
            body=encoded.body,
            headers={**headers, **encoded.headers, "content-type": "application/json", "accept": accept},
            timeouts=call.timeouts,
            trace_headers=() if trace is None else trace.headers,
        )

    async def _raise_for_status(self, response: UpstreamResponse) -> None:
        if response.status != 200:  # noqa: PLR2004 - OK
            try:
                body = await response.read(_MAX_ERROR_BYTES)
            except UpstreamError:  # the status tells enough
                body = b""
            raise self._api.error(self._name, response.status, body, response.header)

    def _named(self, error: UpstreamError) -> UpstreamError:
        error.metadata.setdefault("provider", self._name)
        return error


def _require_event_stream(response: UpstreamResponse) -> None:
    content_type = (response.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "text/event-stream":
        raise Malformed("The provider's answer is no event stream, though a stream was asked for.")


def _interrupted(error: Unavailable) -> Interrupted:
    return Interrupted("The provider broke off before the answer was complete.", metadata=error.metadata)


async def _chunks(pieces: AsyncGenerator[bytes], translator: StreamTranslator) -> AsyncGenerator[ChatCompletionChunk]:
    """The chunks up to the end that the provider announces, or to the body's end."""
    decoder = SseDecoder()
    async for piece in pieces:
        for event in decoder.feed(piece):
            if not event.data:
                continue
            for chunk in translator.translate(event):
                yield chunk
            if translator.is_over:
                await _read_leftover(pieces)
                return


async def _read_leftover(pieces: AsyncGenerator[bytes]) -> None:
    """Read to the body's end, which normally is there already, so that the connection can be kept."""
    try:
        async with asyncio.timeout(_LEFTOVER_S):
            async for _ in pieces:
                pass
    except (TimeoutError, UpstreamError):
        return  # the answer is complete; only the connection is lost
