"""How fast a target was lately. Pure but for the clock."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable

_LEAST_SAMPLES = 20
"""The fewest of which 95 of 100 leave one out."""
_LEAST_WEIGHT = 0.1
"""Of a new measurement in the mean, at the least: about the last ten count."""
_HALF_LIFE_S = 30.0
"""A mean that is so old counts as much as the new measurement: what was measured before a pause says little."""
_STALE_S = 60.0
"""A mean that is so old is no reason against asking: a target that was slow would never be seen to be fast again."""


class LatencyWindow:
    """The last durations of one kind.

    Args:
        size: How many are kept for `p95`.
        clock: Seconds, never running backwards.
    """

    def __init__(self, size: int = 128, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []  # the same durations, so that p95 is a look-up
        self._mean: float | None = None
        self._measured_at = -math.inf
        self._tried_at = -math.inf

    def record(self, seconds: float) -> None:
        """Count a duration; one that a timeout ended counts as what it took."""
        if len(self._recent) == self._size:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        now = self._clock()
        weight = max(_LEAST_WEIGHT, 1 - 0.5 ** ((now - self._measured_at) / _HALF_LIFE_S))
        self._mean = seconds if self._mean is None else self._mean + weight * (seconds - self._mean)
        self._measured_at = self._tried_at = now

    def mark_tried(self) -> None:
        """Note that a call has been sent to find out, so that no second one is meanwhile."""
        self._tried_at = self._clock()

    @property
    def p95(self) -> float | None:
        """What 95 of 100 needed at most; None while too little is known."""
        return self._quantile(0.95)

    @property
    def median(self) -> float | None:
        """What half of the calls needed at most; None while too little is known. A few outliers don't change it."""
        return self._quantile(0.5)

    @property
    def mean(self) -> float | None:
        """The mean, in which the latest count most; None before the first."""
        return self._mean

    @property
    def expected_s(self) -> float:
        """What the next is likely to take, the mean; 0 where nothing is known of the last minute."""
        if self._mean is None or self._clock() - self._measured_at >= _STALE_S:
            return 0.0
        return self._mean

    @property
    def untried_s(self) -> float:
        """Seconds since the last measurement, or the last call that was to bring one; infinite before the first."""
        return self._clock() - self._tried_at

    def _quantile(self, share: float) -> float | None:
        if len(self._sorted) < _LEAST_SAMPLES:
            return None
        return self._sorted[math.ceil(share * len(self._sorted)) - 1]
