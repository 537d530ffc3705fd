"""What is looked at once a second: how the service is, beside what becomes of its calls.

Gauges are set, and not worked out as they are read: so several processes can tell them together, and a scrape does
not look into the event loop's affairs from another thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, get_args, get_type_hints

from prometheus_client import CollectorRegistry

from service.dispatch.served import Current
from service.dispatch.target import TargetSnapshot
from service.health import Health
from service.reload import Result
from service.rpc.in_flight import InFlight
from service.storage.store import Store
from service.telemetry import definitions
from service.telemetry.series import Gauges, counter, gauge, histogram
from service.version import VERSION

_log = logging.getLogger(__name__)

_BEAT_S: Final = 0.1
"""How often the event loop's lag is measured: what stops it for that long is seen in any case."""
_BEATS: Final = 10
"""From one look to the next."""
_STATES: Final = get_args(get_type_hints(TargetSnapshot)["state"])


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at."""

    current: Current
    in_flight: InFlight
    health: Health
    store: Store | None


class Pulse:
    """Sets the gauges, and measures the event loop's lag.

    Args:
        registry: Takes the metrics.
        watched: Of one event loop, in which `run` runs as well.
        on_model: Told of every model that is new.
    """

    def __init__(self, registry: CollectorRegistry, watched: Watched, on_model: Callable[[str], None]) -> None:
        self._watched = watched
        self._on_model = on_model
        self._models: set[str] = set()
        self._lag = histogram(definitions.EVENT_LOOP_LAG, registry)
        self._states = Gauges(gauge(definitions.TARGET_STATE, registry))
        self._in_flight = Gauges(gauge(definitions.TARGET_IN_FLIGHT, registry))
        self._waiting = Gauges(gauge(definitions.TARGET_QUEUE_DEPTH, registry))
        self._open_calls = gauge(definitions.OPEN_CALLS, registry)
        self._open_streams = gauge(definitions.OPEN_STREAMS, registry)
        self._ready = gauge(definitions.READY, registry)
        self._storage = None if watched.store is None else _StoragePulse(registry, watched.store)
        gauge(definitions.BUILD_INFO, registry).labels(VERSION).set(1)
        self._has_failed = False
        self.look()

    async def run(self) -> None:
        """Look every second, until cancelled."""
        loop = asyncio.get_running_loop()
        for beat in count(1):
            due = loop.time() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            self._lag.observe(max(loop.time() - due, 0.0))
            if beat % _BEATS == 0:
                self.look()

    def look(self) -> None:
        """Set the gauges to what they are now."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - a fault of the service's own, which must not end it
            if not self._has_failed:  # once: it may be so every second
                where = "".join(traceback.format_tb(error.__traceback__))
                _log.error("metrics of the service could not be taken: %s\n%s", type(error).__name__, where)
            self._has_failed = True

    def _look(self) -> None:
        watched = self._watched
        self._open_calls.set(len(watched.in_flight))
        self._open_streams.set(watched.in_flight.streams)
        self._ready.set(watched.health.takes_calls)
        self._look_at_models()
        if self._storage is not None:
            self._storage.look()

    def _look_at_models(self) -> None:
        models = self._watched.current.served.models
        for model in models:
            if model not in self._models:
                self._on_model(model)
        self._models = set(models)
        targets: dict[tuple[str, str], TargetSnapshot] = {
            (name, str(state.target)): state.snapshot() for name, model in models.items() for state in model.targets
        }
        self._states.set_all(
            {
                (model, target, state): float(found.state == state)
                for (model, target), found in targets.items()
                for state in _STATES
            }
        )
        self._in_flight.set_all({place: found.in_flight for place, found in targets.items()})
        self._waiting.set_all({place: found.waiting for place, found in targets.items()})


class _StoragePulse:
    """Of the store, where there is one: without it, there are no such metrics."""

    def __init__(self, registry: CollectorRegistry, store: Store) -> None:
        self._store = store
        self._up = gauge(definitions.STORAGE_UP, registry)
        self._waiting = gauge(definitions.STORAGE_QUEUE_DEPTH, registry)
        self._lost = counter(definitions.STORAGE_LOST, registry)
        self._told = 0

    def look(self) -> None:
        self._up.set(self._store.is_available)
        self._waiting.set(self._store.waiting)
        lost, self._told = self._store.lost - self._told, self._store.lost
        self._lost.inc(lost)


class ConfigMetrics:
    """What became of configurations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = counter(definitions.CONFIG_RELOADS, registry)
        self._adopted = gauge(definitions.CONFIG_LAST_ADOPTED, registry)
        for result in get_args(Result):
            self._reloads.labels(result).inc(0)
        self._adopted.set(time.time())  # the one that the service begins with

    def reloaded(self, result: Result) -> None:
        """Take note of a configuration that was read anew."""
        self._reloads.labels(result).inc()
        if result == "adopted":
            self._adopted.set(time.time())
