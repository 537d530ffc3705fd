"""How long a repeat waits."""

from __future__ import annotations

from random import Random

import pytest

from service.dispatch.backoff import backoff_s
from service.limits import Retries

SETTINGS = Retries(backoff_s=0.5, max_backoff_s=3)


def waits(repeat_number: int, retry_after_s: float | None = None) -> list[float]:
    """What a thousand callers would wait; none gives up."""
    random = Random(1)
    every = [backoff_s(SETTINGS, repeat_number, retry_after_s, random) for _ in range(1000)]
    return [each for each in every if each is not None]


@pytest.mark.parametrize(("repeat_number", "most_s"), [(1, 0.5), (2, 1), (3, 2), (4, 3), (5, 3), (10, 3)])
def test_it_doubles_up_to_the_longest_and_is_spread_over_the_upper_part(repeat_number: int, most_s: float) -> None:
    every = waits(repeat_number)
    assert len(every) == 1000
    assert 0.7 * most_s <= min(every) < 0.72 * most_s
    assert 0.98 * most_s < max(every) <= most_s
    assert len(set(every)) > 900


@pytest.mark.parametrize("repeat_number", [1, 4])
def test_what_the_provider_asks_for_is_waited_for_in_full_and_a_little_longer(repeat_number: int) -> None:
    every = waits(repeat_number, 2.0)
    assert 2.0 <= min(every) < 2.02
    assert 2.18 < max(every) <= 2.2


def test_a_short_time_that_the_provider_tells_is_taken_at_its_word() -> None:
    assert max(waits(1, 0.02)) <= 0.022


@pytest.mark.parametrize("retry_after_s", [0, -1.0])
def test_a_provider_that_asks_for_no_time_is_still_not_asked_at_once(retry_after_s: float) -> None:
    assert min(waits(1, retry_after_s)) >= 0.25


def test_no_wait_is_longer_than_the_longest() -> None:
    assert set(waits(1, 3.0)) == {3.0}
    assert waits(1, 3.01) == []
    assert waits(1, float("inf")) == []
