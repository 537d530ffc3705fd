"""Why a model ended, in the contract's words. Pure.

Source: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons (2026-11-22).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from service.errors import Malformed
from service.providers.anthropic import wire

_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Finish:
    """Why an answer ended."""

    reason: str
    """In the contract's words."""
    native: str | None
    """The provider's own word, where it is another."""
    stop_sequence: str | None
    details: dict[str, Any] | None
    """Category and explanation of a refusal."""


def finish_of(provider: str, end: wire.MessageEnd | wire.Message, *, is_schema_answer: bool) -> Finish:
    """Read why an answer ended. A reason that is not known here is passed on by its name.

    Args:
        provider: The provider's name in the configuration.
        end: With a stop reason.
        is_schema_answer: Whether the only tool that was called is the one that stands for `response_format`.

    Raises:
        Malformed: There is no stop reason, or it is no name.
    """
    native = end.stop_reason
    if native is None or not _NAME.fullmatch(native):
        message = "The provider's answer has no stop reason, or none that is a name."
        raise Malformed(message, metadata={"provider": provider})
    reason = "stop" if native == "tool_use" and is_schema_answer else _REASONS.get(native, native)
    return Finish(reason, native if native != reason else None, end.stop_sequence or None, end.stop_details)
