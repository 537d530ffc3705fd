"""A real Prometheus scrapes both parts, evaluates the rules, and finds whatever rules and dashboards ask for."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from deploy.observability.generate import files
from tests.deploy.test_dashboards import panels
from tests.deploy.test_rules import RULES, _rules
from tests.deploy.traffic import Traffic, config
from tests.support.prometheus import Prometheus, prometheus
from tests.support.promql import Selector, grouped_by, selectors, without_variables
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream

PATIENCE_S = 60.0
BUILT_IN = {"ALERTS"}
"""Made by Prometheus where an alert is pending or fires."""

DASHBOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(text) for file, text in files().items()}
PANELS = [
    (f"{name}: {panel['title']}, {target['refId']}", without_variables(target["expr"]))
    for name, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
    for target in panel.get("targets", [])
]
EXPRESSIONS = [expression for _, expression in PANELS] + [rule["expr"] for rule in _rules()]


@dataclass
class Seen:
    """Prometheus after all kinds of traffic, and after the service has ended."""

    prometheus: Prometheus
    jobs_up: set[str]
    """While all ran."""
    shown: set[str] = field(default_factory=set)
    """The panels that have shown something, be it while all ran or when the service had ended."""

    @cached_property
    def labels(self) -> dict[str, set[str]]:
        """By metric, those of any series that was there."""
        found: dict[str, set[str]] = {}
        for series in self.prometheus.get("series", **{"match[]": '{namespace!=""}'}):
            found.setdefault(series["__name__"], set()).update(set(series) - {"__name__"})
        return found

    def has(self, selector: Selector) -> bool:
        """Whether any series fits, or has fitted."""
        return bool(self.prometheus.labels(f"last_over_time({selector}[1h])"))

    def look(self) -> None:
        """Take note of what the panels show now."""
        self.shown |= {name for name, expression in PANELS if self.prometheus.labels(expression)}


@pytest.fixture(scope="module")
def seen(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("prometheus")
    rules = folder / "rules"
    rules.mkdir()
    for file in RULES:
        (rules / file.name).write_text(re.sub(r"interval: \w+", "interval: 1s", file.read_text()))
    with running(config(upstream, folder), folder) as stack:
        assert stack.metrics_address is not None
        jobs = {"parley-service": stack.metrics_address, "parley-gateway": _operations_address(folder)}
        traffic = Traffic(stack, upstream)
        traffic.wait_for_tools()
        with prometheus(folder, jobs, rules, interval="1s") as server:
            _run_twice(traffic, server)
            _refuse_a_configuration(stack, server, folder)
            result = Seen(server, {labels["job"] for labels in server.labels("up == 1")})
            result.look()
            stack.service.stop()
            traffic.fail_without_service()
            _wait_for(server, 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}', at_least=1)
            traffic.fail_without_service()
            _wait_for(server, 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}', at_least=2)
            result.look()
            yield result


def _operations_address(folder: Path) -> str:
    admin = (folder / "envoy-admin").read_text().strip()
    with urllib.request.urlopen(f"http://{admin}/listeners?format=json", timeout=10) as answer:
        listeners = json.load(answer)["listener_statuses"]
    (place,) = [each["local_address"]["socket_address"] for each in listeners if each["name"] == "operations"]
    return f"{place['address']}:{place['port_value']}"


def _run_twice(traffic: Traffic, server: Prometheus) -> None:
    """With a scrape after each: rates are made of two."""
    for number in (1, 2):
        traffic.run()
        _wait_for(server, 'parley_disconnects_total{gen_ai_request_model="echo"}', at_least=number)
        _wait_for(server, 'model:parley_calls:rate5m{result="failed"} > bool 0', at_least=number - 1)


def _refuse_a_configuration(stack: Stack, server: Prometheus, folder: Path) -> None:
    (folder / "parley.yaml").write_text("no: such key")
    stack.service.process.send_signal(signal.SIGHUP)
    _wait_for(server, "instance:parley_config_refused:timestamp_seconds", at_least=1)


def _wait_for(server: Prometheus, expression: str, *, at_least: float) -> None:
    wait_for(lambda: server.value(expression) >= at_least, PATIENCE_S)


def test_both_parts_are_scraped(seen: Seen) -> None:
    assert seen.jobs_up == {"parley-service", "parley-gateway"}


def test_rules_are_evaluated_without_errors(seen: Seen) -> None:
    rules = [rule for group in seen.prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert len(rules) == len(_rules())
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


@pytest.mark.parametrize("selector", ['parley_ready{instance="nowhere"}', "parley_gone"])
def test_what_is_not_there_is_not_found(seen: Seen, selector: str) -> None:
    assert not seen.has(selectors(selector)[0])


@pytest.mark.parametrize("selector", sorted({str(each) for one in EXPRESSIONS for each in selectors(one)}))
def test_what_is_asked_for_was_scraped_or_recorded(seen: Seen, selector: str) -> None:
    (wanted,) = selectors(selector)
    if wanted.metric in BUILT_IN:
        return
    assert wanted.metric in seen.labels
    assert {label for label, _, _ in wanted.matchers} <= seen.labels[wanted.metric]
    assert seen.has(wanted)


def test_labels_that_are_grouped_by_are_those_of_the_metrics(seen: Seen) -> None:
    for expression in EXPRESSIONS:
        metrics = {each.metric for each in selectors(expression)} - BUILT_IN
        if metrics:
            there = set.union(*(seen.labels[metric] for metric in metrics))
            assert grouped_by(expression) <= there, expression


def test_dashboards_can_be_narrowed_to_what_there_is(seen: Seen) -> None:
    for dashboard in DASHBOARDS.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
                assert asked is not None
                assert asked[2] in seen.labels[asked[1]], variable["name"]


def test_every_panel_shows_something(seen: Seen) -> None:
    assert {name for name, _ in PANELS} - seen.shown == set()
