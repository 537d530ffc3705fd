"""The section `projects`: read from the file, with what it names (templates, secrets)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from service.errors import ConfigError
from service.project_checks import check_arguments, check_tool_server
from service.project_settings import Arm, Campaign, Project, ServerName, ShortName, SystemPrompt, ToolServer
from service.secret_reading import SecretPlace, read_api_key, read_variable
from service.section_reading import read_section
from service.settings import Secret

_MAX_TEMPLATE_BYTES: Final = 64 * 1024
"""Many times what models are usually told in a system prompt."""

_Reader: TypeAlias = Callable[[Any, str], Any]
"""Reads a value, given its path."""


def read_projects(raw: Mapping[Any, Any], environ: Mapping[str, str], folder: Path) -> dict[str, Project]:
    """The projects, by name.

    Args:
        raw: The section, as it stands in the file.
        environ: The environment, for secrets.
        folder: From where the names of templates' files go on.

    Raises:
        ConfigError: One can't be read; the message names the path.
    """
    prompt = partial(_prompt, folder=folder)
    arm = partial(_section, wanted=Arm, readers={"system_prompt": prompt})
    campaign = partial(_section, wanted=Campaign, readers={"arms": partial(_entries, key=ShortName, reader=arm)})
    project = partial(
        _section,
        wanted=Project,
        readers={
            "models": partial(_entries, key=ShortName, reader=partial(_section, wanted=str)),
            "system_prompt": prompt,
            "tools": partial(_entries, key=ServerName, reader=partial(_tool_server, environ=environ)),
            "campaigns": partial(_entries, key=ShortName, reader=campaign),
        },
    )
    projects: dict[str, Project] = _entries(raw, "projects", key=ShortName, reader=project)
    return projects


def _section(value: Any, path: str, *, wanted: Any, readers: Mapping[str, _Reader] | None = None) -> Any:
    """A `wanted`, some of whose members have readers of their own."""
    if isinstance(value, dict) and readers:
        value = {
            name: readers[name](member, f"{path}.{name}") if name in readers and member is not None else member
            for name, member in value.items()
        }
    return read_section(value, wanted, path)


def _entries(value: Any, path: str, *, key: Any, reader: _Reader) -> Any:
    """A mapping, each of whose values is told by its key where it is wrong: msgspec does not tell it."""
    if not isinstance(value, dict):
        return value  # whoever reads the section knows what should stand there
    for name in value:
        if isinstance(name, str):
            read_section(name, key, f"{path}.{name!r}")
        else:
            read_section({name: None}, dict[str, None], path)  # says how to write it
    return {name: reader(member, f"{path}.{name}") for name, member in value.items()}


def _prompt(value: Any, path: str, *, folder: Path) -> Any:
    if isinstance(value, str):
        value = {"template": value}
    prompt: SystemPrompt = read_section(value, SystemPrompt, path)
    if (prompt.template is None) == (prompt.file is None):
        raise ConfigError(f"{path}: give `template` or `file`, one of them")
    check_arguments(f"{path}.args", prompt.args)
    if prompt.file is not None:
        template = _template(folder / prompt.file, f"{path}.file")
        return msgspec.structs.replace(prompt, template=template)
    if prompt.template is not None and len(prompt.template.encode("utf-8", "surrogatepass")) > _MAX_TEMPLATE_BYTES:
        raise ConfigError(f"{path}.template: larger than {_MAX_TEMPLATE_BYTES} bytes")
    return prompt


def _template(file: Path, path: str) -> str:
    try:
        with file.open("rb") as opened:  # no more than that is read, whatever file it is
            content = opened.read(_MAX_TEMPLATE_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {file} can't be read as text in UTF-8") from error
    if len(content) > _MAX_TEMPLATE_BYTES:
        raise ConfigError(f"{path}: {file} is larger than {_MAX_TEMPLATE_BYTES} bytes")
    return text


def _tool_server(value: Any, path: str, *, environ: Mapping[str, str]) -> Any:
    texts = partial(_entries, key=str, reader=partial(_section, wanted=str))
    server: ToolServer = _section(value, path, wanted=ToolServer, readers={"env": texts, "headers": texts})
    check_tool_server(path, server)
    api_key = read_api_key(SecretPlace(path, "api_key", server.api_key_env, server.api_key_file), environ)
    environment = {
        name: Secret(read_variable(f"{path}.env_from[{index}]", name, environ))
        for index, name in enumerate(server.env_from)
    }
    return msgspec.structs.replace(server, api_key=api_key, environment=environment)
