"""How parameters are told to APIs that know them in another form: what `Dialect.translations` holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.json_values import Json
from service.providers.openai.dialect import Body, Translation


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
    """OpenRouter's `reasoning` where an API knows the effort alone.

    Beside an effort, `enabled` says nothing more: that they agree has been checked.
    """
    match _said(reasoning):
        case {"effort": str(effort), "enabled": bool(), **rest} | {"effort": str(effort), **rest} if not rest:
            return {"reasoning_effort": effort}
        case {"enabled": False, **rest} if not rest:
            return {"reasoning_effort": "none"}
        case {**rest} if not rest:
            return {}
        case _:
            return None


def effort_or_switch(path: str) -> Translation:
    """`reasoning_effort` where not to reason is said by a switch at the path, and not by an effort."""
    return lambda effort: at(path, "disabled") if effort == "none" else {"reasoning_effort": effort}


def reasoning_or_switch(path: str) -> Translation:
    """OpenRouter's `reasoning`, likewise."""

    def translate(reasoning: Json) -> Body | None:
        if _said(reasoning) == {"enabled": True}:
            return at(path, "enabled")
        body = effort_of_reasoning(reasoning)
        return at(path, "disabled") if body == {"reasoning_effort": "none"} else body

    return translate


def _said(reasoning: Json) -> dict[str, Json]:
    """The members without those that say nothing, or what is so anyway."""
    members = reasoning if isinstance(reasoning, dict) else {}
    return {name: value for name, value in members.items() if value is not None and (name, value) != ("exclude", False)}


def thinking_as_reasoning(thinking: Json) -> Body | None:
    """Anthropic's `thinking` as OpenRouter's `reasoning`."""
    match thinking:
        case {"type": "enabled", "budget_tokens": int(budget), **rest} if not rest:
            return {"reasoning": {"max_tokens": budget}}
        case {"type": "enabled" | "adaptive", **rest} if not rest:
            return {"reasoning": {"enabled": True}}
        case {"type": "disabled", **rest} if not rest:
            return {"reasoning": {"enabled": False}}
        case {**rest} if not rest:
            return {}
        case _:
            return None


def thinking_as_switch(thinking: Json) -> Body | None:
    """Anthropic's `thinking`, where an API knows of OpenRouter's `reasoning` the switch alone."""
    match thinking:
        case {"type": "enabled" | "adaptive" | "disabled" as kind, **rest} if not rest:
            return {"reasoning": {"enabled": kind != "disabled"}}
        case {**rest} if not rest:
            return {}
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
