"""From a configuration to what answers its calls; what was there already and is as it was goes on.

A provider that is configured as before keeps its connections, or its child process, and a model whose
providers are kept as well keeps its circuits, its budgets and what it has measured. A provider ends when no
generation of the configuration has it that is in force or still has calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from service import config
from service.catalogue import find_capabilities
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Served
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.errors import ConfigError
from service.key_file import file_state
from service.project_composition import ToolPart, ToolPlace, prompts_of, served_projects, tool_parts
from service.prompts.renderer import Renderer
from service.provider_factory import embedded_model, embedded_provider, http_provider, timeouts_of, vendor_of
from service.providers.embedded.supervisor import EmbeddedModel
from service.providers.provider import Provider
from service.routing import Model, Target

_READY_WITHIN_S: Final = 120.0
"""How long an embedded model that a reload brings may take to load; as long as its supervisor gives it."""


@dataclass(slots=True, eq=False)
class Part:
    """A provider that is there for as long as a generation has it."""

    section: config.ProviderConfig
    likeness: object
    """Two sections make the same provider where this is equal."""
    provider: Provider
    closing: AsyncExitStack
    """Closes its connections."""
    model: EmbeddedModel | None = None
    task: asyncio.Task[object] | None = None
    """Runs `model`."""
    generations: int = 0
    """That have it."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked."""
        return self.model is None or self.model.is_ready

    async def aclose(self) -> None:
        """End it; calls that use it fail. To do so again is harmless."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})
        await self.closing.aclose()


@dataclass(frozen=True, slots=True)
class Generation:
    """A configuration, and what was built of it."""

    settings: config.Config = field(repr=False)
    parts: Mapping[str, Part] = field(repr=False)
    """By name of the provider."""
    tool_parts: Mapping[ToolPlace, ToolPart] = field(repr=False)
    served: Served = field(repr=False)


class Composition:
    """Builds generations, and ends what none of them needs any more.

    Args:
        group: Runs the embedded models and the connections to tool servers, and what has to be closed.
        renderer: Checks the system prompts.
        on_change: Called when a circuit or an embedded model has changed, so that readiness may have.
    """

    def __init__(self, group: asyncio.TaskGroup, renderer: Renderer, on_change: Callable[[], None]) -> None:
        self._group = group
        self._renderer = renderer
        self._on_change = on_change
        self._alive: set[Part | ToolPart] = set()
        self._is_closed = False

    def build(self, settings: config.Config, last: Generation | None = None) -> Generation:
        """A generation that takes over from `last` what is as it was. Nothing of it runs yet, or is checked.

        Raises:
            ConfigError: A part can't be built.
        """
        known = last.parts if last else {}
        parts = {name: self._part(name, section, known.get(name)) for name, section in settings.providers.items()}
        dispatchers = {name: self._dispatcher(name, settings, parts, last) for name in settings.models}
        tools = tool_parts(settings, last.tool_parts if last else {})
        projects = served_projects(settings, tools)
        served = Served(dispatchers, projects, partial(self._release, (*parts.values(), *tools.values())))
        return Generation(settings, parts, tools, served)

    async def check(self, generation: Generation) -> None:
        """Find out whether its system prompts can be used.

        Raises:
            ConfigError: One can't.
        """
        await self._renderer.check(prompts_of(generation.served.projects))

    def start(self, generation: Generation) -> None:
        """Have what is new in it run. From here on `generation.served.retire()` gives it back."""
        for part in generation.parts.values():
            part.generations += 1
            self._alive.add(part)
            if part.model is not None and part.task is None:
                part.task = self._group.create_task(part.model.run())
        for tools in generation.tool_parts.values():
            tools.start(self._group)
            self._alive.add(tools)

    async def became_ready(self, generation: Generation, within_s: float = _READY_WITHIN_S) -> None:
        """Wait until what is new in it can be asked; other parts may be starting anew for long.

        Tool servers are waited for as long as a try to connect may take: one may be down, and requests are told so.

        Raises:
            ConfigError: An embedded model can't be asked in that time.
        """
        async with asyncio.TaskGroup() as group:
            for tools in generation.tool_parts.values():
                if tools.generations == 1:
                    group.create_task(tools.came_up())
        for name, part in generation.parts.items():
            if part.model is None or part.generations > 1:
                continue
            try:
                async with asyncio.timeout(within_s):
                    await part.model.wait_ready()
            except TimeoutError:
                raise ConfigError(f"providers.{name}: the embedded model was not ready after {within_s:g} s") from None

    async def aclose(self) -> None:
        """End all that runs."""
        self._is_closed = True
        # All at once: a tool server that does not heed its end takes seconds.
        closing = [asyncio.create_task(part.aclose()) for part in self._alive]
        self._alive.clear()
        if closing:
            await asyncio.wait(closing)
        for task in closing:
            task.result()

    def _release(self, parts: Iterable[Part | ToolPart]) -> None:
        for part in parts:
            part.generations -= 1
            if not part.generations and not self._is_closed:
                self._alive.discard(part)
                self._group.create_task(part.aclose())

    def _part(self, name: str, section: config.ProviderConfig, known: Part | None) -> Part:
        likeness = _likeness(section)
        if known is not None and known.likeness == likeness:
            return known
        closing = AsyncExitStack()
        if isinstance(section, config.EmbeddedProvider):
            model = embedded_model(section, lambda _is_ready: self._on_change())
            return Part(section, likeness, embedded_provider(name, section, model, closing), closing, model)
        try:
            return Part(section, likeness, http_provider(name, section, closing), closing)
        except ConfigError as error:
            raise ConfigError(f"providers.{name}.{error}") from error

    def _dispatcher(
        self, name: str, settings: config.Config, parts: Mapping[str, Part], last: Generation | None
    ) -> Dispatcher:
        section = settings.models[name]
        providers = {target.provider for target in section.targets}
        if (
            last is not None
            and last.settings.models.get(name) == section
            and all(last.parts.get(provider) is parts[provider] for provider in providers)
        ):
            return last.served.models[name]
        model = _model(name, section, parts)
        return Dispatcher(model, [self._target_state(target, model, parts) for target in model.targets])

    def _target_state(self, target: Target, model: Model, parts: Mapping[str, Part]) -> TargetState:
        part = parts[target.provider]
        return TargetState(
            target=target,
            provider=part.provider,
            limits=model.limits,
            timeouts=attempt_timeouts(model.limits, timeouts_of(part.section)),
            is_ready=lambda: part.is_ready,
            on_change=self._on_change,
        )


def _model(name: str, section: config.Model, parts: Mapping[str, Part]) -> Model:
    targets = []
    for target in section.targets:
        known = find_capabilities(vendor_of(parts[target.provider].section), target.model)
        known = known.overridden_by(section.capabilities).overridden_by(target.capabilities)
        weight = 1.0 if target.weight is None else target.weight
        targets.append(Target(target.provider, target.model, known, weight))
    return Model(name, tuple(targets), section.created, section.drop_params, section)


def _likeness(section: config.ProviderConfig) -> object:
    if isinstance(section, config.EmbeddedProvider):
        return section, section.model_file and file_state(Path(section.model_file))
    if section.api_key_file is not None:
        section = msgspec.structs.replace(section, api_key=None)  # the provider reads it anew by itself
    return section, section.ca_file and file_state(Path(section.ca_file))
