"""How `x-parley-dropped-params` names what errors name by its place."""

from __future__ import annotations

import re


def unplaced(param: str) -> str:
    """`messages[].name` for `messages[3].name`."""
    return re.sub(r"\[\d+\]", "[]", param)
