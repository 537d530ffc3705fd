"""How much to think, in Gemini's words. Pure.

Source: https://ai.google.dev/gemini-api/docs/thinking and
https://ai.google.dev/gemini-api/docs/openai#thinking (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service.errors import invalid
from service.json_values import Json
from service.providers.content import member_path, object_at
from service.providers.gemini.models import generation_of
from service.providers.provider import ProviderCall

KNOWN: Final = frozenset(
    {"reasoning_effort", "reasoning", "thinking", "thinking_budget", "enable_thinking", "include_reasoning"}
)
"""The parameters that are read here."""

_BUDGETS: Final = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Tokens by effort, as Google's own table has them up to "high", which is the most that every model of
`thinkingBudget` takes."""
_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
"""Levels by effort; which of them a model knows is for it to say. There is none for "none"."""
_DYNAMIC: Final = -1
"""The model itself decides how much to think."""


def thinking_config(call: ProviderCall) -> dict[str, Any]:
    """`thinkingConfig`; empty where nothing is asked for.

    Thoughts are shown where thinking is asked for, unless the request says that they shall not be. To show
    those of a model that has none is no wish that could fail.

    Raises:
        RequestError: Two parameters contradict each other; `param` names the second.
    """
    wish = _Wish(call)
    wish.read()
    config = wish.amount()
    is_shown = wish.is_wanted if wish.is_shown is None else wish.is_shown
    if is_shown and call.capabilities.reasoning != "none":
        config["includeThoughts"] = True
    return config


class _Wish:
    """What the request's parameters say together."""

    def __init__(self, call: ProviderCall) -> None:
        self.is_shown: bool | None = None
        self._call = call
        self._effort: str | None = None
        self._budget: int | None = None
        self._is_on: bool | None = None
        self._sources: list[str] = []  # the parameters that said how much

    @property
    def is_wanted(self) -> bool:
        """Whether thinking is asked for."""
        if self._budget is not None:
            return self._budget != 0
        if self._effort is not None:
            return self._effort != "none"
        return self._is_on is True

    def read(self) -> None:
        """Read all parameters, in the order in which a contradiction names the later one."""
        request = self._call.request
        if request.HasField("reasoning_effort"):
            self.set_effort("reasoning_effort", request.reasoning_effort)
        if request.HasField("reasoning"):
            self._read_object("reasoning", object_at("reasoning", request.reasoning), _REASONING)
        if request.HasField("thinking"):
            self._read_object("thinking", object_at("thinking", request.thinking), _THINKING)
        if request.HasField("thinking_budget"):
            self.set_budget("thinking_budget", request.thinking_budget)
        if request.HasField("enable_thinking"):
            self.switch("enable_thinking", request.enable_thinking)
        if request.HasField("include_reasoning"):
            self.show("include_reasoning", is_shown=request.include_reasoning)

    def amount(self) -> dict[str, Any]:
        """How much to think."""
        if not self._sources:
            return {}
        if self._call.capabilities.reasoning == "none":
            if self.is_wanted:
                self._omit("does not reason")
            return {}
        if self._budget is not None:
            return {"thinkingBudget": self._budget}
        return self._budget_of_effort() if self._has_budgets() else self._level_of_effort()

    def _has_budgets(self) -> bool:
        kind = self._call.capabilities.reasoning
        return kind == "budget" or (kind != "level" and generation_of(self._call.model) == 2)  # noqa: PLR2004

    def _budget_of_effort(self) -> dict[str, Any]:
        if self._effort is not None:
            return {"thinkingBudget": _BUDGETS[self._effort]}
        return {"thinkingBudget": _DYNAMIC if self._is_on else 0}

    def _level_of_effort(self) -> dict[str, Any]:
        if not self.is_wanted:
            self._omit("always reasons")
            return {}
        return {"thinkingLevel": _LEVELS[self._effort]} if self._effort is not None else {}

    def _omit(self, what: str) -> None:
        for source in self._sources:
            self._call.omissions.omit(source, f"has a model `{self._call.model}` that {what}")

    def _read_object(self, path: str, members: dict[str, Json], readers: dict[str, _Reader]) -> None:
        for name, value in members.items():
            if value is None:
                continue
            if name in readers:
                readers[name](self, f"{path}.{name}", value)
            else:
                self._call.omissions.omit(member_path(path, name), "has no such setting")

    def set_effort(self, param: str, effort: Json) -> None:
        """How much, in a word."""
        if not isinstance(effort, str) or effort not in _BUDGETS:
            raise invalid(param, "one of " + ", ".join(f'"{word}"' for word in _BUDGETS))
        if self._budget is not None or effort != (self._effort or effort):
            raise invalid(param, f"left out where `{self._sources[0]}` says how much to reason")
        self._agree(param, is_on=effort != "none")
        self._effort = effort

    def set_budget(self, param: str, budget: Json) -> None:
        """How much, in tokens."""
        if not isinstance(budget, int) or isinstance(budget, bool) or not _DYNAMIC <= budget < 2**31:
            raise invalid(param, "a number of tokens")
        if self._effort is not None or budget != (budget if self._budget is None else self._budget):
            raise invalid(param, f"left out where `{self._sources[0]}` says how much to reason")
        self._agree(param, is_on=budget != 0)
        self._budget = budget

    def switch(self, param: str, is_on: Json) -> None:
        """Whether at all."""
        if not isinstance(is_on, bool):
            raise invalid(param, "true or false")
        self._agree(param, is_on=is_on)
        self._is_on = is_on

    def set_type(self, param: str, kind: Json) -> None:
        """Whether at all, as Anthropic says it."""
        if not isinstance(kind, str) or kind not in {"enabled", "disabled", "adaptive"}:
            raise invalid(param, '"enabled", "disabled" or "adaptive"')
        self.switch(param, kind != "disabled")

    def exclude(self, param: str, is_hidden: Json) -> None:
        """Whether thoughts shall not be shown."""
        if not isinstance(is_hidden, bool):
            raise invalid(param, "true or false")
        self.show(param, is_shown=not is_hidden)

    def show(self, param: str, *, is_shown: bool) -> None:
        """Whether thoughts shall be shown."""
        if self.is_shown is not None and self.is_shown != is_shown:
            raise invalid(param, "left out where another parameter says the contrary")
        self.is_shown = is_shown

    def _agree(self, param: str, *, is_on: bool) -> None:
        if self._sources and self.is_wanted != is_on:
            raise invalid(param, f"left out where `{self._sources[0]}` says the contrary")
        self._sources.append(param)


_Reader = Callable[[_Wish, str, Json], None]
_REASONING: Final[dict[str, _Reader]] = {
    "effort": _Wish.set_effort,
    "max_tokens": _Wish.set_budget,
    "enabled": _Wish.switch,
    "exclude": _Wish.exclude,
}
_THINKING: Final[dict[str, _Reader]] = {"type": _Wish.set_type, "budget_tokens": _Wish.set_budget}
