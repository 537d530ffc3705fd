"""How the objects of an overlay fit together: each policy yields what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from service.telemetry.definitions import OPEN_STREAMS
from tests.deploy.pod_policies import named
from tests.support.manifests import Manifest, Manifests, files_in, pod_labels, pod_spec, port_number, ports

CLUSTER_WIDE = {"Namespace"}
POSTGRES = 5432
NO_KEY = "0" * 64
PSS = "pod-security.kubernetes.io/enforce"
AROUND = {
    "0.0.0.0/0": {"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"},
    "::/0": {"fc00::/7", "fe80::/10"},
}
"""What is private, or a cloud's metadata."""


def is_in_one_namespace(manifests: Manifests) -> Iterator[str]:
    (space,) = manifests.of("Namespace")
    if space["metadata"]["labels"].get(PSS) != "restricted":
        yield "the namespace does not enforce the Pod Security Standard `restricted`"
    for each in manifests.objects:
        if each["kind"] not in CLUSTER_WIDE and each["metadata"].get("namespace") != space["metadata"]["name"]:
            yield f"{each['kind']} {each['metadata']['name']} is elsewhere than the namespace"


def selects_one_workload(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if manifests.selected(workload["spec"]["selector"]["matchLabels"]) != [workload]:
            yield f"Deployment {named(workload)} does not select its own pods alone"
    for each in manifests.of("Service"):
        if len(manifests.selected(each["spec"]["selector"])) != 1:
            yield f"Service {named(each)} does not select the pods of one workload"
    for each in manifests.of("PodDisruptionBudget"):
        if len(manifests.selected(each["spec"]["selector"]["matchLabels"])) != 1:
            yield f"PodDisruptionBudget {named(each)} does not select the pods of one workload"


def refers_to_ports_that_exist(manifests: Manifests) -> Iterator[str]:
    for service in manifests.of("Service"):
        for workload in manifests.selected(service["spec"]["selector"]):
            for port in service["spec"]["ports"]:
                if port_number(workload, port.get("targetPort", port["port"])) is None:
                    yield f"Service {named(service)}: {named(workload)} has no port {port.get('targetPort')}"


def restricts_ports_that_exist(manifests: Manifests) -> Iterator[str]:
    for policy in manifests.of("NetworkPolicy"):
        workloads = manifests.selected(policy["spec"]["podSelector"].get("matchLabels", {}))
        for rule in (*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])):
            if any(not isinstance(port["port"], int) for port in rule.get("ports", [])):
                # Source: https://github.com/ovn-kubernetes/ovn-kubernetes/issues/2117 (all ports),
                # https://github.com/aws/amazon-network-policy-controller-k8s/issues/81 (none), 2026-11-22.
                yield f"NetworkPolicy {named(policy)}: a port by its name, which not every network plugin knows"
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                if all(port_number(workload, port["port"]) is None for workload in workloads):
                    yield f"NetworkPolicy {named(policy)}: nothing that it selects has a port {port['port']}"


def routes_to_what_exists(manifests: Manifests) -> Iterator[str]:
    services = {named(each): {port["port"]: port for port in each["spec"]["ports"]} for each in manifests.of("Service")}
    for route in (*manifests.of("HTTPRoute"), *manifests.of("GRPCRoute")):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                port = services.get(backend["name"], {}).get(backend["port"])
                if port is None:
                    yield f"{named(route)}: there is no {backend['name']}:{backend['port']}"
                elif route["kind"] == "GRPCRoute" and port.get("appProtocol") != "kubernetes.io/h2c":
                    yield f"{named(route)}: {backend['port']} of {backend['name']} is not said to take HTTP/2"
            if route["kind"] == "HTTPRoute" and set(rule.get("timeouts", {}).values()) != {"0s"}:
                yield f"{named(route)}: streams are cut by the Gateway's own time limit"


def is_scraped(manifests: Manifests) -> Iterator[str]:
    for monitor in manifests.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [each for each in manifests.of("Service") if wanted <= each["metadata"].get("labels", {}).items()]
        if len(services) != 1:
            yield f"ServiceMonitor {named(monitor)} selects {len(services)} Services"
            continue
        (service,) = services
        if service["metadata"]["labels"].get(monitor["spec"].get("jobLabel")) != named(monitor):
            yield f"ServiceMonitor {named(monitor)}: the label `job`, by which the rules look, is another"
        known = {port["name"] for port in service["spec"]["ports"]}
        if any(endpoint["port"] not in known for endpoint in monitor["spec"]["endpoints"]):
            yield f"ServiceMonitor {named(monitor)}: {named(service)} has no such port"
    if manifests.of("ServiceMonitor") and not manifests.of("PrometheusRule"):
        yield "there is nothing that looks at what is scraped"


def scales(manifests: Manifests) -> Iterator[str]:
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        spec, target = scaler["spec"], scaler["spec"]["scaleTargetRef"]
        workload = next(
            (each for each in manifests.objects if (each["kind"], named(each)) == (target["kind"], target["name"])),
            None,
        )
        if workload is None:
            yield f"HorizontalPodAutoscaler {named(scaler)}: there is no {target['kind']} {target['name']}"
        elif "replicas" in workload["spec"]:
            yield f"{target['name']}: each `kubectl apply` resets the number of replicas that the autoscaler has chosen"
        if not 2 <= spec.get("minReplicas", 1) <= spec["maxReplicas"]:
            yield f"HorizontalPodAutoscaler {named(scaler)}: one replica is not enough"
        if spec.get("behavior", {}).get("scaleDown", {}).get("stabilizationWindowSeconds", 300) < 300:
            yield f"HorizontalPodAutoscaler {named(scaler)}: takes replicas away that are about to be needed"
        for metric in spec["metrics"]:
            if metric["type"] == "Pods" and metric["pods"]["metric"]["name"] != OPEN_STREAMS.name:
                yield f"HorizontalPodAutoscaler {named(scaler)}: a metric that the service does not have"


def survives_evictions(manifests: Manifests) -> Iterator[str]:
    budgets = [each["spec"] for each in manifests.of("PodDisruptionBudget")]
    for name in [each["spec"]["scaleTargetRef"]["name"] for each in manifests.of("HorizontalPodAutoscaler")]:
        for workload in [each for each in manifests.workloads if named(each) == name]:
            if not any(each["selector"]["matchLabels"].items() <= pod_labels(workload).items() for each in budgets):
                yield f"{name}: has no PodDisruptionBudget"
            if not pod_spec(workload).get("topologySpreadConstraints"):
                yield f"{name}: all replicas may be on one machine"
    for budget in budgets:
        # Evictions have to be possible at all, and replicas that are broken anyway must not hold them back.
        if budget.get("maxUnavailable", 0) in (0, "0%") or budget.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield "a PodDisruptionBudget holds updates of machines back"


def has_a_safe_configuration(manifests: Manifests) -> Iterator[str]:
    auth = manifests.config.get("auth", {})
    if not auth.get("keys") or auth.get("allow_open"):
        yield "parley.yaml: anybody may call"
    if any(key["sha256"] != NO_KEY for key in auth.get("keys", [])):
        yield "parley.yaml: somebody else's key may call wherever this is applied as it is"
    if any(path.endswith("_env") for path in _keys_in(manifests.config)):
        yield "parley.yaml: a secret from a variable, which no Deployment has"
    for workload in manifests.workloads:
        mounts = [mount["mountPath"] for mount in pod_spec(workload)["containers"][0]["volumeMounts"]]
        for path, file in files_in(manifests.config):
            is_gateways = path.startswith("gateway.")
            if is_gateways == (named(workload) == "parley-gateway") and not any(
                file.startswith(f"{mount}/") for mount in mounts
            ):
                yield f"parley.yaml: {path}: {named(workload)} has no {file}"


def _keys_in(section: object) -> Iterator[str]:
    values = section.values() if isinstance(section, dict) else section if isinstance(section, list) else ()
    if isinstance(section, dict):
        yield from section
    for value in values:
        yield from _keys_in(value)


def denies_by_default(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        denying = [
            each["spec"] for each in _policies(manifests, workload) if not each["spec"].keys() & {"ingress", "egress"}
        ]
        if {kind for each in denying for kind in each["policyTypes"]} != {"Ingress", "Egress"}:
            yield f"{named(workload)}: what no policy speaks of is not denied"
        for rule in _rules(manifests, workload, "ingress"):
            open_ports = [port["port"] for port in rule.get("ports", [])]
            is_public = named(workload) == "parley-gateway" and open_ports == [ports(workload)["http"]]
            if not is_public and not (rule.get("from") and rule.get("ports")):
                yield f"{named(workload)}: anybody gets in"
        for rule in _rules(manifests, workload, "egress"):
            if not rule.get("ports"):
                yield f"{named(workload)}: may go to any port"
            if "to" not in rule and [port["port"] for port in rule.get("ports", [])] != [POSTGRES]:
                yield f"{named(workload)}: may go to anybody"
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {})
                if not set(block.get("except", [])) >= AROUND.get(block.get("cidr"), set()):
                    yield f"{named(workload)}: may go to the network around the cluster, such as a cloud's metadata"


def lets_through_what_is_needed(manifests: Manifests) -> Iterator[str]:
    service, gateway = (manifests.one("Deployment", name) for name in ("parley-service", "parley-gateway"))
    telemetry, storage = manifests.config.get("telemetry") or {}, manifests.config.get("storage") or {}
    needed: list[tuple[Manifest, str, int, dict[str, str] | None]] = [
        (service, "ingress", ports(service)["grpc"], pod_labels(gateway)),
        (gateway, "egress", ports(service)["grpc"], pod_labels(service)),
        (gateway, "ingress", ports(gateway)["http"], None),
        (service, "egress", 443, None),
        (service, "egress", 53, None),
        (gateway, "egress", 53, None),
    ]
    if "url_file" in storage:
        needed.append((service, "egress", POSTGRES, None))
    if otlp := telemetry.get("otlp"):
        port = urlsplit(otlp["endpoint"]).port or 4317
        needed += [(service, "egress", port, None), (gateway, "egress", port, None)]
    if manifests.of("ServiceMonitor"):
        needed += [(service, "ingress", ports(service)["metrics"], None)]
        needed += [(gateway, "ingress", ports(gateway)["operations"], None)]
    for workload, direction, port, peer in needed:
        if not any(_lets(rule, port, peer) for rule in _rules(manifests, workload, direction)):
            yield f"{named(workload)}: {direction} at {port} is needed and not allowed"


def _policies(manifests: Manifests, workload: Manifest) -> list[Manifest]:
    return [
        policy
        for policy in manifests.of("NetworkPolicy")
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= pod_labels(workload).items()
    ]


def _rules(manifests: Manifests, workload: Manifest, direction: str) -> list[dict[str, Any]]:
    return [rule for policy in _policies(manifests, workload) for rule in policy["spec"].get(direction, [])]


def _lets(rule: dict[str, Any], port: int, peer: dict[str, str] | None) -> bool:
    """Whether a rule lets that port through; where a peer's labels are given, for that peer."""
    if port not in [each["port"] for each in rule.get("ports", [])]:
        return False
    peers = rule.get("from", rule.get("to"))
    if peers is None or peer is None:
        return True
    return any(
        "namespaceSelector" not in each
        and each.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= peer.items()
        for each in peers
    )


POLICIES = (
    is_in_one_namespace,
    selects_one_workload,
    refers_to_ports_that_exist,
    restricts_ports_that_exist,
    routes_to_what_exists,
    is_scraped,
    scales,
    survives_evictions,
    has_a_safe_configuration,
    denies_by_default,
    lets_through_what_is_needed,
)
