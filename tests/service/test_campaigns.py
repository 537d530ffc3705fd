"""Campaigns: shares of the arms, who stays where, and when they run."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.errors import Reason, RequestError
from service.projects.campaign import Arm, Campaign
from service.projects.project import Project
from service.projects.resolving import choose
from tests.support.envoy import ROOT

USERS = [f"user-{number}" for number in range(100_000)]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ID = "0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21"


def campaign_of(weights: dict[str, float], project: str = "support", key: str = "trial") -> Campaign[str]:
    return Campaign(project, key, {name: Arm(name, "fast", weight) for name, weight in weights.items()})


def assigned(campaign: Campaign[str]) -> list[str]:
    return [campaign.arm_for(user).name for user in USERS]


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1.0, "b": 1.0},
        {"a": 90.0, "b": 10.0},
        {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0},
        {"a": 0.001, "b": 0.003},
        {"a": 1_000_000.0, "b": 1.0},
        {"only": 5.0},
    ],
    ids=str,
)
def test_an_arms_share_of_users_is_its_weight(weights: dict[str, float]) -> None:
    found = Counter(assigned(campaign_of(weights)))

    for name, weight in weights.items():
        assert abs(found[name] / len(USERS) - weight / sum(weights.values())) < 0.01


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0, "new": 1.0}, id="a third of three"),
        pytest.param({"a": 90.0, "b": 10.0}, {"new": 5.0, "b": 10.0, "a": 90.0}, id="a small one, written first"),
    ],
)
def test_an_arm_that_is_added_takes_its_share_from_all_alike_and_moves_nobody_else(
    before: dict[str, float], after: dict[str, float]
) -> None:
    was, is_now = assigned(campaign_of(before)), assigned(campaign_of(after))
    moved = Counter((old, new) for old, new in zip(was, is_now, strict=True) if old != new)

    assert {new for _, new in moved} == {"new"}
    for name, weight in before.items():
        lost = moved[(name, "new")] / len(USERS)
        fair = after["new"] / sum(after.values()) * weight / sum(before.values())
        assert abs(lost - fair) < 0.01


def test_an_arm_that_is_removed_gives_its_users_to_the_others_and_moves_nobody_else() -> None:
    was, is_now = assigned(campaign_of({"a": 1, "b": 1, "c": 2})), assigned(campaign_of({"a": 1, "b": 1}))

    assert all(old == "c" for old, new in zip(was, is_now, strict=True) if old != new)


def test_another_weight_moves_no_more_than_it_must() -> None:
    was, is_now = assigned(campaign_of({"a": 50, "b": 50})), assigned(campaign_of({"a": 60, "b": 50}))
    moved = {(old, new) for old, new in zip(was, is_now, strict=True) if old != new}

    assert moved == {("b", "a")}


def test_weights_are_shares_of_each_other_alone() -> None:
    assert assigned(campaign_of({"a": 1, "b": 3})) == assigned(campaign_of({"b": 75, "a": 25}))


def test_campaigns_are_independent_of_each_other() -> None:
    first = assigned(campaign_of({"a": 1, "b": 1}))
    for other in (campaign_of({"a": 1, "b": 1}, key="other"), campaign_of({"a": 1, "b": 1}, project="sales")):
        pairs = Counter(zip(first, assigned(other), strict=True))
        assert all(abs(count / len(USERS) - 0.25) < 0.01 for count in pairs.values())


ASSIGNED = {
    "user-1": "b",
    "user-4": "c",
    "user-5": "a",
    "": "b",
    "jürgen": "b",
    "0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21": "b",
}
"""Written down: a change of the hash would move users of campaigns that run."""


@pytest.mark.parametrize(("unit", "arm"), ASSIGNED.items())
def test_the_hash_stays_as_it_is(unit: str, arm: str) -> None:
    assert campaign_of({"a": 1, "b": 2, "c": 3}).arm_for(unit).name == arm


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_every_process_assigns_alike(hash_seed: str) -> None:
    code = (
        "from tests.service.test_campaigns import ASSIGNED, campaign_of\n"
        "print([campaign_of({'c': 3, 'b': 2, 'a': 1}).arm_for(unit).name for unit in ASSIGNED])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": ".", "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == str(list(ASSIGNED.values()))


@pytest.mark.parametrize(
    ("start", "end", "is_running"),
    [
        (None, None, True),
        (NOON, None, True),
        (None, NOON, False),
        (NOON - timedelta(seconds=1), NOON + timedelta(seconds=1), True),
        (NOON + timedelta(seconds=1), None, False),
        (None, NOON + timedelta(microseconds=1), True),
        # The same moment as noon, and a second later, on another clock.
        (datetime(2026, 11, 22, 14, tzinfo=timezone(timedelta(hours=2))), None, True),
        (datetime(2026, 11, 22, 14, 0, 1, tzinfo=timezone(timedelta(hours=2))), None, False),
    ],
)
def test_a_campaign_runs_from_its_start_until_its_end(
    start: datetime | None, end: datetime | None, *, is_running: bool
) -> None:
    assert Campaign("p", "c", {"a": Arm("a", "m")}, start=start, end=end).is_running(NOON) is is_running


def project_of_campaigns(*campaigns: Campaign[str]) -> Project[str, None]:
    return Project("support", "fast", {"fast": "m"}, {each.key: each for each in campaigns})


def chosen(project: Project[str, None] | None, named: str, **given: str) -> tuple[str, str] | None:
    choice = choose(project, named, completion_id=given.pop("completion_id", "completion"), now=NOON, **given)
    return None if choice is None else (choice.campaign.key, choice.arm.name)


ARMS = {name: Arm[str](name, "fast", 1) for name in "abcdefgh"}
TRIAL = Campaign("support", "trial", ARMS, ID)
PROJECT = project_of_campaigns(TRIAL, Campaign("support", "over", ARMS, end=NOON), Campaign("support", "Trial", ARMS))


@pytest.mark.parametrize(
    ("named", "key"), [("trial", "trial"), (ID, "trial"), (ID.upper(), "trial"), ("Trial", "Trial")]
)
def test_a_campaign_is_named_by_its_key_or_its_id(named: str, key: str) -> None:
    choice = chosen(PROJECT, named, user="u")

    assert choice is not None
    assert choice[0] == key


@pytest.mark.parametrize("project", [PROJECT, None], ids=["of a project", "of none"])
def test_without_a_campaign_nothing_is_chosen(project: Project[str, None] | None) -> None:
    assert chosen(project, "") is None


def test_outside_its_time_a_campaign_chooses_nothing() -> None:
    assert chosen(PROJECT, "over", user="u") is None


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ({"user": "user-4", "session_id": ID, "completion_id": "c"}, "user-4"),
        ({"user": "", "session_id": ID, "completion_id": "c"}, ID),
        ({"session_id": ID.upper(), "completion_id": "c"}, ID),
        ({"completion_id": "c"}, "c"),
    ],
)
def test_the_unit_is_the_user_else_the_session_else_the_completion(given: dict[str, str], unit: str) -> None:
    units = {each: TRIAL.arm_for(each).name for each in ("user-4", ID, ID.upper(), "c")}
    assert len(set(units.values())) == len(units)  # or the test could not tell one from the other

    assert chosen(PROJECT, "trial", **given) == ("trial", units[unit])


@pytest.mark.parametrize(
    ("project", "message"),
    [
        (PROJECT, "The project `support` has no campaign of that id or key."),
        (
            None,
            (
                "Campaigns belong to projects, and the request's `model` is none of a project's: name it as PROJECT "
                "or PROJECT/MODEL."
            ),
        ),
    ],
)
@pytest.mark.parametrize("named", ["other", "TRIAL", " trial", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_campaign_is_refused(project: Project[str, None] | None, message: str, named: str) -> None:
    with pytest.raises(RequestError) as raised:
        chosen(project, named)

    error = raised.value
    assert (error.reason, error.param, error.message) == (Reason.CAMPAIGN_NOT_FOUND, "ab_campaign", message)
