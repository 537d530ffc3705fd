"""What every pod has to be: each policy yields what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway import supervisor
from gateway.cluster import DNS_REFRESH
from gateway.config import GatewaySection
from service import server
from service.health import LIVENESS, OVERALL
from service.storage import store
from tests.support.manifests import Manifest, Manifests, containers, environ, pod_spec, port_number, ports

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# What "restricted" allows. Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/, 2026-11-22.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# What the parts may need beyond their drain: last words and connections, tool servers (up to 5 s), what is to be stored,
# what is to be exported.
BEYOND_S = {
    "parley-service": 2 * server._LAST_CALLS_S + 5 + 2 * store._CLOSE_TIMEOUT_S + 5,
    "parley-gateway": supervisor.LAST_S,
}
# A cluster's DNS keeps an answer for up to 30 s, and Envoy looks anew only so often.
DNS_S = 30 + DNS_REFRESH.total_seconds()
# The supervisor, threads' stacks, and what Envoy holds outside its heap.
BESIDE_HEAP_MIB = 256
ADDRESSES = {
    "PARLEY_GRPC_ADDRESS": "grpc",
    "PARLEY_METRICS_ADDRESS": "metrics",
    "PARLEY_HTTP_ADDRESS": "http",
    "PARLEY_GATEWAY_METRICS_ADDRESS": "operations",
}
UNITS = {"": 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def named(workload: Manifest) -> str:
    return str(workload["metadata"]["name"])


def quantity(text: str | float) -> float:
    """A quantity of Kubernetes, such as 500m or 1Gi."""
    match = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", str(text))
    assert match, text
    return float(match[1]) * UNITS[match[2]]


def is_probed(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in containers(workload):
            for name in PROBES:
                if (probe := container.get(name)) is None:
                    yield f"{named(workload)} has no {name}"
                    continue
                kind = "grpc" if named(workload) == "parley-service" else "httpGet"
                port = probe.get(kind, {}).get("port")
                if port is None or port_number(workload, port) is None:
                    yield f"{named(workload)}.{name}: {kind} asks at no port of the container"


def is_asked_what_is_meant(manifests: Manifests) -> Iterator[str]:
    """Only readiness may fail while an embedded model loads or no replica is healthy: else pods are killed for it."""
    wanted = {
        "parley-service": {"startupProbe": LIVENESS, "readinessProbe": OVERALL, "livenessProbe": LIVENESS},
        "parley-gateway": {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"},
    }
    for workload in manifests.workloads:
        for container in containers(workload):
            for name in PROBES:
                probe = container.get(name, {})
                asked = (
                    probe["httpGet"]["path"] if "httpGet" in probe else probe.get("grpc", {}).get("service", OVERALL)
                )
                if asked != wanted[named(workload)][name]:
                    yield f"{named(workload)}.{name} asks for {asked!r}"
        for name, why in (("livenessProbe", "is busy"), ("startupProbe", "starts slowly")):
            probe = containers(workload)[0].get(name, {})
            if probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) < 60:
                yield f"{named(workload)}.{name}: a replica that {why} for less than a minute is killed"


def has_limits(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in containers(workload):
            resources = container.get("resources", {})
            for name in ("cpu", "memory"):
                request, limit = (resources.get(kind, {}).get(name) for kind in ("requests", "limits"))
                if request is None or limit is None:
                    yield f"{named(workload)}: {name} needs a request and a limit"
                elif quantity(request) > quantity(limit):
                    yield f"{named(workload)}: more {name} is requested than allowed"
        for volume in pod_spec(workload).get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{named(workload)}: the volume {volume['name']} has no sizeLimit"


def has_room_for_the_heap(manifests: Manifests) -> Iterator[str]:
    """Envoy has to refuse calls before the kernel kills it."""
    gateway = manifests.one("Deployment", "parley-gateway")
    heap_mib = (manifests.config.get("gateway") or {}).get("max_heap_mib", GatewaySection().max_heap_mib)
    limit = containers(gateway)[0].get("resources", {}).get("limits", {}).get("memory")
    if heap_mib is None or limit is None or quantity(limit) < (heap_mib + BESIDE_HEAP_MIB) * UNITS["Mi"]:
        yield f"parley-gateway: the limit of memory, {limit}, is too little for a heap of {heap_mib} MiB"


def is_restricted(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        spec = pod_spec(workload)
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                yield f"{named(workload)}: {name}"
        for volume in spec.get("volumes", []):
            if kinds := volume.keys() - {"name"} - VOLUMES:
                yield f"{named(workload)}: a volume of the kind {', '.join(kinds)}"
        yield from (f"{named(workload)}: {what}" for what in _pod_context_faults(spec.get("securityContext", {})))
        for container in containers(workload):
            yield from (f"{named(workload)}: {what}" for what in _context_faults(container.get("securityContext", {})))
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{named(workload)}: a hostPort"


def _pod_context_faults(context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser") or not context.get("runAsGroup"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    if context.get("fsGroup") != context.get("runAsGroup"):
        yield "can't read its Secrets, which belong to the fsGroup"


def _context_faults(context: dict[str, Any]) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "may run as root"


def has_pinned_images(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        for container in containers(workload):
            name, _, tag = container["image"].rpartition("/")[2].partition(":")
            if name != named(workload) or (not tag and "@sha256:" not in name) or tag == "latest":
                yield f"{named(workload)}: the image {container['image']}"


def has_no_token(manifests: Manifests) -> Iterator[str]:
    accounts = {each["metadata"]["name"]: each for each in manifests.of("ServiceAccount")}
    for workload in manifests.workloads:
        spec = pod_spec(workload)
        account = accounts.get(spec.get("serviceAccountName", ""), {})
        if account.get("automountServiceAccountToken") is not False:
            yield f"{named(workload)}: its ServiceAccount is none of its own, or gives tokens"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{named(workload)}: has a token for the API server"
        if spec.get("enableServiceLinks") is not False:
            yield f"{named(workload)}: gets variables PARLEY_… of Kubernetes' making"


def has_secrets_in_files(manifests: Manifests) -> Iterator[str]:
    if manifests.of("Secret"):
        yield "Secrets don't belong to manifests"
    for workload in manifests.workloads:
        for container in containers(workload):
            if container.get("envFrom") or any("valueFrom" in entry for entry in container.get("env", [])):
                yield f"{named(workload)}: takes variables from elsewhere"
            for mount in container.get("volumeMounts", []):
                (volume,) = [each for each in pod_spec(workload)["volumes"] if each["name"] == mount["name"]]
                if volume.keys() & {"secret", "configMap"} and not mount.get("readOnly"):
                    yield f"{named(workload)}: {mount['mountPath']} is not read-only"
                if "secret" in volume and volume["secret"].get("defaultMode", 0o644) & 0o007:
                    yield f"{named(workload)}: {mount['mountPath']} can be read by all"


def can_write_to_tmp(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        mounted = {mount["name"]: mount["mountPath"] for each in containers(workload) for mount in each["volumeMounts"]}
        empty = [each["name"] for each in pod_spec(workload)["volumes"] if "emptyDir" in each]
        if "/tmp" not in [mounted.get(name) for name in empty]:
            yield f"{named(workload)}: nothing to write to at /tmp"


def ends_in_time(manifests: Manifests) -> Iterator[str]:
    """preStop, the drain and what comes after it end before the kubelet's patience."""
    graces = manifests.drain_graces_s
    if graces["parley-gateway"] < graces["parley-service"] + server._LAST_CALLS_S:
        yield "gateway.drain_grace_s: the service's last words need a way out"
    for workload in manifests.workloads:
        sleep_s = containers(workload)[0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if sleep_s < 5:
            yield f"{named(workload)}: preStop has to wait until others know that the pod goes"
        others = workload["spec"].get("strategy", {}).get("type") != "Recreate"
        if named(workload) == "parley-service" and others and sleep_s < DNS_S:
            yield f"parley-service: preStop ends before gateways know the replicas that take over ({DNS_S:g} s)"
        needed_s = sleep_s + graces[named(workload)] + BEYOND_S[named(workload)]
        patience_s = pod_spec(workload).get("terminationGracePeriodSeconds", 30)
        if patience_s < needed_s:
            yield f"{named(workload)}: terminationGracePeriodSeconds is {patience_s}, its end may take {needed_s:g}"


def rolls_without_a_gap(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        spec = workload["spec"]
        if not spec.get("revisionHistoryLimit") or not spec.get("minReadySeconds"):
            yield f"{named(workload)}: revisionHistoryLimit and minReadySeconds are needed"
        strategy = spec.get("strategy", {})
        has_disk = any("persistentVolumeClaim" in volume for volume in pod_spec(workload)["volumes"])
        if has_disk:
            if strategy != {"type": "Recreate"} or spec.get("replicas") != 1:
                yield f"{named(workload)}: its volume is for one pod at a time"
        elif strategy.get("rollingUpdate", {}).get("maxUnavailable") != 0 or not strategy["rollingUpdate"].get(
            "maxSurge"
        ):
            yield f"{named(workload)}: a rollout takes replicas away before others are ready"


def listens_where_it_says(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if len(set(ports(workload).values())) != len(ports(workload)):
            yield f"{named(workload)}: a port has two names"
        given = environ(workload)
        known = ports(workload)
        for variable, port in ADDRESSES.items():
            if (variable in given) != (port in known) or (
                port in known and given[variable] != f"0.0.0.0:{known[port]}"
            ):
                yield f"{named(workload)}: {variable} and the port {port} don't agree"
        tls = (manifests.config.get("server") or {}).get("tls")
        if "health" in known and (tls is None or known["health"] != known["grpc"] + 1):
            yield f"{named(workload)}: the service has no plaintext health port {known['health']}"
    upstream = environ(manifests.one("Deployment", "parley-gateway")).get("PARLEY_UPSTREAM_ADDRESS")
    service = manifests.one("Service", "parley-service")
    if upstream != f"parley-service:{service['spec']['ports'][0]['port']}":
        yield f"parley-gateway: looks for the service at {upstream}"


POLICIES = (
    is_probed,
    is_asked_what_is_meant,
    has_limits,
    has_room_for_the_heap,
    is_restricted,
    has_pinned_images,
    has_no_token,
    has_secrets_in_files,
    can_write_to_tmp,
    ends_in_time,
    rolls_without_a_gap,
    listens_where_it_says,
)
