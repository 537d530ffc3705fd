"""Who is told of calls: metrics and traces, as they are configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.rpc.observer import CallObserver
from service.telemetry.metrics import Metrics
from service.telemetry_settings import Telemetry

if TYPE_CHECKING:  # loads OpenTelemetry's SDK, which only traces need
    from service.telemetry.traces import Traces


class Observing:
    """Both of them; `aclose` ends them.

    Raises:
        ConfigError: One can't be begun.
    """

    def __init__(self, settings: Telemetry) -> None:
        self.metrics = Metrics(settings)
        self.traces = _traces(settings)

    @property
    def observers(self) -> tuple[CallObserver, ...]:
        """Who is to be told of calls."""
        return self.metrics.observers if self.traces is None else (*self.metrics.observers, self.traces)

    async def aclose(self) -> None:
        """Send what is still to be sent, as long as that takes seconds."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.metrics.aclose())
            if self.traces is not None:
                group.create_task(self.traces.aclose())


def _traces(settings: Telemetry) -> Traces | None:
    """Records calls, where that is configured; else nothing of it is imported."""
    if settings.traces is None:
        return None
    from service.telemetry.traces import Traces  # noqa: PLC0415 - takes a tenth of a second

    return Traces(settings)
