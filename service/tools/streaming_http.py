"""An HTTP client for servers of tools: with their key, and with bounds that the SDK's own does not have."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import httpx2

from service.hosts import is_this_machine

TOO_LARGE_MARK: Final = "byte limit"
"""Stands in the messages of errors about answers that are too large: of httpx2's about events, and of this one."""
_KEPT_S: Final = 3.0
"""How long an idle connection is kept. uvicorn closes them after 5 s, and a request that meets the close fails."""
_GOODBYE_S: Final = 2.0
"""How long the end of a session may take."""


class Answers:
    """What the SDK keeps to itself of the answers of a session."""

    error_status: int | None = None
    """Of the last one that was an error."""
    is_session_gone: bool = False
    """Whether the server has said that it does not know the session."""


def http_client(
    headers: Mapping[str, str],
    key: Callable[[], str] | None,
    *,
    url: str,
    connect_timeout_s: float,
    max_message_bytes: int,
    answers: Answers,
) -> httpx2.AsyncClient:
    """A client that waits as long as its callers do; close it after use.

    Args:
        headers: Of every request.
        key: Gives the key of the moment, sent as `authorization: Bearer`.
        url: What it is for.
        connect_timeout_s: Until a connection stands.
        max_message_bytes: Of an answer in JSON; events are bounded by who reads them.
        answers: Where errors are noted.
    """
    # As for providers: a proxy of the environment is not asked for what is on this machine.
    is_local = is_this_machine(httpx2.URL(url).host)
    return httpx2.AsyncClient(
        headers=dict(headers),
        # Silence is no failure: a tool may take its time, and who waits for it has a deadline.
        timeout=httpx2.Timeout(None, connect=connect_timeout_s),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_KEPT_S),
        verify=_tls(),
        trust_env=not is_local,
        event_hooks={
            "request": [functools.partial(_prepare, key=key)],
            "response": [functools.partial(_bound, max_bytes=max_message_bytes, answers=answers)],
        },
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: to read the system's certificates takes tens of milliseconds."""
    return httpx2.create_ssl_context()


async def _prepare(request: httpx2.Request, *, key: Callable[[], str] | None) -> None:
    if key is not None:
        request.headers["authorization"] = f"Bearer {key()}"
    request.headers["accept-encoding"] = "identity"  # so that the bound is one of what is kept in memory
    if request.method == "DELETE":
        request.extensions["timeout"] = httpx2.Timeout(_GOODBYE_S).as_dict()


async def _bound(response: httpx2.Response, *, max_bytes: int, answers: Answers) -> None:
    if response.is_error:
        answers.error_status = response.status_code
        # Source: modelcontextprotocol.io/specification/2025-11-25/basic/transports, session management (2026-11-22).
        if response.status_code == httpx2.codes.NOT_FOUND and "mcp-session-id" in response.request.headers:
            answers.is_session_gone = True
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx2.DecodingError("the answer is compressed, though that was not asked for", request=response.request)
    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  for mypy: the client is asynchronous
        response.stream = _Bounded(response.stream, max_bytes)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._left = max_bytes
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._inner:
            self._left -= len(data)
            if self._left < 0:
                raise httpx2.StreamError(f"the answer exceeds the {self._max_bytes} {TOO_LARGE_MARK}")
            yield data

    async def aclose(self) -> None:
        await self._inner.aclose()
