"""What the parts of projects must be like, by themselves and together. Pure; every message names the path."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from service.config_checks import check_base_url, check_headers, check_variable_name
from service.errors import ConfigError
from service.project_settings import Campaign, Project, ToolServer

_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_MAX_DEPTH: Final = 30
"""Of arguments, as of those that requests give (`service/json_values.py`)."""
_COMMAND_ONLY: Final = ("env", "env_from")
_URL_ONLY: Final = ("headers", "api_key_env", "api_key_file")


def check_projects(projects: Mapping[str, Project], models: Collection[str]) -> None:
    """Raise ConfigError unless all that they name is there, and what names them is unambiguous."""
    for name, project in projects.items():
        path = f"projects.{name}"
        for alias, model_id in project.models.items():
            if model_id not in models:
                raise ConfigError(f"{path}.models.{alias}: there is no model {model_id!r} in `models`")
        _check_alias(f"{path}.default_model", project.default_model, project)
        for key, campaign in project.campaigns.items():
            place = f"{path}.campaigns.{key}"
            for arm, each in campaign.arms.items():
                _check_alias(f"{place}.arms.{arm}.model", each.model, project)
            _check_times(place, campaign)
        _check_ids(f"{path}.campaigns", project.campaigns)


def _check_alias(path: str, alias: str, project: Project) -> None:
    if alias not in project.models:
        known = ", ".join(project.models)
        raise ConfigError(f"{path}: the project has no model {alias!r} (its models: {known})")


def _check_times(path: str, campaign: Campaign) -> None:
    for name in ("start", "end"):
        time: datetime | None = getattr(campaign, name)
        if time is not None and time.tzinfo is None:
            raise ConfigError(f"{path}.{name}: expected a time with its zone, such as 2026-12-01T00:00:00Z")
    if campaign.start is not None and campaign.end is not None and campaign.start >= campaign.end:
        raise ConfigError(f"{path}.end: must be later than `start`")


def _check_ids(path: str, campaigns: Mapping[str, Campaign]) -> None:
    """Keys and ids are one space of names, in which ids are equal in upper and lower case."""
    named = {key.lower(): key for key in campaigns}
    for key, campaign in campaigns.items():
        if campaign.id is None:
            continue
        if not _UUID.fullmatch(campaign.id):
            raise ConfigError(f"{path}.{key}.id: expected a UUID such as 0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21")
        if (other := named.setdefault(campaign.id.lower(), key)) != key:
            raise ConfigError(f"{path}.{key}.id: {other!r} is named so already")


def check_tool_server(path: str, server: ToolServer) -> None:
    """Raise ConfigError unless it is a program or a URL, and has nothing that is only for the other."""
    if (server.command is None) == (server.url is None):
        raise ConfigError(f"{path}: give `command` or `url`, one of them")
    is_url = server.url is not None
    for name in _COMMAND_ONLY if is_url else _URL_ONLY:
        if getattr(server, name):
            raise ConfigError(f"{path}.{name}: only with `{'command' if is_url else 'url'}`")
    if server.url is not None:
        check_base_url(f"{path}.url", server.url, "https://mcp.example.com/mcp")
        check_headers(f"{path}.headers", server.headers)
    else:
        _check_command(path, server)
    if server.only is not None:
        _check_only(f"{path}.only", server.only)


def _check_command(path: str, server: ToolServer) -> None:
    command = server.command or []
    if not command or not command[0] or any("\0" in word for word in command):
        raise ConfigError(f"{path}.command: expected a program and its arguments, without NUL characters")
    for name, value in server.env.items():
        check_variable_name(f"{path}.env", name)
        if "\0" in value:
            raise ConfigError(f"{path}.env.{name}: no variable can hold a NUL character")
    for index, name in enumerate(server.env_from):
        place = f"{path}.env_from[{index}]"
        check_variable_name(place, name)
        if name in server.env:
            raise ConfigError(f"{place}: {name} stands in `env` as well")
        if name in server.env_from[:index]:
            raise ConfigError(f"{place}: {name} occurs twice")


def _check_only(path: str, names: list[str]) -> None:
    if not names:
        raise ConfigError(f"{path}: name at least one tool, or leave it out for all of them")
    for index, name in enumerate(names):
        if not name:
            raise ConfigError(f"{path}[{index}]: expected the name of a tool")
        if name in names[:index]:
            raise ConfigError(f"{path}[{index}]: {name!r} occurs twice")


def check_arguments(path: str, args: Mapping[str, Any]) -> None:
    """Raise ConfigError unless all of them are JSON, which YAML may go beyond."""
    for name, value in args.items():
        _check_json(f"{path}.{name}", value, _MAX_DEPTH)


def _check_json(path: str, value: Any, depth: int) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float() if math.isfinite(value):
            return
        case list() | dict() if depth == 0:
            raise ConfigError(f"{path}: nested more than {_MAX_DEPTH} levels deep")
        case list():
            for index, item in enumerate(value):
                _check_json(f"{path}[{index}]", item, depth - 1)
        case dict():
            for name, item in value.items():
                if not isinstance(name, str):
                    raise ConfigError(f"{path}: the key {name!r} is no text; write it in quotes")
                _check_json(f"{path}.{name}", item, depth - 1)
        case _:
            kind = type(value).__name__
            raise ConfigError(f"{path}: a {kind} that JSON does not have; write it as text, in quotes")
