"""How parameters are told to APIs that know them in another form: what `Dialect.translations` holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.json_values import Json
from service.providers.openai.dialect import Body, Translation

_SAID_BY_AN_EFFORT: Final = (("enabled", True), ("exclude", False))


def at(path: str, value: Json) -> Body:
    """An object that has `value` at the dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)  # noqa: S101 - a path has at least one name
    return value


def renamed(path: str) -> Translation:
    """The same value under another name, or within an object."""
    return lambda value: at(path, value)


def enabled_or_disabled(path: str) -> Translation:
    """A boolean as one of these words."""
    return lambda value: at(path, "enabled" if value else "disabled")


def effort_of_reasoning(reasoning: Json) -> Body | None:
    """OpenRouter's `reasoning` where an API knows the effort alone."""
    match reasoning:
        case {"effort": str(effort), **rest} if not _says_more(rest):
            return {"reasoning_effort": effort}
        case {"enabled": False, **rest} if not rest:
            return {"reasoning_effort": "none"}
        case _:
            return None


def _says_more(rest: Mapping[object, object]) -> bool:
    """Whether, beside an effort, there is anything that is not so anyway."""
    return any(entry not in _SAID_BY_AN_EFFORT for entry in rest.items())


def thinking_as_reasoning(thinking: Json) -> Body | None:
    """Anthropic's `thinking` as OpenRouter's `reasoning`."""
    match thinking:
        case {"type": "enabled", "budget_tokens": int(budget), **rest} if not rest:
            return {"reasoning": {"max_tokens": budget}}
        case {"type": "enabled" | "adaptive", **rest} if not rest:
            return {"reasoning": {"enabled": True}}
        case {"type": "disabled", **rest} if not rest:
            return {"reasoning": {"enabled": False}}
        case _:
            return None


def thinking_as_switch(thinking: Json) -> Body | None:
    """Anthropic's `thinking`, where an API knows of OpenRouter's `reasoning` the switch alone."""
    match thinking:
        case {"type": "enabled" | "adaptive" | "disabled" as kind, **rest} if not rest:
            return {"reasoning": {"enabled": kind != "disabled"}}
        case _:
            return None


def merge(body: dict[str, Any], addition: Mapping[str, Any]) -> bool:
    """Add what `body` does not have, within objects too; False where that would replace another value."""
    for name, value in addition.items():
        if name not in body:
            body[name] = value
        elif isinstance(body[name], dict) and isinstance(value, dict):
            if not merge(body[name], value):
                return False
        elif body[name] != value:
            return False
    return True
