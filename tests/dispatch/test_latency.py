"""What is known of how fast a target was lately."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dispatch.latency import LatencyWindow
from tests.dispatch.clock import Clock


def recorded(*durations: float, clock: Clock | None = None, size: int = 128) -> LatencyWindow:
    window = LatencyWindow(size, clock or Clock())
    for seconds in durations:
        window.record(seconds)
    return window


def test_nothing_is_known_before_the_first() -> None:
    window = recorded()
    assert (window.p95, window.mean, window.untried_s) == (None, None, math.inf)


@pytest.mark.parametrize(("count", "p95"), [(19, None), (20, 19.0), (21, 20.0), (40, 38.0), (100, 95.0), (128, 122.0)])
def test_p95_is_what_95_of_100_needed_at_most(count: int, p95: float | None) -> None:
    assert recorded(*map(float, range(count, 0, -1))).p95 == p95


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.floats(0, 100), min_size=20, max_size=200))
def test_p95_is_of_the_last_ones_alone(durations: list[float]) -> None:
    size = 30
    last = sorted(durations[-size:])
    assert recorded(*durations, size=size).p95 == last[math.ceil(0.95 * len(last)) - 1]


def test_the_first_measurement_is_the_mean() -> None:
    assert recorded(3.0).mean == 3.0


def test_a_single_outlier_moves_the_mean_by_a_tenth() -> None:
    assert recorded(1.0, 11.0).mean == pytest.approx(2.0)


def test_the_mean_follows_what_becomes_fast() -> None:
    mean = recorded(*[10.0] * 50, *[1.0] * 40).mean
    assert mean is not None
    assert 1.0 < mean < 1.2


@pytest.mark.parametrize(("pause_s", "mean"), [(0, 9.1), (30, 5.5), (60, 3.25), (3600, 1.0)])
def test_after_a_pause_the_new_measurement_counts_the_more(pause_s: float, mean: float) -> None:
    clock = Clock()
    window = recorded(10.0, clock=clock)
    clock.advance(pause_s)
    window.record(1.0)
    assert window.mean == pytest.approx(mean)


def test_a_try_counts_until_its_measurement() -> None:
    clock = Clock()
    window = LatencyWindow(clock=clock)
    window.mark_tried()
    assert (window.untried_s, window.mean) == (0.0, None)
    clock.advance(20)
    assert window.untried_s == 20.0
    window.record(20.0)
    assert window.untried_s == 0.0


def test_a_try_does_not_make_the_last_measurement_newer() -> None:
    clock = Clock()
    window = recorded(10.0, clock=clock)
    clock.advance(60)
    window.mark_tried()
    window.record(1.0)
    assert window.mean == pytest.approx(3.25)
