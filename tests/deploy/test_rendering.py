"""Every overlay renders, says what its files say, and gives both parts a configuration that they take."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from gateway.config import load_config as load_gateway_config
from service.config import load_config as load_service_config
from tests.deploy.pod_policies import quantity
from tests.support.envoy import ROOT
from tests.support.manifests import (
    DEPLOY,
    OVERLAYS,
    PARTS,
    Manifests,
    containers,
    environ,
    files_in,
    pod_spec,
    render,
    rendered,
)

OBSERVABILITY = DEPLOY / "observability"
RULE = OBSERVABILITY / "prometheus-rule.yaml"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_both_parts(overlay: str) -> None:
    manifests = rendered(overlay)

    assert sorted(each["metadata"]["name"] for each in manifests.workloads) == sorted(PARTS)
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests.objects]
    assert len(set(names)) == len(names)


def test_every_kustomization_that_can_be_applied_is_tested() -> None:
    found = {path.parent.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("kustomization.yaml")}
    kinds = {
        folder: yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text("utf-8"))["kind"] for folder in found
    }

    assert {folder for folder, kind in kinds.items() if kind == "Kustomization"} == set(OVERLAYS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_both_parts_take_the_configuration(overlay: str, tmp_path: Path) -> None:
    manifests = rendered(overlay)
    variables = _with_files(manifests, tmp_path)

    service = load_service_config(variables["parley-service"])
    gateway = load_gateway_config(variables["parley-gateway"])

    assert service.auth.keys
    assert gateway.has_keys
    assert service.server.grpc_address == "0.0.0.0:50051"
    assert [str(upstream) for upstream in gateway.upstreams] == ["parley-service:50051"]
    graces = {"parley-service": service.server.drain_grace_s, "parley-gateway": gateway.gateway.drain_grace_s}
    assert graces == manifests.drain_graces_s, "what the policies reckon with"


def _with_files(manifests: Manifests, folder: Path) -> dict[str, dict[str, str]]:
    """Lay the configuration and each file that it names in a folder; the parts' variables with that in place."""
    text = manifests.config_text
    for number, (_, file) in enumerate(files_in(manifests.config)):
        stand_in = folder / f"file-{number}"
        stand_in.write_text("postgresql://a:b@c:5432/d" if file.endswith("/url") else "a-key-of-nobody", "utf-8")
        text = text.replace(f" {file}\n", f" {stand_in}\n").replace(f" {file}}}", f" {stand_in}}}")
    path = folder / "parley.yaml"
    path.write_text(text, "utf-8")
    return {
        each["metadata"]["name"]: {**environ(each), "PARLEY_CONFIG": str(path), "PARLEY_DATA_DIR": str(folder)}
        for each in manifests.workloads
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_both_parts_mount_the_configuration_that_they_are_told_of(overlay: str) -> None:
    manifests = rendered(overlay)
    (config,) = [each["metadata"]["name"] for each in manifests.of("ConfigMap") if "parley.yaml" in each["data"]]
    for workload in manifests.workloads:
        (volume,) = [each for each in pod_spec(workload)["volumes"] if each["name"] == "config"]
        (mount,) = [each for each in pod_spec(workload)["containers"][0]["volumeMounts"] if each["name"] == "config"]
        assert volume["configMap"]["name"] == config
        assert environ(workload)["PARLEY_CONFIG"] == f"{mount['mountPath']}/parley.yaml"


def test_a_changed_configuration_rolls_both_parts(tmp_path: Path) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy)
    before = render(copy / "overlays/replicated")
    with (copy / "overlays/replicated/parley.yaml").open("a", encoding="utf-8") as file:
        file.write("# another line\n")
    after = render(copy / "overlays/replicated")

    for name in PARTS:
        old, new = (each.one("Deployment", name)["spec"]["template"] for each in (before, after))
        assert old != new
    assert before.objects == rendered("overlays/replicated").objects, "and the same one does not"


def test_an_overlay_may_be_put_into_another_namespace() -> None:
    manifests = rendered("examples/gateway-api")
    (space,) = manifests.of("Namespace")

    assert space["metadata"]["name"] == "chat"
    images = [pod_spec(each)["containers"][0]["image"] for each in manifests.workloads]
    assert all(image.startswith("registry.example.org/team/parley-") for image in images)


def test_the_overlay_for_one_machine_fits_on_two_cores() -> None:
    parts = [container for each in rendered("overlays/single").workloads for container in containers(each)]
    requests = [quantity(each["resources"]["requests"]["cpu"]) for each in parts]

    # What Kubernetes itself runs takes about one, and a rolling update of the gateway its share once more.
    assert sum(requests) + max(requests) <= 1.25


def test_telemetry_is_all_that_observability_adds_to_the_configuration() -> None:
    replicated, observed = (rendered(f"overlays/{name}").config for name in ("replicated", "observability"))

    assert observed.pop("telemetry")
    assert observed == replicated


def test_tls_is_all_that_its_example_adds_to_the_configuration() -> None:
    replicated, secured = rendered("overlays/replicated").config, rendered("examples/tls").config

    assert secured["server"].pop("tls")["client_ca_file"], "mutual"
    assert secured["gateway"].pop("tls")
    assert secured["gateway"].pop("upstream_tls")["cert_file"], "mutual"
    assert secured == replicated


class _Readable(yaml.SafeDumper):
    """Keeps the lines of a text that has several."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def test_the_prometheus_rule_has_all_rules() -> None:
    groups = [
        group
        for path in sorted((OBSERVABILITY / "rules").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "parley"},
        "spec": {"groups": groups},
    }
    text = "# Made of rules/ by tests/deploy/test_rendering.py.\n" + yaml.dump(
        rule, Dumper=_Readable, sort_keys=False, width=120
    )
    if os.environ.get("PARLEY_WRITE_DOCS"):
        RULE.write_text(text, "utf-8")

    assert RULE.read_text("utf-8") == text, "write it anew with PARLEY_WRITE_DOCS=1"
    (shown,) = rendered("overlays/observability").of("PrometheusRule")
    assert shown["spec"]["groups"] == groups


def test_every_dashboard_reaches_grafana() -> None:
    files = {path.name: json.loads(path.read_text("utf-8")) for path in (OBSERVABILITY / "dashboards").glob("*.json")}
    found = [
        each
        for each in rendered("overlays/observability").of("ConfigMap")
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]

    assert files
    assert {name: json.loads(text) for each in found for name, text in each["data"].items()} == files


def test_the_deployments_and_the_images_agree() -> None:
    for workload in rendered("base").workloads:
        part = workload["metadata"]["name"].removeprefix("parley-")
        lines = (DEPLOY / "images" / f"{part}.Dockerfile").read_text("utf-8").splitlines()
        context = pod_spec(workload)["securityContext"]
        exposed = next(line.split()[1:] for line in lines if line.startswith("EXPOSE "))

        assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in lines
        (container,) = pod_spec(workload)["containers"]
        assert {str(port["containerPort"]) for port in container["ports"]} <= set(exposed)
        assert not container.keys() & {"command", "args"}, "the image knows how it is started"


def test_the_images_are_those_of_this_version() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for workload in rendered("base").workloads:
        tag = pod_spec(workload)["containers"][0]["image"].rpartition(":")[2]
        assert f'\nversion = "{tag}"\n' in text


def test_the_adapter_shows_what_the_autoscaler_asks_for() -> None:
    adapter = yaml.safe_load((DEPLOY / "examples/prometheus-adapter.yaml").read_text("utf-8"))
    metrics = rendered("overlays/replicated").one("HorizontalPodAutoscaler", "parley-service")["spec"]["metrics"]
    (name,) = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]

    assert [rule["seriesQuery"].partition("{")[0] for rule in adapter["rules"]["custom"]] == [name]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_fits_into_the_note_that_apply_makes_of_it(overlay: str) -> None:
    for each in rendered(overlay).objects:
        # Annotations hold 256 KiB in all. Source: Kubernetes' apimachinery, TotalAnnotationSizeLimitB.
        assert len(json.dumps(each)) < 250_000, f"{each['kind']} {each['metadata']['name']}"
