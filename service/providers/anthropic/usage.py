"""The tokens that an answer used. Pure.

Source: https://platform.claude.com/docs/en/api/messages#usage (2026-11-22): the prompt's total is the
sum of `input_tokens`, `cache_read_input_tokens` and `cache_creation_input_tokens`; the counts of a
stream's `message_delta` are of the whole answer and replace those of its start.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service.providers.anthropic import wire

_COUNT_LIMIT: Final = 2**32
"""Of the contract's counts."""


def updated(usage: wire.Usage | None, later: wire.Usage | None) -> wire.Usage | None:
    """What is known after `later` was told; what it leaves out stays."""
    if usage is None or later is None:
        return later or usage
    told = {name: value for name, value in msgspec.structs.asdict(later).items() if value is not None}
    return msgspec.structs.replace(usage, **told)


def usage_of(usage: wire.Usage | None) -> pb.Usage | None:
    """The usage in the contract's form."""
    if usage is None:
        return None
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    tokens_in = (usage.input_tokens or 0) + (cached or 0) + (written or 0)
    tokens_out = usage.output_tokens or 0
    translated = pb.Usage(
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out,
        server_tool_use=_server_tool_use(usage),
    )
    written_1h = usage.cache_creation.ephemeral_1h_input_tokens if usage.cache_creation else None
    if (cached, written, written_1h) != (None, None, None):
        details = pb.PromptTokensDetails(
            cached_tokens=cached, cache_write_tokens=written, cache_write_1h_tokens=written_1h
        )
        translated.prompt_tokens_details.CopyFrom(details)
    if usage.output_tokens_details and usage.output_tokens_details.thinking_tokens is not None:
        translated.completion_tokens_details.reasoning_tokens = usage.output_tokens_details.thinking_tokens
    return translated


def _server_tool_use(usage: wire.Usage) -> dict[str, int]:
    """Counts of what is charged besides the tokens, steps by other models among them.

    Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool (2026-11-22), and
    recording anthropic/test_anthropic_advisor_tool, whose totals leave the advisor's tokens out.
    """
    told = (usage.server_tool_use or {}).items()
    counts = Counter({name: count for name, count in told if type(count) is int and 0 < count < _COUNT_LIMIT})
    counts.update(step.type for step in usage.iterations or () if step.type and step.type != "message")
    return dict(counts)


def service_tier_of(usage: wire.Usage | None) -> str | None:
    """The processing class; fast mode is one, since it has prices of its own."""
    if usage is None:
        return None
    return "fast" if usage.speed == "fast" else usage.service_tier or None
