"""The composition root: builds every part from the configuration, and owns their lifetimes."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from service import config
from service.catalogue import find_capabilities
from service.errors import ConfigError
from service.health import Health
from service.logs import set_up_logging
from service.provider_factory import embedded_model, embedded_provider, http_provider, vendor_of
from service.providers.provider import Provider
from service.routing import Model, Router, Target
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.models import ModelServicer
from service.server import HEALTH_NAMES, Server

_log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code is 0 after a drain, 2 for a wrong configuration."""
    set_up_logging()
    exit_code = 0
    try:
        settings = config.load_config()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except* ConfigError as group:  # found before the task group was entered, or within it
        for error in group.exceptions:
            _log.critical("wrong configuration: %s", error)
        exit_code = 2
    return exit_code


async def run(settings: config.Config) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        ConfigError: A part can't be built, or an address can't be listened at.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        await _serve(settings, stopping, stack)
    _log.info("ended")


async def _serve(settings: config.Config, stopping: asyncio.Event, stack: AsyncExitStack) -> None:
    health, in_flight = Health(HEALTH_NAMES), InFlight()
    readiness = _Readiness(settings, health)
    async with asyncio.TaskGroup() as group:
        background = []
        providers: dict[str, Provider] = {}
        for name, section in settings.providers.items():
            if isinstance(section, config.EmbeddedProvider):
                model = embedded_model(section, partial(readiness.set_ready, name))
                background.append(group.create_task(model.run()))
                providers[name] = embedded_provider(name, section, model, stack)
            else:
                providers[name] = http_provider(name, section, stack)
        router = _router(settings)
        keys = Keys((key.name, key.sha256) for key in settings.auth.keys)
        server = Server(settings.server, Guard(keys, AccessLog(), in_flight), in_flight, health)
        chat = ChatServicer(router, providers, settings.server.sse_keepalive_s)
        try:
            addresses = await server.start(chat, ModelServicer(router))
            # What is built by now lives as long as the process: the collector need not look at it again.
            gc.freeze()
            _log.info("serving: %s", ", ".join(f"{name} at {address}" for name, address in addresses.items()))
            await stopping.wait()
            _log.info("draining")
        finally:
            await server.drain()
            for task in background:
                task.cancel()


class _Readiness:
    """Health follows the providers: serving while at least one model can be answered for."""

    def __init__(self, settings: config.Config, health: Health) -> None:
        self._health = health
        self._is_ready = {
            name: not isinstance(section, config.EmbeddedProvider) for name, section in settings.providers.items()
        }
        self._used = {model.targets[0].provider for model in settings.models.values()}
        self._tell()

    def set_ready(self, provider: str, is_ready: bool) -> None:  # noqa: FBT001 - a callback
        self._is_ready[provider] = is_ready
        self._tell()

    def _tell(self) -> None:
        self._health.set_serving(is_serving=any(self._is_ready[name] for name in self._used))


def _router(settings: config.Config) -> Router:
    return Router({name: _model(settings, name, model) for name, model in settings.models.items()})


def _model(settings: config.Config, name: str, model: config.Model) -> Model:
    target = model.targets[0]
    vendor = vendor_of(settings.providers[target.provider])
    known = find_capabilities(vendor, target.model).overridden_by(model.capabilities)
    return Model(name, Target(target.provider, target.model, known), model.created, model.drop_params)
