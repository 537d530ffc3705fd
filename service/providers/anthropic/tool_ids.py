"""Ids of tool calls in the form that the Messages API takes. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_TAKEN: Final = re.compile(r"[a-zA-Z0-9_-]+")
"""The API refuses every other id. Source: https://github.com/maximhq/bifrost/issues/5097 (2026-11-22)."""
_NOT_TAKEN: Final = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_KEPT: Final = 40
"""Characters of a rewritten id that are kept: enough to recognise it by."""


def tool_use_id(call_id: str) -> str:
    """The id itself, or a form of it: another provider's call may be named `functions.f:0`.

    The same for a call and for its result, and another one for every other id.
    """
    if _TAKEN.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode()).hexdigest()[:16]
    return f"{_NOT_TAKEN.sub('_', call_id[:_LONGEST_KEPT])}_{digest}"
