"""The judge of expressions sees all that they ask for."""

from __future__ import annotations

import pytest

from tests.support.promql import grouped_by, selectors, without_variables


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", ["up{}"]),
        ('up{job=~"a|b", instance!="c"} == 0', ['up{job=~"a|b", instance!="c"}']),
        ("sum by (a, b) (rate(x_total[5m])) / sum without (c) (y:z)", ["x_total{}", "y:z{}"]),
        ("sum(x) by (a)", ["x{}"]),
        ("a and on (b) c or 2 * d{} unless ignoring (e) f offset 15m", ["a{}", "c{}", "d{}", "f{}"]),
        ('absent(up{job="}"}) # not this{}', ['up{job="}"}']),
        ("1.5e3 > bool vector(1) + time()", []),
        ("max_over_time(timestamp(increase(r[2m]) > 0)[1d:1m]) - 120", ["r{}"]),
    ],
)
def test_selectors_are_found(expression: str, expected: list[str]) -> None:
    assert [str(each) for each in selectors(expression)] == expected


def test_labels_of_groups_are_found() -> None:
    expression = 'sum by (a, b) (x{no="n"}) / on (c) group_left (d) sum without (e) (y)'

    assert grouped_by(expression) == {"a", "b", "c", "d", "e"}


def test_of_grafanas_variables_all_is_chosen() -> None:
    assert without_variables('rate(x{a=~"$a", b=~"${b}"}[$__rate_interval])') == 'rate(x{a=~".*", b=~".*"}[1m])'
