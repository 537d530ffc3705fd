"""`Transport` on aiohttp. `transport_aiohttp_session` has what it takes to keep it to the seam.

A unary request takes 58 us of CPU time, as much as by aiohttp alone, and an event of a stream 8 us: measured on
uvloop with 32 requests at once, answers of 1 KB and events of 250 bytes. pyreqwest 0.15 takes 28 us per unary
request, but one can't be cancelled before the answer's head, so the provider would work on for a caller who left.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from service.errors import ConfigError, UpstreamError
from service.providers.transport import Timeouts, UpstreamRequest
from service.providers.transport_aiohttp_session import Body, client_timeout, open_session, trusting
from service.providers.transport_gzip import Gunzip
from service.providers.transport_policy import THEIRS, Failure, error_of, failure_of, too_long
from service.providers.transport_proxies import Proxies

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_SENDABLE = re.compile(r"[\t\x20-\x7e]*")


class AiohttpTransport:
    """`Transport` on aiohttp: HTTP/1.1, no redirects, no cookies, no retries (aiohttp repeats no POST).

    A kept connection that the provider closed meanwhile is noticed and not used. Where it closes in
    the instant the request is written, the request fails as `Unavailable`.

    Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`),
    except for upstreams on this machine, which are always asked directly.

    Args:
        timeouts: `connect_s` covers the look-up of the name and TLS; `read_s` runs from the start of
            the request.
        ca_file: PEM certificates to trust besides the system's.

    Raises:
        ConfigError: `ca_file` can't be used.
    """

    def __init__(self, timeouts: Timeouts, *, ca_file: Path | None = None) -> None:
        self._timeouts = timeouts
        self._trusted = None if ca_file is None else trusting(ca_file)
        self._route_of = functools.lru_cache(maxsize=1024)(functools.partial(_route_of, Proxies()))
        self._session: aiohttp.ClientSession | None = None  # it wants a running loop
        self._is_closed = False

    def send(self, request: UpstreamRequest) -> _Exchange:
        """See `Transport.send`.

        Raises:
            ConfigError: The URL or a header can't be sent.
        """
        return _Exchange(self, request)

    async def aclose(self) -> None:
        """Close all connections; requests under way fail as `Unavailable`."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def post(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Send, and wait for the answer's head."""
        timeouts = request.timeouts or self._timeouts
        if self._is_closed:
            raise error_of(Failure.CLOSED, timeouts)
        if self._session is None:
            self._session = open_session(self._timeouts, self._trusted)
        try:
            url, proxy = self._route_of(request.url)
            headers = _headers_of(tuple(request.headers.items()))
            if request.trace_headers:
                headers = headers.copy()
                headers.update(request.trace_headers)
            return await self._session.post(
                url,
                data=Body(request.body),
                headers=headers,
                proxy=proxy,
                allow_redirects=False,
                timeout=client_timeout(timeouts),
            )
        except THEIRS as error:
            raise self.translate(error, timeouts) from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self.translate(error, timeouts) from None  # the session was closed while a host name was looked up

    def translate(self, error: BaseException, timeouts: Timeouts | None) -> UpstreamError | ConfigError:
        """What an exception of the client means; `timeouts` are the request's own."""
        return error_of(Failure.CLOSED if self._is_closed else failure_of(error), timeouts or self._timeouts)


class _Exchange:
    """One request and its answer: the context manager and the `UpstreamResponse` in one object."""

    __slots__ = ("_gunzip", "_request", "_response", "_transport", "status")

    _gunzip: Gunzip | None
    _response: aiohttp.ClientResponse
    status: int

    def __init__(self, transport: AiohttpTransport, request: UpstreamRequest) -> None:
        self._transport = transport
        self._request = request

    async def __aenter__(self) -> Self:
        self._response = await self._transport.post(self._request)
        self.status = self._response.status
        encoding = self._response.headers.get("content-encoding", "identity")
        self._gunzip = None if encoding == "identity" else Gunzip()  # nothing else is asked for
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._response.closed:  # the body's end has not come
            self._response.close()

    def header(self, name: str) -> str | None:
        value: str | None = self._response.headers.get(name)
        return value

    async def read(self, max_bytes: int) -> bytes:
        if self._gunzip is None:
            length = self.header("content-length") or ""
            if length.isdecimal() and int(length) > max_bytes:
                raise too_long(max_bytes)
        self._response.content.set_read_chunk_size(max_bytes)  # never pause: nothing is left in the buffer for long
        parts: list[bytes] = []
        room = max_bytes
        while (pieces := await self._next()) is not None:
            for piece in pieces:
                parts.append(piece)
                room -= len(piece)
                if room < 0:
                    raise too_long(max_bytes)
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes]:
        while (pieces := await self._next()) is not None:
            for piece in pieces:
                yield piece

    async def _next(self) -> Iterable[bytes] | None:
        """The next pieces of the body, decompressed; None at its end."""
        content = self._response.content
        try:
            data = await content.readany()
        except THEIRS as error:
            data = b"".join(content._buffer)  # noqa: SLF001 - what came before the break; aiohttp would drop it
            content._buffer.clear()  # noqa: SLF001
            if not data:
                raise self._transport.translate(error, self._request.timeouts) from None
        if self._gunzip is None:
            return (data,) if data else None
        if data:
            return self._gunzip.feed(data)
        self._gunzip.finish()
        return None


@functools.lru_cache(maxsize=256)
def _headers_of(items: tuple[tuple[str, str], ...]) -> CIMultiDict[str]:
    """The headers as aiohttp likes them.

    Raises:
        ValueError: One can't be sent; aiohttp minds line breaks alone, and drops what is no Unicode.
    """
    if not all(_SENDABLE.fullmatch(value) and _TOKEN.fullmatch(name) for name, value in items):
        raise ValueError
    return CIMultiDict(items)


def _route_of(proxies: Proxies, text: str) -> tuple[URL, URL | None]:
    """The parsed URL and its proxy.

    Raises:
        ValueError: It can't be asked.
        ConfigError: The proxy can't be used.
    """
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.raw_host:
        raise ValueError
    return url, proxies.proxy_for(url)
