"""From the configured projects to what serves them; tool servers that are configured as before go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from service import config
from service.dispatch.served import ServedProject
from service.key_file import KeyFile
from service.project_settings import Project, SystemPrompt, ToolServer
from service.projects.project import project_of
from service.prompts.prompt import Prompt
from service.secret_reading import read_key_file
from service.tools.server import ToolServerConnection
from service.tools.toolset import Toolset

ToolPlace = tuple[str, str]
"""A project's name and the server's."""


@dataclass(slots=True, eq=False)
class ToolPart:
    """A tool server that is there for as long as a generation has it."""

    likeness: object
    """Two sections make the same server where this is equal."""
    connection: ToolServerConnection
    generations: int = 0
    """That have it."""
    task: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Have another generation use it; the first starts it."""
        self.generations += 1
        if self.task is None:
            self.task = group.create_task(self.connection.run())

    async def came_up(self) -> None:
        """Wait until its tools can be called, or for as long as a try to connect may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.connection.settings.connect_timeout_s):
                await self.connection.wait_up()

    async def aclose(self) -> None:
        """End it. To do so again is harmless."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


def tool_parts(settings: config.Config, last: Mapping[ToolPlace, ToolPart]) -> dict[ToolPlace, ToolPart]:
    """The tool servers of all projects, those of `last` that are as they were among them."""
    parts = {}
    for project, section in settings.projects.items():
        for name, server in section.tools.items():
            likeness = _likeness(server)
            known = last.get((project, name))
            parts[project, name] = (
                known
                if known is not None and known.likeness == likeness
                else ToolPart(likeness, _connection(name, server))
            )
    return parts


def served_projects(settings: config.Config, parts: Mapping[ToolPlace, ToolPart]) -> dict[str, ServedProject]:
    """The projects; their prompts have to be checked before they are used."""
    return {
        name: project_of(name, section, _prompt, _toolset(name, section, parts))
        for name, section in settings.projects.items()
    }


def prompts_of(projects: Mapping[str, ServedProject]) -> dict[str, Prompt]:
    """All their prompts, by their paths in the configuration."""
    prompts = {f"projects.{name}.system_prompt": project.prompt for name, project in projects.items()}
    for name, project in projects.items():
        for key, campaign in project.campaigns.items():
            path = f"projects.{name}.campaigns.{key}.arms"
            prompts |= {f"{path}.{arm.name}.system_prompt": arm.prompt for arm in campaign.arms.values()}
    return {path: prompt for path, prompt in prompts.items() if prompt is not None}


def _prompt(section: SystemPrompt) -> Prompt:
    return Prompt(section.template or "", section.args)


def _toolset(name: str, section: Project, parts: Mapping[ToolPlace, ToolPart]) -> Toolset | None:
    servers = {server: parts[name, server].connection for server in section.tools}
    return Toolset(servers, section.tool_limits, use_tools=section.use_tools) if servers else None


def _connection(name: str, server: ToolServer) -> ToolServerConnection:
    if server.api_key is None or server.api_key_file is None:
        return ToolServerConnection(name, server)
    path, key = Path(server.api_key_file), server.api_key.reveal()
    return ToolServerConnection(name, server, key=KeyFile(path, key, lambda path: read_key_file(path).reveal()).current)


def _likeness(server: ToolServer) -> object:
    if server.api_key_file is not None:
        return msgspec.structs.replace(server, api_key=None)  # the connection reads it anew by itself
    return server
