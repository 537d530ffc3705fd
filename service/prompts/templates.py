"""Jinja's templates in its sandbox; only the child process imports this.

The sandbox keeps a template from what is not its own. It does not bound time and memory: while it compiles,
Jinja computes what is constant (`{{ 10 ** 10 ** 8 }}`), and so does `jinja2.meta`. The process does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

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
    args_of,
    detail_of,
)

_FILE: Final = "<template>"
"""What Jinja calls a template without a name, in tracebacks."""
_MAX_COMPILED_CHARACTERS: Final = 512 * 1024
"""Of templates that are kept compiled. One of 64 KiB, full of expressions, takes 100 MiB while it is compiled and
4 MiB afterwards."""


class _MissingError(UndefinedError):
    """Something that the template needs is not there."""

    def __init__(self, owner: object, name: object) -> None:
        super().__init__("undefined")
        self.owner = owner
        """What does not have it."""
        self.name = name


class _TooLargeError(Exception):
    """The text has grown beyond its bound."""


class _Absent(StrictUndefined):
    """Fails with what is missing where."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        # Jinja asks for it when it is about to raise; `is defined` and `default` never come here.
        if issubclass(self._undefined_exception, SecurityError):
            return super()._undefined_message
        # With a hint it is none of the arguments but, say, a macro's parameter.
        name = None if self._undefined_hint else self._undefined_name
        raise _MissingError(self._undefined_obj, name)

    def __repr__(self) -> str:
        # Asked for by the text of a list, or another container, that has it.
        self._fail_with_undefined_error()


class Templates:
    """Compiles and renders; asked again, it need not compile again."""

    def __init__(self) -> None:
        self._environment = _environment()
        self._compiled: SizedCache[str, Template] = SizedCache(_MAX_COMPILED_CHARACTERS)

    def answer(self, question: Question) -> Answer:
        """Whatever the template does becomes an answer, unless it ends the process."""
        try:
            match question:
                case Compile():
                    return self._names(question.template)
                case Render():
                    args = args_of(question)
                    return self._rendered(question.template, args)
        except TemplateSyntaxError as error:
            error.translated = True  # so that its text is the message alone, without the line again
            return Failed(Cause.FAILS, error.lineno, detail_of(error))
        except _TooLargeError:
            return Failed(Cause.TOO_LARGE)
        except MemoryError as error:
            return Failed(Cause.TOO_MUCH_MEMORY, _line(error))
        except Exception as error:  # noqa: BLE001  a template can raise what any operation on its values does
            return Failed(Cause.FAILS, _line(error), detail_of(error))

    def _names(self, template: str) -> Names:
        tree = self._environment.parse(template)
        for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise TemplateSyntaxError("there are no other templates to include, import or extend", node.lineno)
        names = find_undeclared_variables(tree)
        self._template(template)
        return Names(tuple(names))

    def _rendered(self, template: str, args: Mapping[str, Any]) -> Answer:
        try:
            return Text(_bounded(self._template(template), args))
        except _MissingError as error:
            if isinstance(error.name, str | int) and (path := _path_to(args, error.owner)) is not None:
                return Missing((*path, error.name))
            return Failed(Cause.FAILS, _line(error), "what it needs is undefined")

    def _template(self, template: str) -> Template:
        compiled = self._compiled.get(template)
        if compiled is None:
            compiled = self._environment.from_string(template)
            self._compiled.put(template, compiled, len(template))
        return compiled


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=_Absent,
        autoescape=False,  # the text is no HTML
        keep_trailing_newline=True,  # as in a prompt without anything of Jinja's
    )
    # The same arguments make the same prompt: results are cached, and conversations go on with what they began.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


def _bounded(template: Template, args: Mapping[str, Any]) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(args):
        parts.append(part)
        length += len(part)
        if length > MAX_TEXT_BYTES:
            raise _TooLargeError
    text = "".join(parts)
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise _TooLargeError
    return text


def _path_to(args: Mapping[str, Any], owner: object) -> tuple[str | int, ...] | None:
    """Where among the arguments `owner` stands: () for themselves, None where it is none of their objects and lists."""
    if owner is missing:
        return ()
    if not isinstance(owner, dict | list):
        return None
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((name,), value) for name, value in args.items()]
    while waiting:
        path, value = waiting.pop()
        if value is owner:
            return path
        if isinstance(value, dict):
            waiting += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), item) for index, item in enumerate(value)]
    return None


def _line(error: Exception) -> int | None:
    """The template's line that raised it."""
    line: int | None = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
