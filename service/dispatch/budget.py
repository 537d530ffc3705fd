"""How many extra requests may be sent: a share of the calls. Pure."""

from __future__ import annotations

_PARTS = 1_000_000
"""Credit is counted in whole millionths of a request: five deposits of 0.2 are exactly one."""
_CALLS_CREDITED = 1000
"""What these last calls granted can be spent at once. A call deposits when it begins and withdraws when it
fails, so less than a target's calls in flight (1000 by default) would lose the share of calls that still run
when their provider drops them all; without a bound, the credit of a quiet night would pay for a storm."""


class Budget:
    """Of n calls, at most `share` * n + `reserve` get an extra request.

    Args:
        share: Extra requests per call, 0 to 1; 0 forbids them all, whatever the reserve.
        reserve: Extra requests that are granted ahead of any call, so that a model with few calls gets some.
    """

    def __init__(self, share: float, reserve: float = 10.0) -> None:
        self._deposit = round(share * _PARTS)
        reserved = round(reserve * _PARTS) if self._deposit else 0
        self._most = max(reserved, self._deposit * _CALLS_CREDITED)
        self._credit = reserved

    def deposit(self) -> None:
        """Count a call; once for each."""
        self._credit = min(self._credit + self._deposit, self._most)

    def withdraw(self) -> bool:
        """Whether an extra request may be sent, which then has to be."""
        if self._credit < _PARTS:
            return False
        self._credit -= _PARTS
        return True
