"""The section `projects` of the configuration."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from service.limits import Seconds
from service.settings import Secret, Section

SHORT_NAME: Final = r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}\Z"
SERVER_NAME: Final = r"\A(?=.{1,32}\Z)[a-zA-Z0-9](?:_?[a-zA-Z0-9-])*\Z"
ShortName = Annotated[str, msgspec.Meta(pattern=SHORT_NAME)]
"""What stands in ids and headers: 1 to 64 characters."""
ServerName = Annotated[str, msgspec.Meta(pattern=SERVER_NAME)]
"""Of a tool server; without two underscores, which stand between it and the tool's name, and short enough to leave
room for that in the 64 characters that models' APIs take."""


class SystemPrompt(Section, frozen=True):
    """A template of a system prompt; in short, the template alone."""

    template: str | None = None
    file: str | None = None
    """A file that has it, from the configuration's folder on; one of the two is needed. Read into `template`."""
    args: dict[str, Any] = {}
    """Its arguments, where a request does not give them."""


class ToolServer(Section, frozen=True):
    """An MCP server: a program that is started and spoken to over its standard input and output, or a URL."""

    command: list[str] | None = None
    """Program and arguments."""
    env: dict[str, str] = {}
    """The program's environment, beside PATH, HOME and the like; no secrets."""
    env_from: list[str] = []
    """Variables of the service's own environment that the program gets as well."""
    url: str | None = None
    """Of a server that speaks streamable HTTP."""
    headers: dict[str, str] = {}
    """Of every request to `url`; no secrets."""
    api_key_env: str | None = None
    api_key_file: str | None = None
    api_key: Secret | None = None
    """Filled from one of the two above; sent as `authorization: Bearer`. It can't stand in the file."""
    environment: dict[str, Secret] = {}
    """Filled with the variables that `env_from` names; it can't stand in the file."""
    connect_timeout_s: Seconds = 10.0
    """Until the server has told its tools."""
    timeout_s: Seconds = 30.0
    """Of each call of a tool."""
    max_result_bytes: Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024)] = 65_536
    """Of a tool's result; of a larger one the model is told that it was too large."""
    when_down: Literal["fail", "leave_out"] = "fail"
    """What becomes of requests that may use its tools: they fail, or are answered without them."""
    only: list[str] | None = None
    """Names of its tools that may be used; default: all."""
    enabled: bool = True
    """Whether its tools are used where a request does not switch them."""


class ToolLimits(Section, frozen=True):
    """Bounds of what server-side tools may do for one request."""

    max_turns: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8
    """How often the model may be asked; the last time, it is told to call no tool."""
    total_s: Seconds = 120.0
    """After that, running tools are given up and the model is told to call no more."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """How many tools run at once for one request."""


class Arm(Section, frozen=True):
    """An arm of a campaign."""

    model: ShortName
    """One of the project's."""
    weight: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 1.0
    """Its part of the users."""
    system_prompt: SystemPrompt | None = None
    """In place of the project's."""


class Campaign(Section, frozen=True):
    """Compares models or system prompts."""

    arms: Annotated[dict[ShortName, Arm], msgspec.Meta(min_length=1, max_length=64)]
    id: str | None = None
    """A UUID by which requests may name it, as well as by its key."""
    start: datetime | None = None
    """With a time zone; included. Default: since ever."""
    end: datetime | None = None
    """With a time zone; excluded. Default: for ever."""


class Project(Section, frozen=True):
    """Models under one name, with what belongs to them."""

    default_model: ShortName
    """One of `models`: who answers for the project's bare name."""
    models: Annotated[dict[ShortName, str], msgspec.Meta(min_length=1, max_length=256)]
    """Ids of configured models, by the name that they have in the project."""
    system_prompt: SystemPrompt | None = None
    tools: dict[ServerName, ToolServer] = {}
    use_tools: bool = True
    """Whether its server-side tools may be used where a request does not say."""
    tool_limits: ToolLimits = ToolLimits()
    campaigns: dict[ShortName, Campaign] = {}
