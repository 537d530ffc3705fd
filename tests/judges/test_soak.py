"""A short soak; `python -m tests.soak --minutes 10` is a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import Plan, soak


@pytest.mark.timeout(240)
async def test_a_thousand_streams_of_which_half_are_left(tmp_path: Path) -> None:
    result = await soak(Plan(streams=1000, rounds=5), tmp_path)

    assert result.complaints() == [], result.report()
    assert sum(each.completed for each in result.rounds) >= 5 * 500
    assert sum(each.left for each in result.rounds) > 5 * 300
