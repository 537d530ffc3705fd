"""What an OpenAI-compatible provider says was used, and what it cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from service.providers.openai import wire
from service.providers.openai.dialect import Dialect

_TICKS_PER_DOLLAR: Final = 10_000_000_000
"""Source: https://docs.x.ai/developers/cost-tracking (2026-11-22)."""
_MOST: Final = 2**32 - 1
_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_DETAILS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "prompt_tokens_details": wire.PromptTokensDetails,
    "completion_tokens_details": wire.CompletionTokensDetails,
}


def usage_of(answer: wire.Completion, dialect: Dialect) -> dict[str, Any] | None:
    """The fields of the contract's `Usage`, wherever the provider tells the tokens used."""
    usage = answer.usage if isinstance(answer.usage, wire.Usage) else _read(answer.usage)
    usage = usage or (_read(answer.x_groq.usage) if answer.x_groq else None)
    if usage is None:
        return None
    completion = usage.completion_tokens_details
    tokens_in = usage.prompt_tokens or 0
    tokens_out = _completion_tokens(usage)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out if usage.total_tokens is None else usage.total_tokens,
        "prompt_tokens_details": _prompt_details(usage),
        "completion_tokens_details": msgspec.structs.asdict(completion) if completion else None,
        "cost_usd": _cost_usd(usage, dialect),
        "server_tool_use": _server_tool_use(usage),
    }


def _read(told: Any) -> wire.Usage | None:
    """What can be read of it: an odd number is no reason to fail an answer that is there."""
    if not isinstance(told, dict):
        return None
    try:
        return msgspec.convert(told, wire.Usage)
    except msgspec.ValidationError:
        return _readable(told, wire.Usage)


def _readable(told: Mapping[str, Any], form: type[_Struct]) -> _Struct:
    members: dict[str, Any] = {}
    for field in msgspec.structs.fields(form):
        value = told.get(field.name)
        if field.name in _DETAILS and isinstance(value, dict):
            members[field.name] = _readable(value, _DETAILS[field.name])
            continue
        with suppress(msgspec.ValidationError):
            members[field.name] = msgspec.convert(value, field.type, strict=False)  # 1.0 is a count, too
    return form(**members)


def _completion_tokens(usage: wire.Usage) -> int:
    """Tokens of the answers with those of reasoning, which xAI counts apart, as its total shows."""
    tokens = usage.completion_tokens or 0
    details = usage.completion_tokens_details
    reasoning = (details.reasoning_tokens if details else None) or 0
    is_apart = bool(reasoning) and usage.total_tokens == (usage.prompt_tokens or 0) + tokens + reasoning
    return tokens + reasoning if is_apart else tokens


def _prompt_details(usage: wire.Usage) -> dict[str, Any] | None:
    given = usage.prompt_tokens_details
    details = msgspec.structs.asdict(given) if given else {}
    for cached in (usage.prompt_cache_hit_tokens, usage.num_cached_tokens, usage.cached_tokens):
        if cached is not None and details.get("cached_tokens") is None:
            details["cached_tokens"] = cached
    return details if given or details else None


def _cost_usd(usage: wire.Usage, dialect: Dialect) -> float | None:
    if _is_amount(usage.cost_in_usd_ticks):
        return float(usage.cost_in_usd_ticks / _TICKS_PER_DOLLAR)
    if not dialect.tells_cost or not _is_amount(usage.cost):
        return None
    if not usage.is_byok:
        return float(usage.cost)
    # With a key of the caller's own at the provider, OpenRouter's cost is its fee alone.
    upstream = usage.cost_details.get("upstream_inference_cost") if isinstance(usage.cost_details, dict) else None
    return float(usage.cost + upstream) if _is_amount(upstream) else None


def _server_tool_use(usage: wire.Usage) -> Mapping[str, int] | None:
    """How often the provider ran tools, by its names; what it did not run is not told."""
    if usage.num_sources_used is usage.server_tool_use_details is usage.server_side_tool_usage_details is None:
        return None
    counts: dict[str, Any] = {"num_sources_used": usage.num_sources_used}
    for details in (usage.server_tool_use_details, usage.server_side_tool_usage_details):
        if isinstance(details, dict):
            counts |= details
    return {name: count for name, count in counts.items() if _is_count(count)}


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST
