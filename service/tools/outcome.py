"""What came of a call of a tool, as the model is told; and the reading of its arguments. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

_MAX_DEPTH: Final = 64
"""Objects and arrays within each other in a call's arguments; the SDK's serialiser goes to 255."""


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What the model is told of a call."""

    text: str
    is_error: bool
    duration_ms: int

    def __repr__(self) -> str:
        return f"ToolOutcome(is_error={self.is_error}, duration_ms={self.duration_ms})"


class ToolFailedError(Exception):
    """A call of a tool failed; the message is for the model, and may quote the tool's server but no secret."""


def read_arguments(arguments_json: str) -> dict[str, Any]:
    """The arguments as the model wrote them; blank text stands for none.

    Raises:
        ToolFailedError: They are no JSON object, or nested too deeply.
    """
    if not arguments_json.strip():
        return {}
    try:
        arguments = msgspec.json.decode(arguments_json, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise ToolFailedError("The tool was not called: its arguments must be one valid JSON object.") from None
    if _is_deeper(arguments, _MAX_DEPTH):
        raise ToolFailedError(f"The tool was not called: its arguments are nested more than {_MAX_DEPTH} levels deep.")
    return arguments


def limited(text: str, max_bytes: int) -> str:
    """The text as it is.

    Raises:
        ToolFailedError: It is larger than `max_bytes` in UTF-8.
    """
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_bytes:
        raise ToolFailedError(
            f"The tool's result is too large: it has {size} bytes, and {max_bytes} are allowed. Ask for less of it."
        )
    return text


def _is_deeper(value: object, levels: int) -> bool:
    match value:
        case dict():
            return not levels or any(_is_deeper(item, levels - 1) for item in value.values())
        case list():
            return not levels or any(_is_deeper(item, levels - 1) for item in value)
        case _:
            return False
