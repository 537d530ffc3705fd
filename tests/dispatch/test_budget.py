"""Extra requests are a share of the calls, whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dispatch.budget import Budget


def granted(budget: Budget, asked: int) -> int:
    return sum(budget.withdraw() for _ in range(asked))


@settings(deadline=None)  # a busy machine is no failure
@given(
    share=st.floats(0, 1),
    reserve=st.integers(0, 20),
    rounds=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))),
)
def test_extra_requests_are_never_more_than_the_share_and_the_reserve(
    share: float, reserve: int, rounds: list[tuple[int, int]]
) -> None:
    budget = Budget(share, reserve)
    calls = extra = 0
    for new_calls, asked in rounds:
        for _ in range(new_calls):
            budget.deposit()
        calls += new_calls
        extra += granted(budget, asked)
        assert extra <= round(share, 6) * calls + reserve + 1e-6


@pytest.mark.parametrize(("share", "extra"), [(0.1, 100), (0.2, 200), (0.3, 300), (1, 1000), (0.001, 1)])
def test_the_share_is_granted_to_the_last_request(share: float, extra: int) -> None:
    budget = Budget(share, reserve=0)
    for _ in range(1000):
        budget.deposit()
    assert granted(budget, 2000) == extra


def test_a_model_with_few_calls_has_the_reserve() -> None:
    budget = Budget(0.2, reserve=3)
    assert granted(budget, 5) == 3
    for _ in range(5):
        budget.deposit()
    assert granted(budget, 5) == 1


def test_calls_that_all_fail_get_their_share_and_no_more() -> None:
    budget = Budget(0.2)
    extra = 0
    for _ in range(10_000):
        budget.deposit()
        extra += budget.withdraw()
    assert extra == 10 + 2000


def test_a_quiet_night_saves_no_more_than_a_thousand_calls_granted() -> None:
    budget = Budget(0.2)
    for _ in range(100_000):
        budget.deposit()
    assert granted(budget, 10_000) == 200


def test_the_reserve_is_filled_again_where_the_share_is_small() -> None:
    budget = Budget(0.001, reserve=10)
    assert granted(budget, 20) == 10
    for _ in range(100_000):
        budget.deposit()
    assert granted(budget, 20) == 10


def test_a_share_of_nothing_grants_nothing() -> None:
    budget = Budget(0)
    budget.deposit()
    assert granted(budget, 20) == 0
