"""The composition root: builds every part from the configuration, and owns their lifetimes."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal

import uvloop

from service import config
from service.composition import Composition
from service.dispatch.served import Current, Served
from service.errors import ConfigError
from service.grpc_wakeups import grpc_that_never_waits
from service.health import Health
from service.live import Live, set_keys
from service.logs import set_up_logging
from service.open_files import allow_open_files
from service.prompts.renderer import Renderer
from service.readiness import Readiness
from service.reload import ConfigFile, Reloader
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.leaving import Drains
from service.rpc.models import ModelServicer
from service.rpc.ordering import Ordering
from service.rpc.sessions import SessionServicer
from service.rpc.stored import StoredCompletions
from service.server import Server
from service.storage.store import open_store
from service.telemetry.observing import Observing
from service.telemetry.pulse import Watched

_log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code is 0 after a drain, 2 for a wrong configuration."""
    set_up_logging()
    allow_open_files()
    exit_code = 0
    try:
        file = ConfigFile(config.config_path())
        settings = file.load()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, file))
    except* ConfigError as group:  # found before the task group was entered, or within it
        for error in group.exceptions:
            _log.critical("wrong configuration: %s", error)
        exit_code = 2
    return exit_code


async def run(settings: config.Config, file: ConfigFile) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        settings: What to begin with.
        file: Where they are from; read anew at SIGHUP, and when it has changed.

    Raises:
        ConfigError: A part can't be built, or an address can't be listened at.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with grpc_that_never_waits():
        async with asyncio.TaskGroup() as group:
            await _serve(settings, file, stopping, group)
    _log.info("ended")


async def _serve(settings: config.Config, file: ConfigFile, stopping: asyncio.Event, group: asyncio.TaskGroup) -> None:
    health, in_flight, drains, keys = Health(), InFlight(), Drains(), Keys([])
    current = Current(Served({}))
    readiness = Readiness(health, current)
    renderer = Renderer()
    composition = Composition(group, renderer, readiness.refresh)
    generation = composition.build(settings)
    set_keys(keys, settings.auth)
    observing = Observing(settings.telemetry)
    guard = Guard(keys, AccessLog(), in_flight, observing.observers, observing.traces)
    server = Server(settings.server, guard, in_flight, health, drains)
    live = Live(generation, composition, current=current, keys=keys, readiness=readiness, server=server)
    reloader = Reloader(file, live.adopt, told=observing.metrics.reloaded)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.ask)
    store = None if settings.storage is None else open_store(settings.storage)
    chat = ChatServicer(
        current, Ordering(renderer, store), StoredCompletions(store), drains, settings.server.sse_keepalive_s
    )
    reloading, storing = [], []
    try:
        composition.start(generation)
        await composition.check(generation)
        current.swap(generation.served)
        readiness.refresh()
        if store is not None:
            storing.append(group.create_task(store.run()))
        told_at = observing.metrics.start(Watched(current, in_flight, health, store), group)
        addresses = await server.start(chat, ModelServicer(current), SessionServicer(store)) | told_at
        reloading.append(group.create_task(reloader.run()))
        # What is built by now lives long: the collector need not look at it again.
        gc.freeze()
        _log.info("serving: %s", ", ".join(f"{name} at {address}" for name, address in addresses.items()))
        await stopping.wait()
        _log.info("draining")
    finally:
        await _end(reloading)
        await server.drain()
        readiness.close()
        await composition.aclose()
        await renderer.aclose()
        await _end(storing)
        if store is not None:
            await store.aclose()
        await observing.aclose()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
