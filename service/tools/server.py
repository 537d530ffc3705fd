"""A server of tools: kept connected, and asked."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from service.project_settings import ToolServer
from service.tools.link import Link, LostError, SessionGoneError
from service.tools.listing import Listing, ToolDefinition, listing_of
from service.tools.outcome import ToolFailedError, ToolOutcome, limited
from service.tools.results import result_text

if TYPE_CHECKING:  # loads the SDK, which only servers that run need
    from mcp_types import CallToolResult, Tool

    from service.tools.session import Era, Opening, Session

_log = logging.getLogger(__name__)

_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Of what is read of a server at once. A result of the largest size that can be configured (1 MiB) takes up to 12 MiB
as JSON, where each byte is escaped and it is told both as text and as structured content."""


_CANCEL_AGAIN_S: Final = 8.0
"""Longer than the end of a session takes: of a program twice the grace, of an HTTP session its farewell."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a connection loses patience; all in seconds, above 0."""

    backoff_min_s: float = 0.2
    """Between a loss and the next try; doubles up to `backoff_max_s`. Each wait is up to a half shorter, by chance."""
    backoff_max_s: float = 30.0
    stable_after_s: float = 30.0
    """A session that lived this long starts the backoff anew."""
    check_interval_s: float = 30.0
    """How often the list of tools is read again: it shows that the server lives, and what has changed."""
    check_timeout_s: float = 10.0
    silence_s: float = 90.0
    """A server that has answered nothing for so long, and for longer than a tool may run, is given up."""
    settle_s: float = 0.1
    """After word of a change, so that several changes are read at once."""


class ToolServerConnection:
    """One MCP server; `run` is its whole life.

    Args:
        name: Of the server in its project; tools are named after it.
        settings: Its section.
        key: Gives its key, where that can change; default: `settings.api_key`.
        on_change: Called when the server has come up, gone down or changed its tools.
        timing: When to lose patience.
    """

    def __init__(
        self,
        name: str,
        settings: ToolServer,
        *,
        key: Callable[[], str] | None = None,
        on_change: Callable[[], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._key = key or (settings.api_key.reveal if settings.api_key is not None else None)
        self._on_change = on_change
        self._timing = timing or Timing()
        self._listing: Listing | None = None
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._next_try_at: float | None = None
        self._era: Era = "auto"
        self._is_era_known = False
        self._answered_at = 0.0
        self._left_out: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._holder: asyncio.Task[NoReturn] | None = None
        self._is_connecting = False
        self._is_closed = False

    def __repr__(self) -> str:
        return f"ToolServerConnection({self.name!r}, is_up={self.is_up})"

    @property
    def is_up(self) -> bool:
        """Whether its tools can be called now."""
        return self._link is not None

    @property
    def is_known(self) -> bool:
        """Whether it has told its tools, now or before it went down."""
        return self._listing is not None

    @property
    def tools(self) -> Mapping[str, ToolDefinition]:
        """Its tools by id, as it told them last; empty as long as it has not."""
        return self._listing.tools if self._listing is not None else {}

    @property
    def retry_in_s(self) -> float:
        """When it may be up again, as far as that can be told; at least 1."""
        if self._next_try_at is None:
            return 1.0
        return max(1.0, self._next_try_at - asyncio.get_running_loop().time())

    async def wait_up(self) -> None:
        """Returns as soon as its tools can be called; `run` must be running."""
        await self._up.wait()

    async def run(self) -> None:
        """Connects and stays connected, until cancelled or closed. Call it once.

        When it returns or raises, the server's process is gone, where it has one.
        """
        if self._is_closed:
            return
        self._task = asyncio.current_task()
        await asyncio.to_thread(importlib.import_module, "service.tools.session")  # takes more than half a second
        loop = asyncio.get_running_loop()
        backoff_s = self._timing.backoff_min_s
        while True:
            started = loop.time()
            lost = await self._served()
            if lost.is_reached and not self._is_era_known:
                self._era = "legacy" if self._era == "auto" else "auto"
            if loop.time() - started >= self._timing.stable_after_s:
                backoff_s = self._timing.backoff_min_s
            delay_s = backoff_s * random.uniform(0.5, 1)  # noqa: S311 - spreads replicas, hides nothing
            backoff_s = min(2 * backoff_s, self._timing.backoff_max_s)
            _log.warning("tool server %s: not connected: %s; next try in %.1f s", self.name, lost, delay_s)
            self._next_try_at = loop.time() + delay_s
            await asyncio.sleep(delay_s)
            self._next_try_at = None

    async def aclose(self) -> None:
        """End `run`, and wait for that; calls fail. To do so again, or before `run`, is harmless."""
        self._is_closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolOutcome:
        """Have a tool run, for at most `timeout_s` seconds; what goes wrong is told to the model.

        When the caller is cancelled, so is the call, and the server is told.
        """
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                text, is_error = await self._result(tool, arguments)
        except ToolFailedError as failure:
            text, is_error = str(failure), True
        except TimeoutError:
            text, is_error = f"The tool was not done within {timeout_s:.3g} s, and was cancelled.", True
        duration_ms = round((asyncio.get_running_loop().time() - started) * 1000)
        how = "failed" if is_error else "done"
        _log.info("tool server %s: %s %s after %d ms", self.name, tool, how, duration_ms)
        return ToolOutcome(text, is_error, duration_ms)

    async def _result(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        result = await self._answer(tool, arguments)
        return limited(result_text(result), self.settings.max_result_bytes), bool(result.is_error)

    async def _answer(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        for _ in range(2):
            if (link := self._link) is None:
                break
            try:
                result = await link.call(tool, arguments)
            except SessionGoneError:
                # It has been started anew, and has not run the call: once more, in a session of its own.
                link.session.end("it does not know the session any more")
                await link.wait_closed()
                await self._up.wait()
                continue
            self._answered_at = asyncio.get_running_loop().time()
            return result
        raise ToolFailedError("The tool's server is not available at the moment.")

    async def _served(self) -> LostError:
        """One session, from the try to open it to its end. Returns why it ended.

        It has a task of its own: a group that fails while it is cancelled tells the failure alone, and who waits
        for it would go on.
        """
        within_s = self.settings.connect_timeout_s
        self._is_connecting = True
        task = asyncio.create_task(self._serve())
        try:
            await asyncio.wait({task}, timeout=within_s)
            if not self._is_connecting:
                await asyncio.wait({task})
        finally:
            await self._end(task)
        if task.cancelled():
            return LostError(f"it has not told its tools within {within_s:g} s")
        error = task.exception()
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        for cause in causes:
            if not isinstance(cause, LostError):  # a fault of this program; it must not take the service down
                _log.error("tool server %s: failed", self.name, exc_info=cause)
        return next((cause for cause in causes if isinstance(cause, LostError)), LostError("a fault in the service"))

    async def _end(self, task: asyncio.Task[None]) -> None:
        """Cancel until it has ended: a cancellation is lost where a timeout within the SDK ends in the same moment.

        One that arrives meanwhile makes it hurry, and goes on its way after that.
        """
        cancelled: asyncio.CancelledError | None = None
        task.cancel()
        while not task.done():
            try:
                await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
            except asyncio.CancelledError as error:
                cancelled = error
            if self._holder is not None:  # the group hands on the first alone
                self._holder.cancel()
        if cancelled is not None:
            raise cancelled

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._holder = group.create_task(self._hold(group))

    async def _hold(self, group: asyncio.TaskGroup) -> NoReturn:
        from service.tools.session import opened  # noqa: PLC0415 - see TYPE_CHECKING above

        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(opened(self._opening()))
            tools = await session.tools()
            link = Link(session, group)
            stack.callback(self._go_down, link)
            self._come_up(link, tools)
            group.create_task(self._watch(session))
            group.create_task(session.follow(self._timing.check_interval_s))
            raise LostError(await session.wait_end())

    def _opening(self) -> Opening:
        from service.tools.session import Opening  # noqa: PLC0415 - see TYPE_CHECKING above

        settings = self.settings
        secrets = {name: secret.reveal() for name, secret in settings.environment.items()}
        return Opening(
            server=self.name,
            command=settings.command,
            url=settings.url,
            era=self._era,
            connect_timeout_s=settings.connect_timeout_s,
            max_message_bytes=_MAX_MESSAGE_BYTES,
            environment={**settings.env, **secrets},
            headers=settings.headers,
            key=self._key,
        )

    async def _watch(self, session: Session) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.check_interval_s):
                    await session.changed.wait()
                    await asyncio.sleep(self._timing.settle_s)
            session.changed.clear()
            try:
                async with asyncio.timeout(self._timing.check_timeout_s):
                    tools = await session.tools()
            except TimeoutError:
                # A tool that keeps all of its server busy may do so for as long as it may run.
                if loop.time() - self._answered_at > max(self._timing.silence_s, self.settings.timeout_s):
                    raise LostError("it does not answer") from None
            else:
                self._take(tools)

    def _come_up(self, link: Link, tools: list[Tool]) -> None:
        self._is_era_known = True
        self._is_connecting = False
        self._link = link
        self._up.set()
        self._take(tools, has_come_up=True)
        _log.info("tool server %s: connected, %d tools", self.name, len(self.tools))

    def _go_down(self, link: Link) -> None:
        self._link = None
        self._up.clear()
        link.close()
        self._changed()

    def _take(self, tools: list[Tool], *, has_come_up: bool = False) -> None:
        self._answered_at = asyncio.get_running_loop().time()
        listing = listing_of(self.name, tools, self.settings.only)
        for tool, reason in listing.left_out.items():
            if tool not in self._left_out:
                _log.warning("tool server %s: the tool %.64r is left out: %s", self.name, tool, reason)
        self._left_out = frozenset(listing.left_out)
        has_changed = listing != self._listing
        self._listing = listing
        if has_changed or has_come_up:
            self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()
