"""The manifests of deploy/, as `kubectl kustomize` renders them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from gateway.config import GatewaySection
from service.config import Server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OVERLAYS = (
    "base",
    "overlays/single",
    "overlays/replicated",
    "overlays/observability",
    "examples/tls",
    "examples/gateway-api",
)
PARTS = ("parley-service", "parley-gateway")

Manifest: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """All objects of one overlay."""

    objects: list[Manifest]

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> list[Manifest]:
        return self.of("Deployment")

    def selected(self, labels: Mapping[str, str]) -> list[Manifest]:
        """The workloads whose pods have those labels."""
        return [each for each in self.workloads if labels.items() <= pod_labels(each).items()]

    @property
    def config_text(self) -> str:
        """The content of parley.yaml."""
        (found,) = [each for each in self.of("ConfigMap") if "parley.yaml" in each["data"]]
        return str(found["data"]["parley.yaml"])

    @property
    def config(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.config_text))

    @property
    def drain_graces_s(self) -> dict[str, float]:
        """By part, how long calls may go on after SIGTERM: as configured, or else the parts' own defaults."""
        defaults = {"server": Server().drain_grace_s, "gateway": GatewaySection().drain_grace_s}
        graces = {
            name: (self.config.get(name) or {}).get("drain_grace_s", grace_s) for name, grace_s in defaults.items()
        }
        return {"parley-service": graces["server"], "parley-gateway": graces["gateway"]}


def render(folder: str | Path) -> Manifests:
    """Render an overlay, by its folder in deploy/ or by a path."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.fail("needs kubectl, with a kustomize of version 5 in it (kubectl 1.27 or later)")
    done = subprocess.run([kubectl, "kustomize", DEPLOY / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning, such as that something is deprecated
    return Manifests([each for each in yaml.safe_load_all(done.stdout) if each])


@cache
def _rendered(overlay: str) -> Manifests:
    return render(overlay)


def rendered(overlay: str) -> Manifests:
    """One of OVERLAYS; a copy of one's own, that may be changed."""
    return deepcopy(_rendered(overlay))


def pod_spec(workload: Manifest) -> dict[str, Any]:
    return dict(workload["spec"]["template"]["spec"])


def pod_labels(workload: Manifest) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def containers(workload: Manifest) -> list[dict[str, Any]]:
    spec = pod_spec(workload)
    return [*spec.get("initContainers", []), *spec["containers"]]


def ports(workload: Manifest) -> dict[str, int]:
    """The numbers of the ports of its containers, by their names."""
    return {port["name"]: port["containerPort"] for each in containers(workload) for port in each.get("ports", [])}


def port_number(workload: Manifest, port: str | int) -> int | None:
    """The number of a port that is given by name or number; None where the workload has no such port."""
    known = ports(workload)
    return known.get(port) if isinstance(port, str) else port if port in known.values() else None


def environ(workload: Manifest) -> dict[str, str]:
    return {entry["name"]: entry["value"] for each in containers(workload) for entry in each["env"] if "value" in entry}


def files_in(section: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every file that a configuration names: the path of its key, and the file."""
    if isinstance(section, dict):
        for key, value in section.items():
            if key.endswith("_file") and isinstance(value, str):
                yield f"{path}{key}", value
            yield from files_in(value, f"{path}{key}.")
    elif isinstance(section, list):
        for number, value in enumerate(section):
            yield from files_in(value, f"{path}{number}.")
