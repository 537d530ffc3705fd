"""How long to wait for a provider, without a timer per chunk."""

from __future__ import annotations

import time
from typing import Final, Self

from service.dispatch.cutoff import Cutoff
from service.errors import Reason, Timeout, UpstreamError

_TICK_S: Final = 0.001
"""The event loop's timers count whole milliseconds, and may be that much ahead."""


class Watch(Cutoff):
    """Ends the waiting of the running task for a provider that is silent, or busy, for too long.

    Use it as a context around the reading of one answer, from its first token on. Silence counts against the
    provider only between `begin` and `end`, not while the caller is slow to take a chunk. One timer looks after
    the whole answer: `asyncio.timeout` around each chunk would set two per chunk.

    Args:
        idle_s: Longest wait for one chunk.
        total_s: Longest time for the attempt; it goes on while the caller reads.
        started: When the attempt began, on the clock of `time.monotonic`.

    Raises:
        Timeout: Out of the context, in place of the CancelledError that ended the waiting; or by `begin`.
        UpstreamError: UPSTREAM_TIMEOUT as well, but most of the time was the caller's: no fault of the provider.
    """

    __slots__ = ("_answered_at", "_callers_s", "_idle_s", "_since", "_total_s", "ends_at")

    def __init__(self, idle_s: float, total_s: float, started: float) -> None:
        super().__init__()
        self.ends_at = started + total_s
        """When the attempt has to be over."""
        self._idle_s = idle_s
        self._total_s = total_s
        self._answered_at = time.monotonic()
        self._callers_s = 0.0  # of the attempt's time, what the caller has taken
        self._since: float | None = None

    def begin(self) -> None:
        """From here on the provider is waited for."""
        now = time.monotonic()
        self._callers_s += now - self._answered_at
        if now >= self.ends_at:
            raise self._too_long()
        self._since = now

    def end(self) -> None:
        """It has answered."""
        self._since = None
        self._answered_at = time.monotonic()

    def __enter__(self) -> Self:
        self._look_in(min(self._idle_s, self.ends_at - time.monotonic()))
        return super().__enter__()

    def _look_in(self, seconds: float) -> None:
        self.look_in(max(seconds, _TICK_S), self._look)

    def _look(self) -> None:
        now = time.monotonic()
        if self._since is None:  # the caller is slow; `begin` looks at the attempt's end
            self._look_in(min(self._idle_s, 1.0))
            return
        idle_at = self._since + self._idle_s
        if now < min(idle_at, self.ends_at):
            self._look_in(min(idle_at, self.ends_at) - now)
            return
        self.cut(self._silent() if now >= idle_at else self._too_long())

    def _silent(self) -> UpstreamError:
        return Timeout(f"The provider sent nothing for {self._idle_s:g} s within its answer.")

    def _too_long(self) -> UpstreamError:
        if self._callers_s > self._total_s / 2:
            message = f"The answer was not complete after {self._total_s:g} s, since it was read too slowly."
            return UpstreamError(Reason.UPSTREAM_TIMEOUT, message)
        return Timeout(f"The provider's answer was not complete after {self._total_s:g} s.")
