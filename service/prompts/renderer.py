"""Checks and renders system prompts, in processes that are there for that alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from service.errors import ConfigError, ParleyError, Reason, RequestError, invalid, missing
from service.json_values import Json
from service.prompts.cache import SizedCache
from service.prompts.messages import (
    MAX_TEXT_BYTES,
    Answer,
    Cause,
    Compile,
    Failed,
    Missing,
    Names,
    Question,
    Render,
    Text,
)
from service.prompts.process import ProcessError, RenderingProcess
from service.prompts.prompt import PARAMETER, Prompt, is_tellable

_log = logging.getLogger(__name__)

_PROCESSES: Final = 2
"""A template that takes long holds up its own calls (`_lane`); with two processes, no other template's. One renders
some 5,000 times a second, more than a service has calls."""
_MAX_CACHED: Final = 8 * 1024 * 1024
"""Characters of templates, arguments and texts: some 3,000 results of an ordinary prompt."""
_CACHED_AT_LEAST: Final = 300
"""What an entry takes beside its texts."""


_MAX_TOLD_PARTS: Final = 4
"""Of the path to what is missing: the error's parameter becomes a header."""


class Renderer:
    """Renders prompts; one for the whole service.

    Its processes are started when they are first needed: a service without templates has none.
    """

    def __init__(self) -> None:
        self._processes = [RenderingProcess() for _ in range(_PROCESSES)]
        self._free: asyncio.LifoQueue[RenderingProcess] = asyncio.LifoQueue()
        for process in self._processes:
            self._free.put_nowait(process)
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: SizedCache[tuple[str, bytes], Answer] = SizedCache(_MAX_CACHED)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that are there."""
        return tuple(process.pid for process in self._processes if process.pid is not None)

    async def check(self, prompts: Mapping[str, Prompt]) -> None:
        """Make the prompts ready to be used; the keys are their paths in the configuration.

        Each template is compiled. A prompt that needs no arguments, or has defaults for all, is also rendered.

        Raises:
            ConfigError: A prompt can't be used, or whether it can is not to be found out.
        """
        for path, prompt in prompts.items():
            try:
                await self._check(path, prompt)
            except ProcessError as error:
                raise ConfigError(f"{path}: can't be checked, for the process that renders failed: {error}") from error

    async def render(self, prompt: Prompt, args: Mapping[str, Json]) -> str:
        """The prompt's text with these arguments, which `Prompt.check_args` has made.

        Raises:
            RequestError: An argument is missing, there is too much in them, or the template fails with them.
            ParleyError: It can't be rendered now.
        """
        if prompt.is_plain:
            return prompt.template
        encoded = msgspec.json.encode(args)
        if len(encoded) > MAX_TEXT_BYTES:
            raise invalid(PARAMETER, f"at most {MAX_TEXT_BYTES} bytes, as JSON and with the prompt's defaults")
        try:
            answer = await self._rendered(prompt.template, encoded)
        except ProcessError as error:
            _log.error("the process that renders system prompts failed: %s", error)
            raise ParleyError(Reason.INTERNAL, "The system prompt can't be rendered now; try again later.") from error
        if isinstance(answer, Text):
            return answer.text
        raise _refusal(prompt, answer)

    async def aclose(self) -> None:
        """End the processes; nothing may be rendered meanwhile."""
        for process in self._processes:
            await process.aclose()

    async def _check(self, path: str, prompt: Prompt) -> None:
        if len(prompt.template.encode()) > MAX_TEXT_BYTES:
            raise ConfigError(f"{path}.template: must have at most {MAX_TEXT_BYTES} bytes")
        args = _checked_defaults(path, prompt.args)
        if prompt.is_plain:
            return
        compiled = await self._asked(Compile(prompt.template))
        if not isinstance(compiled, Names):
            raise _unusable(f"{path}.template", compiled)
        prompt.learn(compiled.names)
        if prompt.names <= prompt.args.keys():
            rendered = await self._rendered(prompt.template, args)
            if not isinstance(rendered, Text):
                raise _unusable(f"{path}.template", rendered)

    async def _rendered(self, template: str, args: bytes) -> Answer:
        key = template, args
        if (known := self._known.get(key)) is not None:
            return known
        # One at a time for each template: what takes long holds up those that ask for the same.
        lane = self._lanes.setdefault(template, asyncio.Lock())
        async with lane:
            if (known := self._known.get(key)) is not None:
                return known
            answer = await self._asked(Render(template, msgspec.Raw(args)))
            size = len(template) + len(args) + (len(answer.text) if isinstance(answer, Text) else 0)
            self._known.put(key, answer, size + _CACHED_AT_LEAST)
        return answer

    async def _asked(self, question: Question) -> Answer:
        process = await self._free.get()
        try:
            return await process.ask(question)
        finally:
            self._free.put_nowait(process)


def _checked_defaults(path: str, args: Mapping[str, Any]) -> bytes:
    """The defaults as JSON."""
    for name, value in args.items():
        if not _is_json(value):
            raise ConfigError(f"{path}.args.{name}: must be what JSON has: YAML reads an unquoted date as a date")
    encoded = msgspec.json.encode(args)
    if len(encoded) > MAX_TEXT_BYTES:
        raise ConfigError(f"{path}.args: must have at most {MAX_TEXT_BYTES} bytes as JSON")
    return encoded


def _is_json(value: object) -> bool:
    match value:
        case None | bool() | int() | str():
            return True
        case float():
            return value - value == 0
        case list():
            return all(_is_json(item) for item in value)
        case dict():
            return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
        case _:
            return False


def _unusable(path: str, answer: Answer) -> ConfigError:
    """What is wrong with a template; its text is the operator's own, and may be told."""
    match answer:
        case Failed(line=int(line), detail=str(detail)) if detail:
            return ConfigError(f"{path}: line {line}: {detail}")
        case Failed(cause=cause, detail=detail):
            return ConfigError(f"{path}: {detail or cause.value}")
        case Missing(path=(_, *_) as missing_path):
            return ConfigError(f"{path}: needs `{_dotted(missing_path)}`, which the defaults do not have")
        case _:
            return ConfigError(f"{path}: can't be rendered")


def _refusal(prompt: Prompt, answer: Answer) -> RequestError:
    """Which argument is wrong, where that is known; it quotes nothing of the prompt and of the values."""
    what = Cause.FAILS.value
    match answer:
        case Missing(path=(str(name), *_) as path) if name in prompt.names and is_tellable(name):
            if _is_tellable_path(prompt, path):
                return missing(f"{PARAMETER}.{_dotted(path)}", "the project's system prompt needs it")
            return invalid(f"{PARAMETER}.{name}", "an object with all that the project's system prompt needs of it")
        case Failed(cause=cause, line=line):
            what = cause.value if line is None else f"{cause.value} in line {line}"
    message = f"The project's system prompt can't be rendered with these arguments: {what}."
    return RequestError(Reason.SYSTEM_PROMPT_FAILED, message, param=PARAMETER)


def _is_tellable_path(prompt: Prompt, path: tuple[str | int, ...]) -> bool:
    """Whether it is short and simple; what is missing at its end may be a value of an argument (`{{ a[b] }}`)."""
    last = path[-1]
    is_of_template = isinstance(last, int) or last in prompt.names or f".{last}" in prompt.template
    return is_of_template and len(path) <= _MAX_TOLD_PARTS and all(isinstance(p, int) or is_tellable(p) for p in path)


def _dotted(path: tuple[str | int, ...]) -> str:
    """As errors name parameters: `user.addresses[0].city`."""
    first, *others = path
    return f"{first}" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in others)
