"""What a completion cost, by its usage and the model's prices. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeAlias

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.catalogue import LongContextPrices, Prices

_STANDARD_TIERS: Final = frozenset({"auto", "default", "standard", "on_demand", "unspecified"})
"""Processing classes at the list price, by the names of OpenAI (auto, default), Anthropic and Gemini (standard),
Vertex (ON_DEMAND) and Groq (on_demand), and Gemini's word for none. Others (flex, priority, batch …) have prices
of their own.

Source: https://developers.openai.com/api/docs/pricing, https://ai.google.dev/gemini-api/docs/pricing (2026-11-22),
and the recordings, which have all but "auto" and "unspecified"."""

_Part: TypeAlias = tuple[int, float | None]
"""A number of tokens and their price."""


def cost_usd(usage: Usage, prices: Prices, service_tier: str | None) -> float | None:
    """Reckon the cost of the tokens, in US dollars; None where a part of it is not known.

    Not known is the cost where

    - the provider did not count the prompt or the answer, or counts parts that are more than the whole,
    - something was used that has no price here: cached tokens, cache writes, sound …; images that the model
      made never have one,
    - tools of the provider's own ran, which cost by the call, and some not the tokens that they found,
    - sound was used at a price of its own along with the cache: how much of it was cached is not told,
    - the processing class is none of the standard ones.

    Not in it is what no usage shows: the storage of caches (Gemini), a surcharge for a region.

    Args:
        usage: What was used; the parts of prompt and answer are counted in their totals, too.
        prices: The model's.
        service_tier: The processing class that was used, if the provider tells.
    """
    if service_tier is not None and service_tier.lower() not in _STANDARD_TIERS:
        return None
    if not (usage.HasField("prompt_tokens") and usage.HasField("completion_tokens")):
        return None
    if any(usage.server_tool_use.values()) or usage.prompt_tokens_details.tool_use_tokens:
        return None
    if usage.completion_tokens_details.image_tokens:
        return None
    long = prices.long_context
    rates = long if long is not None and usage.prompt_tokens > long.above_tokens else prices
    prompt = _prompt_parts(usage, rates, prices)
    if prompt is None:
        return None
    answer = _answer_parts(usage, rates, prices)
    return _total([*prompt, *answer])


def price(usage: Usage, prices: Prices | None, service_tier: str | None) -> None:
    """Put the cost into a usage that does not tell it, where it is known; see `cost_usd`."""
    if prices is None or usage.HasField("cost_usd"):
        return
    cost = cost_usd(usage, prices, service_tier)
    if cost is not None:
        usage.cost_usd = cost


def _prompt_parts(usage: Usage, rates: Prices | LongContextPrices, prices: Prices) -> list[_Part] | None:
    details = usage.prompt_tokens_details
    cached, written, sound = details.cached_tokens, details.cache_write_tokens, details.audio_tokens
    if prices.audio_input == prices.input:
        sound = 0  # it costs what text costs, a long prompt's, too
    elif sound and (cached or written):
        return None
    return [
        (usage.prompt_tokens - cached - written - sound, rates.input),
        (cached, rates.cached_input),
        (written - details.cache_write_1h_tokens, rates.cache_write),
        (details.cache_write_1h_tokens, rates.cache_write_1h),
        (sound, prices.audio_input),
    ]


def _answer_parts(usage: Usage, rates: Prices | LongContextPrices, prices: Prices) -> list[_Part]:
    sound = usage.completion_tokens_details.audio_tokens
    return [(usage.completion_tokens - sound, rates.output), (sound, prices.audio_output)]


def _total(parts: list[_Part]) -> float | None:
    """Sum up, in decimals, as one does by hand: 100,000 tokens at 0.3 and at 0.1 dollars are 0.04."""
    dollars = Decimal(0)
    for tokens, price in parts:
        if tokens < 0 or (tokens and price is None):
            return None
        if tokens:
            dollars += tokens * Decimal(str(price)) / 1_000_000
    return float(dollars)
