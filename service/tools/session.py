"""One session with an MCP server, from its beginning to its end. Loads the SDK, which is heavy.

Servers speak one of two eras of the protocol: up to 2025-11-25 with a handshake, from 2026-07-28 without. The SDK
asks which, and falls back to the handshake; some older servers don't answer the question, or end at it, so that
`era` can spare it them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import httpx2
from mcp.client import Client, Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    PARSE_ERROR,
    CallToolResult,
    Implementation,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from service.tools.link import LostError, SessionGoneError
from service.tools.outcome import ToolFailedError
from service.tools.stdio import TOO_LARGE, Program, stdio_transport
from service.tools.streaming_http import TOO_LARGE_MARK, Answers, http_client

Era = Literal["auto", "legacy"]
_MAX_PAGES: Final = 100
"""Of a list of tools; a server that never ends its list must not keep the service busy."""
_STDIO_GRACE_S: Final = 2.0
"""As the SDK gives."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session is opened with."""

    server: str
    """Its name."""
    command: list[str] | None
    url: str | None
    era: Era
    connect_timeout_s: float
    max_message_bytes: int
    environment: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: Callable[[], str] | None = field(repr=False)


class Session:
    """What can be asked of a server while its session is open. All of it may be called from any task."""

    def __init__(
        self, client: Client, has_ended: asyncio.Future[str], changed: asyncio.Event, answers: Answers
    ) -> None:
        self._client = client
        self._answers = answers
        self._has_ended = has_ended
        self.changed = changed
        """Set when the server has said that its tools are others now."""

    def end(self, reason: str) -> None:
        """Have `wait_end` return."""
        if not self._has_ended.done():
            self._has_ended.set_result(reason)

    async def wait_end(self) -> str:
        """Why the session has ended, or has to end, as soon as that is so."""
        return await asyncio.shield(self._has_ended)

    async def tools(self) -> list[Tool]:
        """All tools of the server.

        Raises:
            LostError: It does not tell them.
        """
        tools: list[Tool] = []
        cursor: str | None = None
        try:
            for _ in range(_MAX_PAGES):
                page = await self._client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    return tools
        except Exception as error:  # noqa: BLE001 - the SDK's errors have no common base, and their texts may not be told
            raise LostError(f"its list of tools can't be read: {told(error)}") from None
        raise LostError(f"its list of tools has more than {_MAX_PAGES} pages")

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Have a tool run. A cancellation is told to the server.

        Raises:
            ToolFailedError: There is no result.
            SessionGoneError: The call has to be made in a new session.
        """
        try:
            return await self._client.call_tool(tool, arguments)
        except MCPError as error:
            if self._answers.is_session_gone and error.code != CONNECTION_CLOSED:
                raise SessionGoneError from None
            raise _call_error(error) from None
        except Exception:  # noqa: BLE001 - as above; the SDK's text quotes the result
            # It is not as the protocol or the tool's own output schema has it.
            raise ToolFailedError("The tool's result is not what its server declares, and could not be read.") from None

    async def follow(self, pause_s: float) -> None:
        """Set `changed` when tools change, for as long as there is a session.

        Returns where there is nothing to do: servers of the older era say so by themselves.
        """
        capability = self._client.server_capabilities.tools
        if self._client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (
            capability and capability.list_changed
        ):
            return
        while True:
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.changed.set()
            except (MCPError, SubscriptionLost):
                pass  # what changes meanwhile, the next look at the list shows
            await asyncio.sleep(pause_s)


@asynccontextmanager
async def opened(opening: Opening) -> AsyncIterator[Session]:
    """A session, for as long as the context lasts; to open it may take for ever.

    Raises:
        LostError: It can't be opened, or its end has ended the context.
    """
    answers = Answers()
    has_ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    changed = asyncio.Event()

    async def on_message(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    def on_end(reason: str) -> None:
        if not has_ended.done():
            has_ended.set_result(reason)

    try:
        async with AsyncExitStack() as stack:
            client = Client(
                await _transport(opening, stack, on_end, answers),
                mode=opening.era,
                cache=None,
                message_handler=on_message,
                client_info=Implementation(name="parley", version="1"),
            )
            await stack.enter_async_context(client)
            answers.error_status = None  # of the question which era it is
            yield Session(client, has_ended, changed, answers)
    except Exception as error:  # noqa: BLE001 - as above
        raise _lost(error, has_ended, answers) from None


def _lost(error: Exception, has_ended: asyncio.Future[str], answers: Answers) -> LostError:
    if has_ended.done():
        return LostError(has_ended.result())
    if answers.error_status is not None:
        return LostError(f"it answered HTTP {answers.error_status}")
    return LostError(told(error), is_reached=not isinstance(_first(error), (OSError, httpx2.ConnectError)))


async def _transport(
    opening: Opening, stack: AsyncExitStack, on_end: Callable[[str], None], answers: Answers
) -> Transport:
    if opening.url is None:
        program = Program(
            opening.server, opening.command or [], opening.environment, opening.max_message_bytes, _STDIO_GRACE_S
        )
        return await stack.enter_async_context(stdio_transport(program, on_end))
    client = http_client(
        opening.headers,
        opening.key,
        url=opening.url,
        connect_timeout_s=opening.connect_timeout_s,
        max_message_bytes=opening.max_message_bytes,
        answers=answers,
    )
    await stack.enter_async_context(client)
    return streamable_http_client(opening.url, http_client=client, max_sse_event_size=opening.max_message_bytes)


def told(error: BaseException) -> str:
    """What went wrong, without any text of the server's and without its address."""
    match error := _first(error):
        case LostError():
            return str(error)
        case MCPError():
            return "the connection was closed" if error.code == CONNECTION_CLOSED else f"it answered error {error.code}"
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return "it can't be connected to"
        case OSError(strerror=str() as text):
            return f"it can't be started: {text}"
        case _:
            return f"{type(error).__name__} in speaking to it"


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _call_error(error: MCPError) -> ToolFailedError:
    """A failed call as it is told to the model. Of the SDK's own texts some hold addresses, so they stay out."""
    if error.code == TOO_LARGE or (error.code in {CONNECTION_CLOSED, PARSE_ERROR} and TOO_LARGE_MARK in error.message):
        return ToolFailedError("The tool's result is far too large to be read. Ask for less of it.")
    if error.code == CONNECTION_CLOSED:
        return ToolFailedError("The tool's server has ended while the tool was running; it may have done its work.")
    if error.code == INVALID_PARAMS:
        return ToolFailedError(f"The tool's server has refused the call: {error.message}")
    return ToolFailedError(f"The tool's server has answered the call with the error {error.code}.")
