"""How the Messages API is told to think, from all the ways in which the contract lets a caller ask. Pure.

Models with `reasoning: budget` are given a number of tokens, all others `{"type": "adaptive"}` with an
effort beside it. That includes models that are not known: they are newer than this code as a rule. A model
with a budget is told the effort, too, if it is known to take efforts (Claude Opus 4.5).

Whether a model can be told not to think is left to the API where the catalogue does not say, as is whether
it takes a budget besides.

Source: https://platform.claude.com/docs/en/build-with-claude/extended-thinking, …/thinking-troubleshooting
and …/effort (2026-11-22, by anthropic-sdk-python 2.12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from service.catalogue import Capabilities
from service.errors import invalid
from service.json_values import Json
from service.providers.content import member_path, object_at
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall

LEAST_BUDGET: Final = 1024
"""Of the API."""
ANSWER_TOKENS: Final = 4096
"""Limit of an answer that the caller sets no limit to, where the model's own is not known: the API needs one.
A number that every model takes. Thinking comes on top of it."""

BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
"""Tokens by effort, for models that are given a budget; but no more than four fifths of the answer's limit, so
that there is room for the answer, and no less than `LEAST_BUDGET`. The numbers are Parley's own."""

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_NOT_THINKING: Final = ("budget", "none")
"""Models that don't think unless they are told to."""
"""Names that can be repeated in an error."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the body says of it, and the limit of the answer that goes with it."""

    thinking: dict[str, Any] | None
    effort: str | None
    max_tokens: int

    @property
    def is_on(self) -> bool:
        """Whether the model is asked to think."""
        return self.thinking is not None and self.thinking.get("type") != "disabled"

    @property
    def has_budget(self) -> bool:
        """Whether it is asked to think in the older way, with a budget."""
        return self.thinking is not None and self.thinking.get("type") == "enabled"


def encode_reasoning(call: ProviderCall) -> Reasoning:
    """Thinking, effort and `max_tokens`.

    Raises:
        RequestError: Two parameters contradict each other, or the model can't do it.
    """
    wishes = _wishes(call)
    given = call.request.max_completion_tokens or call.request.max_tokens
    max_tokens = given or call.capabilities.max_output_tokens or ANSWER_TOKENS
    is_known = bool(given or call.capabilities.max_output_tokens)
    thinking = _thinking(call, wishes)
    if thinking is None:
        return Reasoning(None, _effort(call, wishes), max_tokens)
    budget = thinking.get("budget_tokens")
    if budget is None and _takes_chosen_budget(call, wishes, thinking):
        budget = BUDGETS[wishes.get("effort") or "medium"]
        if is_known:
            budget = min(budget, max(LEAST_BUDGET, max_tokens * 4 // 5))
        thinking["budget_tokens"] = budget
        if call.capabilities.reasoning_efforts is None:
            wishes.drop("effort")
    if isinstance(budget, int) and budget >= max_tokens:
        if not is_known:
            max_tokens = budget + ANSWER_TOKENS
        elif wishes.param("budget") != "thinking":  # that one is the API's to look at
            if not given and wishes.get("budget"):
                raise invalid(wishes.param("budget"), f"less than {max_tokens}, the model's limit of an answer")
            name = "max_completion_tokens" if call.request.max_completion_tokens else "max_tokens"
            raise invalid(name, f"more than the {budget} tokens that are there to think")
    return Reasoning(thinking, _effort(call, wishes), max_tokens)


def _takes_chosen_budget(call: ProviderCall, wishes: _Wishes, thinking: dict[str, Any]) -> bool:
    """Whether a budget has to be chosen; for the caller's own `thinking` only where an effort is given to go by."""
    is_own = call.request.HasField("thinking")
    has_effort = call.capabilities.reasoning == "budget" and wishes.get("effort") is not None
    return bool(thinking.get("type") == "enabled") and (has_effort or not is_own)


class _Wishes:
    """What was asked for, by what it is about, with the parameter that asked."""

    def __init__(self) -> None:
        self._wishes: dict[str, tuple[Any, str]] = {}

    def add(self, about: str, value: object, param: str) -> None:
        """Note a wish.

        Raises:
            RequestError: An earlier one says something else.
        """
        known, by = self._wishes.setdefault(about, (value, param))
        if known != value:
            raise invalid(param, f"in accord with `{by}`, or left out")

    def get(self, about: str) -> Any:
        return self._wishes.get(about, (None, ""))[0]

    def param(self, about: str) -> str:
        """The parameter that asked; empty where none did."""
        return self._wishes.get(about, (None, ""))[1]

    def drop(self, about: str) -> None:
        self._wishes.pop(about, None)


def _wishes(call: ProviderCall) -> _Wishes:
    request, wishes = call.request, _Wishes()
    if request.HasField("thinking"):
        _wish_as_anthropic(wishes, object_at("thinking", request.thinking))
    if request.reasoning_effort:
        _wish_effort(wishes, request.reasoning_effort, "reasoning_effort")
    if request.HasField("reasoning"):
        for name, value in object_at("reasoning", request.reasoning).items():
            if value is not None:
                _wish_as_openrouter(wishes, name, value, call.omissions)
    if request.HasField("thinking_budget"):
        _wish_budget(wishes, request.thinking_budget, "thinking_budget")
    if request.HasField("enable_thinking"):
        wishes.add("on", request.enable_thinking, "enable_thinking")
    if request.HasField("include_reasoning"):
        wishes.add("display", _display(is_shown=request.include_reasoning), "include_reasoning")
    return wishes


def _wish_as_anthropic(wishes: _Wishes, thinking: dict[str, Json]) -> None:
    """The provider's own parameter, which is handed on as it is."""
    wishes.add("on", thinking.get("type") != "disabled", "thinking")
    for about, name in (("budget", "budget_tokens"), ("display", "display")):
        if thinking.get(name) is not None:
            wishes.add(about, thinking[name], "thinking")


def _wish_effort(wishes: _Wishes, effort: str, param: str) -> None:
    wishes.add("on", effort != "none", param)
    if effort != "none":
        wishes.add("effort", effort, param)


def _wish_budget(wishes: _Wishes, budget: int, param: str) -> None:
    wishes.add("on", budget > 0, param)
    if budget > 0:
        wishes.add("budget", budget, param)


def _wish_as_openrouter(wishes: _Wishes, name: str, value: Json, omissions: Omissions) -> None:
    """One member of `reasoning`.

    Source: https://openrouter.ai/docs/use-cases/reasoning-tokens (2026-11-22).
    """
    param = f"reasoning.{name}"
    match name, value:
        case "effort", str() if value in {*BUDGETS, "none"}:
            _wish_effort(wishes, value, param)
        case "max_tokens", int() if not isinstance(value, bool) and value >= 0:
            _wish_budget(wishes, value, param)
        case "enabled", bool():
            wishes.add("on", value, param)
        case "exclude", bool():
            wishes.add("display", _display(is_shown=not value), param)
        case ("effort", _) | ("max_tokens", _) | ("enabled", _) | ("exclude", _):
            raise invalid(param, "an effort, a number of tokens, or true or false, as its name says")
        case _:
            omissions.omit(
                member_path("reasoning", name),
                "knows of `effort`, `max_tokens`, `enabled` and `exclude` alone",
            )


def _display(*, is_shown: bool) -> str:
    return "summarized" if is_shown else "omitted"


def _thinking(call: ProviderCall, wishes: _Wishes) -> dict[str, Any] | None:
    """The body's `thinking`, but for a budget that has to be chosen."""
    if call.request.HasField("thinking"):
        return _as_given(call, wishes)
    always_reasons = _always_reasons(call.capabilities)
    if wishes.get("on") is False:
        if not always_reasons:
            return {"type": "disabled"}
        call.omissions.omit(wishes.param("on"), f"has a model `{call.model}` that always reasons")
        wishes.drop("on")
    display, kind = wishes.get("display"), call.capabilities.reasoning
    if wishes.get("on") is None:
        if display is None or (display == "omitted" and kind in _NOT_THINKING):
            return None
        if display == "omitted" and not (always_reasons and kind == "adaptive"):
            call.omissions.omit(wishes.param("display"), "hides only reasoning that is asked for")
            return None
    if kind == "none":
        about = next(name for name in ("budget", "effort", "on", "display") if wishes.get(name))
        call.omissions.omit(wishes.param(about), f"has a model `{call.model}` that does not reason")
        wishes.drop("effort")
        return None
    return _switched_on(call, wishes)


def _as_given(call: ProviderCall, wishes: _Wishes) -> dict[str, Any]:
    """The provider's own parameter, with what others say besides."""
    thinking: dict[str, Any] = object_at("thinking", call.request.thinking)
    if wishes.param("budget") not in {"", "thinking"}:
        if thinking.get("type") != "enabled":
            raise invalid(wishes.param("budget"), 'left out where `thinking` is of another type than "enabled"')
        thinking["budget_tokens"] = _checked_budget(wishes)
    display = wishes.get("display")
    return {**thinking, "display": display} if display and wishes.get("on") else thinking


def _always_reasons(capabilities: Capabilities) -> bool:
    """Whether the model is known to take no word that has it not reason."""
    efforts = capabilities.reasoning_efforts
    return capabilities.reasoning == "always" or (efforts is not None and "none" not in efforts)


def _checked_budget(wishes: _Wishes) -> int:
    budget: int = wishes.get("budget")
    if budget < LEAST_BUDGET:
        raise invalid(wishes.param("budget"), f"0, or at least {LEAST_BUDGET}")
    return budget


def _switched_on(call: ProviderCall, wishes: _Wishes) -> dict[str, Any] | None:
    display = wishes.get("display")
    shown = {"display": display} if display else {}
    if wishes.get("budget") is not None:
        return {"type": "enabled", "budget_tokens": _checked_budget(wishes), **shown}
    match call.capabilities.reasoning:
        case "budget":
            return {"type": "enabled", **shown}
        case "adaptive" | None:
            return {"type": "adaptive", **shown}
        case _:  # it reasons in any case, and takes an effort at most
            return None


def _effort(call: ProviderCall, wishes: _Wishes) -> str | None:
    """The body's `output_config.effort`."""
    effort: str | None = wishes.get("effort")
    if effort is None:
        return None
    if call.capabilities.reasoning == "budget" and call.capabilities.reasoning_efforts is None:
        call.omissions.omit(wishes.param("effort"), f"has a model `{call.model}` that takes no effort beside a budget")
        return None
    known = call.capabilities.reasoning_efforts or _EFFORTS
    if effort not in _EFFORTS or effort not in known:
        words = ", ".join(f'"{word}"' for word in known if word != "none")
        call.omissions.omit(wishes.param("effort"), f"has a model `{call.model}` that takes only {words}")
        return None
    return effort
