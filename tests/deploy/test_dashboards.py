"""The dashboards: as they are generated, right in form, and with expressions that Prometheus can read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability.drawing import COLUMNS
from deploy.observability.generate import FOLDER, files
from tests.support.prometheus import promtool
from tests.support.promql import without_variables

Json = dict[str, Any]
BUILT_IN = {"__rate_interval"}


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels, those of collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


@pytest.fixture(params=sorted(files()), ids=lambda file: file.stem)
def dashboard(request: pytest.FixtureRequest) -> Json:
    content: Json = json.loads(request.param.read_text())
    return content


def test_the_files_are_as_they_are_generated() -> None:
    written = {file: file.read_text() for file in FOLDER.glob("*.json")}

    assert written == files(), "run .venv/bin/python -m deploy.observability.generate"


def test_panels_have_numbers_of_their_own_and_say_what_they_are(dashboard: Json) -> None:
    numbers = [panel["id"] for panel in panels(dashboard)]

    assert len(set(numbers)) == len(numbers)
    assert all(panel["title"] for panel in panels(dashboard))


def test_panels_stand_side_by_side(dashboard: Json) -> None:
    shown = list(dashboard["panels"])
    for panel in shown:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS, panel["title"]
        assert place["h"] > 0
    for one, other in combinations(shown, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def _overlap(one: Json, other: Json) -> bool:
    return bool(
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_titles_are_unique_within_a_row(dashboard: Json) -> None:
    row: set[str] = set()
    for panel in panels(dashboard):
        if panel["type"] == "row":
            row = set()
            continue
        assert panel["title"] not in row
        row.add(panel["title"])


def test_every_query_goes_to_the_chosen_prometheus(dashboard: Json) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(dashboard):
        if panel["type"] != "row":
            assert panel["datasource"] == chosen
            assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_variables_that_are_used_are_defined_and_the_other_way_round(dashboard: Json) -> None:
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}

    used = set(re.findall(r"\$\{?(\w+)", json.dumps([dashboard["panels"], dashboard["annotations"]])))

    assert used - BUILT_IN == defined


def test_every_expression_can_be_read(dashboard: Json, tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", [])]
    expressions += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    rules = [{"record": f"panel:{at}", "expr": without_variables(each)} for at, each in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    checked = promtool("check", "rules", str(file))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(expressions)} rules found" in checked.stdout


def test_legends_name_labels_that_their_query_leaves(dashboard: Json) -> None:
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                groups = re.findall(r"by \(([^)]*)\)", target["expr"])
                kept = all(label in re.split(r",\s*", group) for group in groups)
                assert kept, (panel["title"], label)
