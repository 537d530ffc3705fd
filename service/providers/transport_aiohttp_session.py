"""What makes aiohttp keep the promises of the transport seam.

Left to itself, aiohttp 3.14.5 breaks these; each is held by a test of `tests/service/test_transport*.py`:

- A connection that is closed sends first what it has buffered, and stays open for as long as the
  provider takes to read it.
- No timeout runs while a request is written.
- A broken chunk after the first, or closing the session, leaves who reads the body waiting for ever.
- An answer that nobody asked for, on a kept connection, is taken for the answer to the next request.
- A body of more than 1 MB brings a ResourceWarning.

One is left: on uvloop 0.23, a TLS connection whose reading is paused loses what came just before its
end. It takes a provider that closes after its answer, and a reader more than 256 KiB behind; the
answer then fails as `Unavailable`.
"""

from __future__ import annotations

import functools
import ssl
from http.cookies import BaseCookie, SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from service.errors import ConfigError
from service.providers.transport import USER_AGENT, Timeouts

_READ_BYTES = 131072
"""Reading pauses when twice as much waits for the reader; 270 kB were measured."""
_IDLE_S = 90.0  # where the provider closes an unused connection sooner, that is noticed
_DNS_S = 30


def open_session(timeouts: Timeouts, trusted: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session of such connections; None trusts the system's certificates."""
    return aiohttp.ClientSession(
        connector=Connector(limit=0, keepalive_timeout=_IDLE_S, ttl_dns_cache=_DNS_S, ssl=trusted or True),
        cookie_jar=NoCookies(),
        headers={"user-agent": USER_AGENT, "accept-encoding": "gzip"},
        timeout=client_timeout(timeouts),
        auto_decompress=False,  # `transport_gzip` does it
        read_bufsize=_READ_BYTES,
    )


@functools.lru_cache(maxsize=256)
def client_timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    """The timeouts as aiohttp takes them."""
    return aiohttp.ClientTimeout(connect=timeouts.connect_s, sock_read=timeouts.read_s)


def trusting(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts the system's certificates and the PEM certificates of `ca_file`.

    Raises:
        ConfigError: It can't be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=ca_file.read_text("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError and UnicodeError are among them
        raise ConfigError("ca_file: can't be used; expected a readable file of PEM certificates") from error
    return context


class Connection(ResponseHandler):
    """A connection that is closed at once, is never silent to its reader, and is bounded while it writes."""

    def set_response_params(self, **params: Any) -> None:
        """Begin a request."""
        super().set_response_params(**params)
        self.start_timeout()  # aiohttp does so when the request is written

    def is_connected(self) -> bool:
        """Whether it can be used: nothing came that nobody asked for."""
        return super().is_connected() and not self._buffer

    def close(self) -> None:
        """Close without sending what is buffered."""
        self.abort()

    def abort(self) -> None:
        """Close without sending what is buffered."""
        payload = self._payload
        super().abort()
        self._payload = payload  # for `connection_lost`

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell who waits for the answer or for more of its body."""
        payload, failure = self._payload, self._exception
        super().connection_lost(exc)
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(failure or aiohttp.ClientPayloadError())


class Connector(aiohttp.TCPConnector):
    """A pool of `Connection`s."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(Connection, loop=self._loop)  # type: ignore[assignment] # invariant


class NoCookies(aiohttp.DummyCookieJar):
    """`DummyCookieJar` without making an empty jar per request."""

    _NONE: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:  # noqa: ARG002 - the base's signature
        """No cookies."""
        return self._NONE


class Body(aiohttp.Payload):
    """A request's body; aiohttp's own for bytes warns of more than 1 MB."""

    _HEADERS: CIMultiDict[str] = CIMultiDict({"content-type": "application/octet-stream"})
    _autoclose = True

    def __init__(self, value: bytes) -> None:
        self._value: bytes = value
        self._size = len(value)
        self._headers = self._HEADERS

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write it."""
        await writer.write(self._value)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002 - it is the length
        """Write it."""
        await writer.write(self._value)
