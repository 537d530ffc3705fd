"""Every object is one that Kubernetes takes: checked against the schemas of its versions, where misspelt fields fail."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # has no types of its own
import kubernetes_validate  # type: ignore[import-untyped]  # likewise
import pytest
import yaml

from tests.support.manifests import OVERLAYS, Manifest, containers, rendered

# From the first that has preStop's `sleep` switched on, to the newest whose schemas are there.
VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
CUSTOM = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text("utf-8"))


def _all_objects() -> list[Manifest]:
    """Each object of each overlay, those that are the same but once."""
    every = {json.dumps(each, sort_keys=True) for overlay in OVERLAYS for each in rendered(overlay).objects}
    return [json.loads(text) for text in sorted(every)]


@pytest.fixture(scope="module")
def objects() -> list[Manifest]:
    return _all_objects()


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(objects: list[Manifest], version: str) -> None:
    own = [each for each in objects if each["kind"] not in CUSTOM]

    assert len(own) > 30
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("kind", CUSTOM)
def test_custom_resources_are_as_their_references_say(objects: list[Manifest], kind: str) -> None:
    found = [each for each in objects if each["kind"] == kind]

    assert found
    for each in found:
        jsonschema.validate(each, CUSTOM[kind])


def test_a_misspelt_field_is_found() -> None:
    for workload in rendered("base").workloads:
        broken = deepcopy(workload)
        container = containers(broken)[0]
        container["livenessprobe"] = container.pop("livenessProbe")
        with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
            kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_a_misspelt_field_of_a_custom_resource_is_found() -> None:
    monitor = rendered("overlays/observability").one("ServiceMonitor", "parley-service")
    monitor["spec"]["endpoints"][0]["scrapetimeout"] = "10s"

    with pytest.raises(jsonschema.ValidationError, match="scrapetimeout"):
        jsonschema.validate(monitor, CUSTOM["ServiceMonitor"])
