"""The context of a trace as it is passed on: the headers `traceparent` and `tracestate`. Pure.

Source: https://www.w3.org/TR/trace-context/ (Recommendation of 2021-11-23; read 2026-11-22).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_PARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 1
_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS: Final = 32
_MOST_STATE: Final = 512
"""Characters; everybody has to pass on that many, and nobody more."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace a call was made."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """Of the caller's span: 16 hexadecimal digits."""
    is_sampled: bool
    """Whether the caller records the trace."""
    state: str = ""
    """What tracing systems tell each other beside it; passed on as it is."""


def read_context(parent: str, state: str) -> TraceContext | None:
    """The context that the two headers tell; None where `parent` is malformed: then it counts as absent.

    Args:
        parent: The header `traceparent`.
        state: The header `tracestate`; of several, the values with commas between them. Malformed, it is dropped
            alone, as the specification asks for.
    """
    found = _PARENT.fullmatch(parent)
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if found["trace"] == _NO_TRACE or found["span"] == _NO_SPAN:
        return None
    is_sampled = bool(int(found["flags"], 16) & _SAMPLED)
    return TraceContext(found["trace"], found["span"], is_sampled, _checked(state) if state else "")


def parent_header(trace_id: str, span_id: str, *, is_sampled: bool) -> str:
    """The header `traceparent` that makes what is asked a child of that span."""
    return f"00-{trace_id}-{span_id}-{'01' if is_sampled else '00'}"


def _checked(state: str) -> str:
    members = [member for member in (each.strip(" \t") for each in state.split(",")) if member]
    if len(members) > _MOST_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    if len({member.partition("=")[0] for member in members}) != len(members):
        return ""
    checked = ",".join(members)
    return checked if len(checked) <= _MOST_STATE else ""
