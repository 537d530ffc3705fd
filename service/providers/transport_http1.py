"""`Transport` on HTTP/1.1.

A unary request takes 17 us of CPU time and an event of a stream 12, of which the loop and the kernel have 10 each;
through aiohttp's session it was 120 and 19. Measured on uvloop with 32 requests at once and answers of 1 KB, and 64
streams with events of 250 bytes that arrive alone.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from yarl import URL

from service.errors import ConfigError, UpstreamError
from service.providers.transport import Timeouts, UpstreamRequest
from service.providers.transport_connection import Answer
from service.providers.transport_gzip import Gunzip
from service.providers.transport_head import head_of, header_lines
from service.providers.transport_policy import THEIRS, Failure, error_of, failure_of, too_long
from service.providers.transport_pool import Origin, Pool, trusting
from service.providers.transport_proxies import Proxies

_MOST_AT_ONCE_BYTES = 8192
"""Of a stream: some 30 events. A connection may have 256 KiB, whose events would all be there before the first goes on."""


class Http1Transport:
    """`Transport` on HTTP/1.1: no redirects, no cookies, no retries.

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
        self._proxies = Proxies()
        self._origins: dict[tuple[str, str, int | None, URL | None], Origin] = {}
        self._route_of = functools.lru_cache(maxsize=1024)(self._find_route)
        self._pool: Pool | None = None  # it wants a running loop
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
        if self._pool is not None:
            await self._pool.aclose()

    async def ask(self, request: UpstreamRequest, answer: Answer) -> None:
        """Begin to send; what comes goes to `answer`."""
        timeouts = request.timeouts or self._timeouts
        if self._is_closed:
            raise error_of(Failure.CLOSED, timeouts)
        if self._pool is None:
            self._pool = Pool(self._trusted)
        trace = request.trace_headers
        try:
            replaced = tuple([name for name, _ in trace])
            origin, head = self._route_of(request.url, tuple(request.headers.items()), replaced)
            head = b"%s%d\r\n%s\r\n" % (head, len(request.body), header_lines(trace))
            connection = origin.take() or await self._pool.connect(origin, timeouts.connect_s)
            connection.send(answer, head, request.body, timeouts.read_s)
        except THEIRS as error:
            raise self.error_of(failure_of(error), timeouts) from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self.error_of(failure_of(error), timeouts) from None  # closed while a host name was looked up

    def error_of(self, failure: Failure, timeouts: Timeouts | None) -> UpstreamError | ConfigError:
        """The error to raise for a failure; `timeouts` are the request's own."""
        return error_of(Failure.CLOSED if self._is_closed else failure, timeouts or self._timeouts)

    def _find_route(
        self, text: str, headers: tuple[tuple[str, str], ...], replaced: tuple[str, ...]
    ) -> tuple[Origin, bytes]:
        """Where a request goes, and its head without the headers `replaced`.

        Raises:
            ValueError: It can't be asked.
            ConfigError: The proxy can't be used.
        """
        url = URL(text)
        if url.scheme not in {"http", "https"} or not url.raw_host or url.raw_user or url.raw_password:
            raise ValueError
        proxy = self._proxies.proxy_for(url)
        key = (url.scheme, url.raw_host, url.port, proxy)
        origin = self._origins.setdefault(key, Origin(url.origin(), proxy))
        return origin, head_of(url, proxy, {name: value for name, value in headers if name not in replaced})


class _Exchange:
    """One request and its answer: the context manager and the `UpstreamResponse` in one object."""

    __slots__ = ("_answer", "_gunzip", "_request", "_transport", "status")

    _gunzip: Gunzip | None
    status: int

    def __init__(self, transport: Http1Transport, request: UpstreamRequest) -> None:
        self._transport = transport
        self._request = request
        self._answer = Answer()

    async def __aenter__(self) -> Self:
        answer = self._answer
        await self._transport.ask(self._request, answer)
        try:
            while not answer.status and answer.failure is None:
                await answer.more()
        except BaseException:
            answer.leave()
            raise
        if answer.failure is not None and not answer.status:
            raise self._transport.error_of(answer.failure, self._request.timeouts) from None
        self.status = answer.status
        self._gunzip = None if self.header("content-encoding") in {None, "identity"} else Gunzip()  # the one asked for
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._answer.leave()

    def header(self, name: str) -> str | None:
        value = self._answer.headers.get(name.encode())
        return None if value is None else value.rstrip(b" \t").decode("utf-8", "surrogateescape")

    async def read(self, max_bytes: int) -> bytes:
        if self._gunzip is None:
            length = self.header("content-length") or ""
            if length.isdecimal() and int(length) > max_bytes:
                raise too_long(max_bytes)
        self._answer.most_bytes = max(self._answer.most_bytes, max_bytes)  # never pause: it is taken as it comes
        parts: list[bytes] = []
        room = max_bytes
        while pieces := await self._next():
            for piece in pieces:
                parts.append(piece)
                room -= len(piece)
                if room < 0:
                    raise too_long(max_bytes)
        return b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes]:
        while pieces := await self._next():
            for piece in pieces:
                for start in range(0, len(piece), _MOST_AT_ONCE_BYTES):
                    yield piece[start : start + _MOST_AT_ONCE_BYTES]

    async def _next(self) -> Iterable[bytes] | None:
        """The next pieces of the body, decompressed; None at its end."""
        answer = self._answer
        while not answer.pieces:
            if answer.is_complete:
                if self._gunzip is not None:
                    self._gunzip.finish()
                return None
            if answer.failure is not None:
                raise self._transport.error_of(answer.failure, self._request.timeouts) from None
            await answer.more()
        data = answer.take()
        return (data,) if self._gunzip is None else self._gunzip.feed(data)
