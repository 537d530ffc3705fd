"""Which models and projects are served: a generation of the configuration, and the one that holds now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TypeAlias

from service.dispatch.dispatcher import Dispatcher
from service.projects.project import Project
from service.projects.resolving import Allowed, Resolution, resolve
from service.prompts.prompt import Prompt
from service.tools.toolset import Toolset

ServedProject: TypeAlias = Project[Prompt, Toolset]
ServedResolution: TypeAlias = Resolution[Prompt, Toolset]
_NO_PROJECTS: Mapping[str, ServedProject] = MappingProxyType({})


class Served:
    """The models and projects of one generation.

    A reload puts another generation in its place; what only this one had, such as connections to a provider
    that is configured no more, may go when the last call that uses it is over.

    Args:
        models: In the order of the configuration.
        projects: By name; their models are among `models`.
        on_unused: Called once, when it has been retired and no call uses it any more.
    """

    def __init__(
        self,
        models: Mapping[str, Dispatcher],
        projects: Mapping[str, ServedProject] = _NO_PROJECTS,
        on_unused: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = models
        self.projects = projects
        self._on_unused = on_unused
        self._use = _Use(self._tell_if_unused)
        self._is_retired = False

    def resolve(self, name: str, allowed: Allowed = None) -> ServedResolution:
        """Which model `name` means: one of its own, or of a project.

        Args:
            name: As a request gives it.
            allowed: The projects that the caller's key is bound to.

        Raises:
            RequestError: MODEL_NOT_FOUND, param `model`.
        """
        return resolve(name, self.models, self.projects, allowed)

    def in_use(self) -> AbstractContextManager[None]:
        """Within the block, nothing that the models need goes away."""
        return self._use

    def retire(self) -> None:
        """Take note that no call will begin any more. Once only."""
        self._is_retired = True
        self._tell_if_unused()

    def _tell_if_unused(self) -> None:
        if self._is_retired and not self._use.calls:
            self._on_unused()


class _Use:
    """Counts the calls that are within its block; may be entered any number of times."""

    __slots__ = ("_on_exit", "calls")

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self.calls = 0

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *_raised: object) -> None:
        self.calls -= 1
        self._on_exit()


class Current:
    """Holds the generation that new calls use. A call reads `served` once, so that all it sees fits together."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def swap(self, served: Served) -> None:
        """Have new calls use `served`; those that run keep what they began with."""
        last, self.served = self.served, served
        last.retire()
