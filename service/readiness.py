"""Readiness: whether calls should be sent to this replica, and whether conversations can be answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from service.dispatch.served import Current
from service.health import Health

_SOONEST_S: Final = 0.01
"""The timer's clock counts whole milliseconds, and may be a little ahead: looked at too early, it is set anew."""


class Readiness:
    """Health follows the models.

    The replica takes calls while it lacks nothing of its own for at least one model: an embedded model may still
    have to start. Conversations can be answered while a target of at least one model can be asked: its circuit
    is not open. One dead target, or all of one model, changes neither; `GetModel` shows it.

    Args:
        health: Is told.
        current: Whose models count.
        clock: The one of the targets' circuits.
    """

    def __init__(self, health: Health, current: Current, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._current = current
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def refresh(self) -> None:
        """Look again: a circuit or an embedded model has changed, or the configuration."""
        self.close()
        now = self._clock()
        models = self._current.served.models.values()
        is_available = any(model.is_available for model in models)
        self._health.set_serving(
            takes_calls=any(model.is_ready for model in models),
            answers_chats=is_available,
        )
        if is_available:
            return
        # A circuit lets a call through when its time is over, of which nobody tells.
        ahead = [model.available_at - now for model in models if model.available_at is not None]
        wait_s = min((seconds for seconds in ahead if seconds > 0), default=None)
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wait_s, _SOONEST_S), self.refresh)

    def close(self) -> None:
        """Set no more timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
