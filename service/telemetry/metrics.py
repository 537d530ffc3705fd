"""The service's metrics as a whole: what is counted, who reads it, and who is sent it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.errors import ConfigError
from service.reload import Result
from service.rpc.observer import CallObserver
from service.telemetry.calls import CallMetrics
from service.telemetry.exposition import Exposition
from service.telemetry.pulse import ConfigMetrics, Pulse, Watched
from service.telemetry.series import IS_MULTI_PROCESS
from service.telemetry_settings import Telemetry

if TYPE_CHECKING:
    from service.telemetry.push import Push


class Metrics:
    """Counts what happens from its beginning, and tells it from `start` to `aclose`.

    Where nobody is configured to read them, nothing is counted.

    Args:
        settings: The section `telemetry`.

    Raises:
        ConfigError: PROMETHEUS_MULTIPROC_DIR names no folder that can be used.
    """

    def __init__(self, settings: Telemetry) -> None:
        self._settings = settings
        self._exposition: Exposition | None = None
        self._push: Push | None = None
        self._pulse: Pulse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._registry = CollectorRegistry()
        self._calls: CallMetrics | None = None
        self._config: ConfigMetrics | None = None
        if settings.metrics.address is None and settings.metrics.push_interval_s is None:
            return
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations; in the text format, they are series more
        try:
            self._calls = CallMetrics(self._registry)
            self._config = ConfigMetrics(self._registry)
            self._told = self._told_registry()
        except (OSError, ValueError) as error:
            raise ConfigError("PROMETHEUS_MULTIPROC_DIR: expected a folder that can be written") from error

    @property
    def observers(self) -> tuple[CallObserver, ...]:
        """Who is to be told of calls."""
        return () if self._calls is None else (self._calls,)

    def reloaded(self, result: Result) -> None:
        """Take note of a configuration that was read anew."""
        if self._config is not None:
            self._config.reloaded(result)

    def start(self, watched: Watched, group: asyncio.TaskGroup) -> dict[str, str]:
        """Begin to tell; returns the address where they can be read, by its name.

        Raises:
            ConfigError: The address can't be listened at, or the receiver's CA can't be read.
        """
        if self._calls is None:
            return {}
        settings = self._settings.metrics
        self._pulse = Pulse(self._registry, watched, self._calls.begin_model)
        if watched.store is not None:
            self._calls.begin_store()
        self._tasks.append(group.create_task(self._pulse.run()))
        if settings.push_interval_s is not None and self._settings.otlp is not None:
            # It needs OpenTelemetry's messages, which take long to import.
            from service.telemetry.push import Push  # noqa: PLC0415

            name = self._settings.service_name
            self._push = Push(self._settings.otlp, name, self._registry, settings.push_interval_s)
            self._tasks.append(group.create_task(self._push.run()))
        if settings.address is None:
            return {}
        self._exposition = Exposition(settings.address, self._told)
        return {"metrics": self._exposition.address}

    async def aclose(self) -> None:
        """Tell what there is at the end, as long as that takes seconds, and be read no more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._pulse is not None:
            self._pulse.look()
        if self._push is not None:
            await self._push.aclose()
        if self._exposition is not None:
            await asyncio.to_thread(self._exposition.close)
        if IS_MULTI_PROCESS and self._calls is not None:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]  # the same; its gauges go with it

    def _told_registry(self) -> CollectorRegistry:
        """What is read: the figures of this process, or of all that share the folder."""
        if IS_MULTI_PROCESS:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # has no annotations
            return registry
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        return self._registry
