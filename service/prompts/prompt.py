"""A system prompt's template, and the arguments that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.errors import Reason, RequestError, invalid
from service.json_values import Json

PARAMETER: Final = "system_prompt_args"

_SYNTAX: Final = ("{{", "{%", "{#")
_MAX_NAME_CHARACTERS: Final = 64
"""Of a name that an error tells; it comes from the request, and the error's parameter becomes a header."""
_MAX_NAMES: Final = 20
"""That an error tells: enough for any prompt that people write."""


class Prompt:
    """A template with the values of arguments that a request does not give.

    A `Renderer` checks it before it is used: only Jinja knows which arguments a template takes.

    Args:
        template: Jinja's, or plain text.
        args: By name; values are JSON's.
    """

    __slots__ = ("_names", "args", "template")

    def __init__(self, template: str, args: Mapping[str, Json] | None = None) -> None:
        self.template = template
        self.args = dict(args or {})
        self._names: frozenset[str] | None = None
        if self.is_plain:
            self.learn(())

    def __repr__(self) -> str:
        return f"Prompt(<{len(self.template)} characters>)"

    @property
    def is_plain(self) -> bool:
        """Whether the template is its own text: nothing in it is Jinja's."""
        return not any(mark in self.template for mark in _SYNTAX)

    @property
    def is_checked(self) -> bool:
        """Whether its names are known."""
        return self._names is not None

    @property
    def names(self) -> frozenset[str]:
        """The arguments that it takes: those that its template uses, and those that have a default."""
        if self._names is None:
            raise RuntimeError("the prompt has not been checked")
        return self._names

    def learn(self, names: tuple[str, ...]) -> None:
        """Take the names that the template uses; the renderer's to call."""
        self._names = frozenset(names) | self.args.keys()

    def check_args(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """The defaults and over them what the request gives.

        That one is missing is found when it is rendered: a template may do without.

        Raises:
            RequestError: One of the names is no argument of this prompt.
        """
        for name in given:
            if name not in self.names:
                raise self._unexpected(name)
        return {**self.args, **given}

    def _unexpected(self, name: str) -> RequestError:
        known = sorted(name for name in self.names if is_tellable(name))
        takes = ", ".join(f"`{name}`" for name in known[:_MAX_NAMES]) + (", …" if len(known) > _MAX_NAMES else "")
        takes = f"it takes {takes}" if takes else "it takes none"
        if is_tellable(name):
            param = f"{PARAMETER}.{name}"
            message = f"`{param}` is no argument of the project's system prompt: {takes}."
            return RequestError(Reason.PARAMETER_INVALID, message, param=param)
        return invalid(PARAMETER, f"an object of the system prompt's arguments: {takes}")


def is_tellable(name: str) -> bool:
    """Whether an error may tell the name: it is short, and one word of printable ASCII."""
    return 0 < len(name) <= _MAX_NAME_CHARACTERS and name.isascii() and name.isprintable() and " " not in name
