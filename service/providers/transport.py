"""The seam between the adapters and HTTP: one method, `Transport.send`.

Whoever implements it translates the HTTP client's exceptions into `service.errors.UpstreamError`s;
adapters never see another exception of the way to a provider.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from service.unspoken import Unspoken

USER_AGENT = "parley/0.1.0"
"""What the transport calls itself, with the version of pyproject.toml."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a provider, in seconds, each above 0."""

    connect_s: float = 5.0
    """Until the connection stands, TLS included."""
    read_s: float = 120.0
    """Until the first byte of the answer, and then between any two reads of it."""


class UpstreamRequest(Unspoken, frozen=True):
    """A POST to a provider."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    """Names in lower case; they hold the credentials."""
    timeouts: Timeouts | None = None
    """For this request; None: the transport's own."""
    trace_headers: tuple[tuple[str, str], ...] = ()
    """They take the place of `headers` of the same name; apart from those, since no two requests have them alike."""


class UpstreamResponse(Protocol):
    """The answer, whose head has arrived. Use it inside its context only."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    def header(self, name: str) -> str | None:
        """The header of that name (in lower case); None where there is none."""

    async def read(self, max_bytes: int) -> bytes:
        """The whole body, decompressed.

        Raises:
            Malformed: It is longer than `max_bytes`, or can't be decompressed.
            Unavailable: The connection broke.
            Timeout: Nothing came for `Timeouts.read_s`.
        """

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body in pieces as they arrive, decompressed; close the generator when done.

        Raises:
            Malformed: It can't be decompressed, or breaks the rules of HTTP.
            Unavailable: The connection broke before the body's end.
            Timeout: Nothing came for `Timeouts.read_s`.
        """


class Transport(Protocol):
    """Sends requests to providers over pooled connections. Safe for any number of tasks."""

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Send the request; entering the context waits for the answer's head.

        Redirects are not followed. Leaving the context, also by an exception or by cancellation,
        before the body was read to its end closes the connection at once, so that the provider
        stops working; otherwise the connection goes back to the pool. Cancelling before the head closes
        it as well.

        Nothing is sent twice. A request that meets a kept connection's end is `Unavailable`.

        Raises:
            Unavailable: No connection, or it broke before the answer's head.
            Timeout: One of `Timeouts` passed.
            Malformed: What came is no HTTP.
            ConfigError: The URL or a header can't be sent.
        """

    async def aclose(self) -> None:
        """Close all connections."""
