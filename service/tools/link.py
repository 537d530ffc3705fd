"""Calls over a session that other tasks make, and that end with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from service.tools.outcome import ToolFailedError

if TYPE_CHECKING:  # loads the SDK, which only servers that run need
    from mcp_types import CallToolResult

    from service.tools.session import Session


_UNAVAILABLE: Final = "The tool's server is not available at the moment."


class LostError(Exception):
    """There is no session, or no longer; the message is for the log and quotes nothing of the server.

    `is_reached` tells whether there was a server at all.
    """

    def __init__(self, message: str, *, is_reached: bool = True) -> None:
        super().__init__(message)
        self.is_reached = is_reached


class SessionGoneError(Exception):
    """The server does not know the session any more, and has not run the call."""


class Link:
    """Runs calls in tasks of `group`: who asked may leave at once, and what is left of its call has an owner.

    A call that is cancelled tells the server so, which may take seconds where the server does not read.
    """

    def __init__(self, session: Session, group: asyncio.TaskGroup) -> None:
        self.session = session
        self._group = group
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Take no more calls; the group ends those that run."""
        self._closed.set()

    async def wait_closed(self) -> None:
        """Returns as soon as it takes no more calls."""
        await self._closed.wait()

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Have a tool run.

        Raises:
            ToolFailedError: There is no result.
            SessionGoneError: The call has to be made in a new session.
        """
        if self._closed.is_set():
            raise ToolFailedError(_UNAVAILABLE)
        running = self._ended(tool, arguments)
        try:
            task = self._group.create_task(running)
        except RuntimeError:  # it is about to end, because another of its tasks has failed, and `close` comes next
            running.close()
            raise ToolFailedError(_UNAVAILABLE) from None
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled():
            raise ToolFailedError("The tool's server has ended while the tool was running; it may have done its work.")
        outcome = task.result()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _ended(self, tool: str, arguments: dict[str, Any]) -> CallToolResult | ToolFailedError | SessionGoneError:
        """The outcome as a value: an exception would end the group."""
        try:
            return await self.session.call(tool, arguments)
        except (ToolFailedError, SessionGoneError) as failure:
            return failure
