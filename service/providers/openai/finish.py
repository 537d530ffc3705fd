"""Why a model ended, in the contract's words. Pure."""

from __future__ import annotations

import re

from service.errors import Interrupted, Malformed
from service.providers.openai import wire
from service.providers.openai.errors import error_within_answer

_SYNONYMS = {
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "eos": "stop",  # text-generation-inference, Together
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}
# Mistral and OpenRouter; DeepSeek; vLLM. None of them is an end that a caller may take for one.
_FAILURES = {"error", "insufficient_system_resource", "abort"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def finish_reason_of(provider: str, choice: wire.Choice) -> str | None:
    """The finish reason; None where the choice has none, or an empty one (Snowflake).

    A reason that is not known here is passed on by its name.

    Raises:
        UpstreamError: The choice reports a failure, by an error or by its reason.
        Malformed: The reason is no name.
    """
    if choice.error:
        raise error_within_answer(provider, choice.error)
    reason = choice.finish_reason
    if not reason:
        return None
    if reason in _FAILURES:
        raise Interrupted("The provider reports that it broke the answer off.", metadata={"provider": provider})
    if not _NAME.fullmatch(reason):
        raise Malformed("The provider's finish reason is no name.", metadata={"provider": provider})
    return _SYNONYMS.get(reason, reason)
