"""Sums up what several turns used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from service._gen.parley.v1.chat_completion_pb2 import CompletionTokensDetails, PromptTokensDetails, Usage

_MOST: Final = 2**32 - 1
"""What a count of the contract holds."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

_Counted = Usage | PromptTokensDetails | CompletionTokensDetails


def spent(turns: Sequence[Usage | None]) -> Usage | None:
    """What the turns used; None where there is none, or one of them does not tell."""
    told = [usage for usage in turns if usage is not None]
    return summed(told) if told and len(told) == len(turns) else None


def summed(usages: Sequence[Usage]) -> Usage:
    """What all of them used, at least one.

    A count is present where any of them tells it. The cost is that of all, and absent where that of one is.
    """
    total = Usage()
    _sum_counts(total, usages, _COUNTS)
    prompts = [usage.prompt_tokens_details for usage in usages if usage.HasField("prompt_tokens_details")]
    if prompts:
        _sum_counts(total.prompt_tokens_details, prompts, PromptTokensDetails.DESCRIPTOR.fields_by_name)
    answers = [usage.completion_tokens_details for usage in usages if usage.HasField("completion_tokens_details")]
    if answers:
        _sum_counts(total.completion_tokens_details, answers, CompletionTokensDetails.DESCRIPTOR.fields_by_name)
    for usage in usages:
        for name, count in usage.server_tool_use.items():
            total.server_tool_use[name] = min(total.server_tool_use[name] + count, _MOST)
    if all(usage.HasField("cost_usd") for usage in usages):
        # In decimals, as one does by hand: 0.1 and 0.2 dollars are 0.3.
        total.cost_usd = float(sum((Decimal(str(usage.cost_usd)) for usage in usages), Decimal(0)))
    return total


def _sum_counts(total: _Counted, parts: Sequence[_Counted], names: Iterable[str]) -> None:
    total.SetInParent()
    for name in names:
        told = [getattr(part, name) for part in parts if part.HasField(name)]  # type: ignore[arg-type]  # names of it
        if told:
            setattr(total, name, min(sum(told), _MOST))
