"""The transport for less CPU time: pyreqwest, a binding of Rust's reqwest. It is optional.

Limits of pyreqwest 0.15.1 shape this file, or are the price of it; they were measured, and tests hold them.

- It reads ahead, and while it does, leaving early does not close the connection. A read-ahead of 0
  makes it close at once as soon as the head is there, and hands out the head before the first byte
  of the body. (1 is not enough: it waits for the first byte, and a cancellation then goes unheard.)
  A unary request takes 4 us more CPU time than by `build()` (28 us; 20 us more if gzipped), which
  can't bound a body; an event of a stream takes 14 us.
- A request cancelled *before* the answer's head goes on inside the client, until its body begins or
  `Timeouts.read_s` passes; only then is the connection closed. No call of pyreqwest ends it sooner,
  not even closing the client. So the provider works on for a caller who has gone away: that is why
  aiohttp is the default.
- Closing the client leaves answers whose head has arrived to go on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from pyreqwest import exceptions as theirs
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from service.errors import ConfigError, UpstreamError
from service.providers.transport import USER_AGENT, Timeouts, UpstreamRequest
from service.providers.transport_policy import Failure, error_of, is_loopback, read_ca_file, too_long

FAILURES: dict[type[theirs.PyreqwestError], Failure] = {
    theirs.PyreqwestError: Failure.DEFECT,
    theirs.DetailedPyreqwestError: Failure.DEFECT,
    theirs.RequestError: Failure.BROKEN,
    theirs.StatusError: Failure.DEFECT,
    theirs.RedirectError: Failure.DEFECT,
    theirs.DecodeError: Failure.NOT_HTTP,
    theirs.BodyDecodeError: Failure.UNDECODABLE,
    theirs.JSONDecodeError: Failure.DEFECT,
    theirs.TransportError: Failure.BROKEN,
    theirs.RequestTimeoutError: Failure.READ_TIMEOUT,
    theirs.NetworkError: Failure.BROKEN,
    theirs.ConnectTimeoutError: Failure.CONNECT_TIMEOUT,
    theirs.ReadTimeoutError: Failure.READ_TIMEOUT,
    theirs.WriteTimeoutError: Failure.WRITE_TIMEOUT,
    theirs.PoolTimeoutError: Failure.POOL_TIMEOUT,
    theirs.ConnectError: Failure.UNCONNECTED,
    theirs.ReadError: Failure.BROKEN,
    theirs.WriteError: Failure.BROKEN,
    theirs.ClientClosedError: Failure.CLOSED,
    theirs.BuilderError: Failure.UNSENDABLE,
    theirs.RequestPanicError: Failure.DEFECT,
}
"""Every exception of the client; `failure_of` refines some by their causes."""

_CAUSES = (
    ("Connection refused", Failure.REFUSED),
    ("dns error", Failure.NAME_UNKNOWN),
    ("certificate", Failure.TLS),
    ("InvalidMessage", Failure.TLS),
    ("received corrupt message", Failure.TLS),
    ("received fatal alert", Failure.TLS),
    ("end of file before message length", Failure.BROKEN),
    ("unexpected EOF during chunk", Failure.BROKEN),
    ("chunk", Failure.NOT_HTTP),
    ("connection closed before message completed", Failure.BROKEN),
)
"""Words in the chain of causes that tell more than the class. hyper 1.12, rustls 0.23; first wins."""

_READ_BYTES = 65536


class PyreqwestTransport:
    """`Transport` on pyreqwest: HTTP/1.1, no redirects, no cookies, no retries of its own.

    A kept connection that the provider closed meanwhile is noticed and not used. Where it closes in
    the instant the request is written, the request fails as `Unavailable`: reqwest sends again only
    what was not sent at all.

    Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`),
    except for upstreams on this machine, which are always asked directly.

    Args:
        timeouts: `connect_s` covers TLS; `read_s` runs from the start of the request.
        ca_file: PEM certificates to trust besides the system's.
        max_connections: How many requests may be under way at once; None for any number.

    Raises:
        ConfigError: `ca_file` can't be used.
    """

    def __init__(self, timeouts: Timeouts, *, ca_file: Path | None = None, max_connections: int | None = None) -> None:
        self._timeouts = timeouts
        self._proxied = _builder(timeouts, ca_file, max_connections).build()
        self._direct = _builder(timeouts, ca_file, max_connections).no_proxy().build()

    def send(self, request: UpstreamRequest) -> _Exchange:
        """See `Transport.send`.

        Raises:
            ConfigError: The URL or a header can't be sent.
        """
        client: Client = self._direct if is_loopback(request.url) else self._proxied
        try:
            builder = client.post(request.url).headers(request.headers).body_bytes(request.body)
            built = builder.streamed_read_buffer_limit(0).build_streamed()
        except theirs.ClientClosedError:
            raise error_of(Failure.CLOSED, self._timeouts) from None
        except ValueError:  # BuilderError is one too; their messages quote the URL
            raise error_of(Failure.UNSENDABLE, self._timeouts) from None
        return _Exchange(built, self._timeouts)

    async def aclose(self) -> None:
        """Close the kept connections; those under way are closed when they end."""
        await self._direct.close()
        await self._proxied.close()


class _Exchange:
    """One request and its answer: the context manager and the `UpstreamResponse` in one object."""

    __slots__ = ("_request", "_response", "_timeouts", "status")

    _response: Response
    status: int

    def __init__(self, request: StreamRequest, timeouts: Timeouts) -> None:
        self._request = request
        self._timeouts = timeouts

    async def __aenter__(self) -> Self:
        try:
            self._response = await self._request.__aenter__()
        except theirs.PyreqwestError as error:
            raise self._translate(error) from None
        self.status = self._response.status
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._request.__aexit__(kind, error, traceback)

    def header(self, name: str) -> str | None:
        return self._response.get_header(name)

    async def read(self, max_bytes: int) -> bytes:
        length = self._response.get_header("content-length")  # reqwest removes it where it decompresses
        try:
            if length is None:
                return await self._read_bounded(max_bytes)
            if int(length) > max_bytes:
                raise too_long(max_bytes)
            return (await self._response.bytes()).to_bytes()
        except theirs.PyreqwestError as error:
            raise self._translate(error) from None

    async def _read_bounded(self, max_bytes: int) -> bytes:
        parts: list[bytes] = []
        room = max_bytes + 1
        while room:
            wanted = min(room, _READ_BYTES)
            part = await self._response.body_reader.read(wanted)
            if part is not None:
                parts.append(part.to_bytes())
            if part is None or len(part) < wanted:  # short at the end of the body only
                return b"".join(parts)
            room -= wanted
        raise too_long(max_bytes)

    async def chunks(self) -> AsyncGenerator[bytes]:
        read_chunk = self._response.body_reader.read_chunk
        try:
            while (chunk := await read_chunk()) is not None:
                yield chunk.to_bytes()
        except theirs.PyreqwestError as error:
            raise self._translate(error) from None

    def _translate(self, error: theirs.PyreqwestError) -> UpstreamError | ConfigError:
        return error_of(failure_of(error), self._timeouts)


def failure_of(error: theirs.PyreqwestError) -> Failure:
    """Sort an exception of the client; one without an entry counts as its nearest base."""
    failure = next(FAILURES[base] for base in type(error).__mro__ if base in FAILURES)
    # The first cause may quote the URL, in which any of the words below could stand.
    causes = [text for text in _causes(error) if " for url (" not in text]
    if failure is Failure.CONNECT_TIMEOUT:
        # Also raised for a connection that stands and on which no answer comes.
        return failure if any("(Connect)" in cause for cause in causes) else Failure.READ_TIMEOUT
    if failure in {Failure.UNCONNECTED, Failure.BROKEN, Failure.UNDECODABLE}:
        if any("body error" in cause for cause in causes) and not any("from connection" in cause for cause in causes):
            return Failure.UNDECODABLE  # the body came, and the decompressor did not take it
        for words, refined in _CAUSES:
            if any(words in cause for cause in causes):
                return refined
    return failure


def _causes(error: theirs.PyreqwestError) -> list[str]:
    """What the client tells of the reasons, the outermost first."""
    if not isinstance(error, theirs.DetailedPyreqwestError):
        return []
    return [cause["message"] for cause in error.details["causes"] or []]


def _builder(timeouts: Timeouts, ca_file: Path | None, max_connections: int | None) -> ClientBuilder:
    """A builder with everything but the choice of proxies."""
    builder = (
        ClientBuilder()
        .user_agent(USER_AGENT)
        .follow_redirects(enable=False)
        .referer(enable=False)
        .default_cookie_store(enable=False)
        .connect_timeout(timedelta(seconds=timeouts.connect_s))
        .read_timeout(timedelta(seconds=timeouts.read_s))
        .pool_timeout(timedelta(seconds=timeouts.pool_s))
        .max_connections(max_connections)
    )
    return builder if ca_file is None else builder.add_root_certificate_pem(read_ca_file(ca_file).encode())
