"""In what Parley's requests may differ from the recorded ones, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.recordings.bodies import (
    differences,
    normal_anthropic,
    normal_gemini,
    normal_openai,
    with_files_after_results,
    with_numbered_ids,
)
from tests.support.recordings import Interaction

Json = dict[str, Any]


@dataclass(frozen=True)
class Allowed:
    """A difference that is meant; `*` stands for anything in both patterns."""

    interactions: str
    """Of `provider/name:number`."""
    path: str
    """In the body's normal form; a list's index is written `#`, as in `messages#.content`."""
    reason: str


_USAGE = "Parley always asks for the usage of a stream"
_REASONS = "an effort asks for reasoning, which this model does only when it is told to"

ALLOWED: tuple[Allowed, ...] = (
    Allowed("groq/*:*", "stream_options", _USAGE),
    Allowed("anthropic/test_anthropic_explicit_effort_*:0", "thinking", _REASONS),
)
"""When the recorded conversation is asked as it was recorded."""


def normal(interaction: Interaction, body: Json) -> Json:
    """A body for that interaction's provider in its normal form."""
    match interaction.protocol:
        case "anthropic":
            return normal_anthropic(body)
        case "gemini":
            return with_numbered_ids(with_files_after_results(normal_gemini(body)))
        case "openai":
            return normal_openai(body)


def unexplained(
    interaction: Interaction, received: Json, allowed: tuple[Allowed, ...], used: set[Allowed]
) -> dict[str, str]:
    """The differences between the recorded body and the received one that no row allows, by path."""
    found = {}
    recorded = normal(interaction, interaction.request)
    for path, before, after in differences(recorded, normal(interaction, received)):
        rows = {row for row in allowed if _matches(row, interaction, path)}
        used |= rows
        if not rows:
            found[path] = shown(before, after)
    return found


def shown(before: Any, after: Any) -> str:
    """Two values that differ, cut to where they do so."""
    one, other = (value if isinstance(value, str) else repr(value) for value in (before, after))
    pairs = enumerate(zip(one, other, strict=False))
    same = next((place for place, (here, there) in pairs if here != there), min(len(one), len(other)))
    start = max(0, same - 20)
    return f"at {same}: {one[start : same + 100]!r} became {other[start : same + 100]!r}"


def _matches(row: Allowed, interaction: Interaction, path: str) -> bool:
    return fnmatchcase(interaction.id, row.interactions) and fnmatchcase(re.sub(r"\[\d+\]", "#", path), row.path)
