"""Why a model ended, in the contract's words. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from service.errors import Interrupted, Malformed
from service.providers.openai import wire
from service.providers.openai.errors import error_within_answer
from service.providers.openai.origin import Origin


class Finish(NamedTuple):
    """How an answer ended."""

    reason: str
    native: str | None = None
    """The provider's own word, where it is another."""
    stop_sequence: str | None = None
    """Which of the request's stop sequences ended it, where the provider tells."""


_SYNONYMS = {
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "model_context_window_exceeded": "length",  # Z.ai
    "eos": "stop",  # text-generation-inference, Together
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "sensitive": "content_filter",  # Z.ai
}
# Mistral and OpenRouter; DeepSeek; vLLM; Z.ai. None of them is an end that a caller may take for one.
_FAILURES = {"error", "insufficient_system_resource", "abort", "network_error"}
_PLAIN = {reason: Finish(reason) for reason in ("stop", "length", "tool_calls", "content_filter", "function_call")}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def finish_of(origin: Origin, choice: wire.Choice) -> Finish | None:
    """How the choice ended; None where it has no reason, or an empty one (Snowflake).

    A reason that is not known here is passed on by its name.

    Raises:
        UpstreamError: The choice reports a failure, by an error or by its reason.
        Malformed: The reason is no name.
    """
    if choice.error:
        raise error_within_answer(origin.provider, choice.error, origin.dialect.error_reasons)
    own = choice.finish_reason
    if not own:
        return None
    if own in _PLAIN and choice.native_finish_reason is choice.stop_reason is choice.matched_stop is None:
        return _PLAIN[own]
    metadata = {"provider": origin.provider}
    if own in _FAILURES:
        raise Interrupted("The provider reports that it broke the answer off.", metadata=metadata)
    if not _NAME.fullmatch(own):
        raise Malformed("The provider's finish reason is no name.", metadata=metadata)
    reason = _SYNONYMS.get(own, own)
    native = choice.native_finish_reason
    if not isinstance(native, str) or not _NAME.fullmatch(native):
        native = own
    # Where the word means something else, as "end_turn" does beside a finish reason, it is none of the request's.
    stops = (stop for stop in (choice.stop_reason, choice.matched_stop) if isinstance(stop, str))
    sequence = next((stop for stop in stops if stop in origin.stops), None)
    return Finish(reason, native if native != reason else None, sequence)
