"""Objects of one call, made and thrown away with it."""

from __future__ import annotations

import msgspec


class Unspoken(msgspec.Struct, frozen=True):
    """A frozen record that holds what must not be told, so its `repr` has none of it.

    A Struct rather than a frozen dataclass: to make the nine of a call took 6 % of the instructions of a unary call.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
