"""The rules for Prometheus: they are right in form, their unit tests pass, and each alert is tested and explained."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability.queries import BUDGET
from service.errors import Reason
from tests.support.envoy import ROOT
from tests.support.manifests import rendered
from tests.support.prometheus import promtool
from tests.support.promql import selectors

OBSERVABILITY = ROOT / "deploy" / "observability"
RULES = sorted((OBSERVABILITY / "rules").glob("*.yaml"))
UNIT_TESTS = sorted((OBSERVABILITY / "rules-tests").glob("*.yaml"))
OPERATIONS = ROOT / "docs" / "operations.md"


def _rules() -> list[dict[str, Any]]:
    return [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in _rules() if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


@cache
def _cases() -> list[tuple[str, str, bool]]:
    """Of each check: the alert, when, and whether it is to fire."""
    return [
        (check["alertname"], check["eval_time"], bool(check["exp_alerts"]))
        for file in UNIT_TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]


def test_the_rules_are_right_in_form() -> None:
    checked = promtool("check", "rules", *map(str, RULES))

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_the_unit_tests_pass(file: Path) -> None:
    tested = promtool("test", "rules", str(file))

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_tested_to_fire_and_to_be_silent(name: str) -> None:
    assert {fires for alert, _, fires in _cases() if alert == name} == {True, False}


def test_silence_is_tested_when_the_alert_could_have_fired(tmp_path: Path) -> None:
    """With conditions that are always met, each alert breaks at least one of the checks that it is silent."""
    broken = _run_with(tmp_path, "vector(1)")

    silent = {(alert, at) for alert, at, fires in _cases() if not fires}
    assert {alert for alert, at in broken & silent} == set(NAMES)


def test_firing_is_tested(tmp_path: Path) -> None:
    """With conditions that are never met, each alert breaks at least one of the checks that it fires."""
    broken = _run_with(tmp_path, "vector(1) < 0")

    assert {alert for alert, _ in broken} == set(NAMES)


def _run_with(folder: Path, condition: str) -> set[tuple[str, str]]:
    """Run the unit tests on rules whose conditions are that one; which checks fail, by alert and time."""
    (folder / "rules").mkdir()
    (folder / "rules-tests").mkdir()
    for file in RULES:
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            group["rules"] = [
                {**rule, "expr": condition, "annotations": {}} for rule in group["rules"] if "alert" in rule
            ]
        (folder / "rules" / file.name).write_text(yaml.safe_dump(content))
    broken: set[tuple[str, str]] = set()
    for file in UNIT_TESTS:
        copy = folder / "rules-tests" / file.name
        copy.write_text(file.read_text())
        told = promtool("test", "rules", str(copy))
        broken |= set(re.findall(r"alertname: ?(\w+), time: (\w+)", told.stdout + told.stderr))
    # promtool writes 90m as 1h30m
    return {(alert, at) for alert, at, _ in _cases() if (alert, _seconds(at)) in {(a, _seconds(t)) for a, t in broken}}


def _seconds(duration: str) -> int:
    return sum(
        int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", duration)
    )


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Parley")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_operations_guide_explains_each_alert_and_no_other() -> None:
    headings = re.findall(r"^#+ (Parley[A-Z]\w+)$", OPERATIONS.read_text(), re.MULTILINE)

    assert sorted(headings) == NAMES


def test_all_reasons_of_failures_that_rules_name_exist() -> None:
    """A status or reason that is not there would match nothing, for ever."""
    values = {
        value
        for rule in _rules()
        for selector in selectors(rule["expr"])
        for label, _, text in selector.matchers
        for value in text.split("|")
        if label in {"error_type", "outcome"} and value.isupper()
    }

    assert values
    assert values <= {reason.value for reason in Reason}


def test_rules_that_read_from_the_gateway_and_general_ones_say_of_which_job() -> None:
    """Others' programs have metrics of these names, too."""
    for rule in _rules():
        for selector in selectors(rule["expr"]):
            if selector.metric.startswith(("envoy_", "process_", "gen_ai_", "up")):
                assert any(label == "job" for label, _, _ in selector.matchers), selector


def test_the_budget_is_the_same_everywhere() -> None:
    budgets = {
        float(number)
        for rule in ALERTS
        if rule["alert"] == "ParleyErrorBudgetBurn"
        for number in re.findall(r"0\.0\d+", rule["expr"])
    }

    assert budgets == {BUDGET}


def test_the_alert_for_memory_comes_before_the_limit_and_not_long_before() -> None:
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "ParleyMemoryHigh"]
    found = re.search(r"> (\d+) \* 2 \^ 20", rule["expr"])
    assert found is not None

    (service,) = [
        each for each in rendered("overlays/observability").workloads if each["metadata"]["name"] == "parley-service"
    ]
    limit = service["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]

    limit_mib = int(limit.removesuffix("Gi")) * 1024 if limit.endswith("Gi") else int(limit.removesuffix("Mi"))
    assert 0.8 * limit_mib <= int(found[1]) <= 0.95 * limit_mib
