"""What all overlays have to keep to; and that each of these policies notices when one does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import yaml

from tests.deploy import object_policies, pod_policies
from tests.deploy.object_policies import (
    denies_by_default,
    has_a_safe_configuration,
    is_in_one_namespace,
    is_scraped,
    lets_through_what_is_needed,
    refers_to_ports_that_exist,
    restricts_ports_that_exist,
    routes_to_what_exists,
    scales,
    selects_one_workload,
    survives_evictions,
)
from tests.deploy.pod_policies import (
    can_write_to_tmp,
    ends_in_time,
    has_limits,
    has_no_token,
    has_pinned_images,
    has_room_for_the_heap,
    has_secrets_in_files,
    is_asked_what_is_meant,
    is_probed,
    is_restricted,
    listens_where_it_says,
    rolls_without_a_gap,
)
from tests.support.manifests import OVERLAYS, Manifests, rendered

Policy: TypeAlias = Callable[[Manifests], Iterator[str]]
Change: TypeAlias = Callable[[Manifests], object]
POLICIES: tuple[Policy, ...] = (*pod_policies.POLICIES, *object_policies.POLICIES)

SERVICE, GATEWAY = ("Deployment", "parley-service"), ("Deployment", "parley-gateway")
CONTAINER = "spec.template.spec.containers.0"
POD = "spec.template.spec"
LABELS = {"{PSS}": object_policies.PSS, "{NAME}": "app.kubernetes.io/name"}
"""Keys with dots in them, for paths."""


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy.__name__))
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_keep_to_the_policies(overlay: str, policy: Policy) -> None:
    assert list(policy(rendered(overlay))) == []


def _set(of: tuple[str, str], path: str, value: Any) -> Change:
    """Set what `path` leads to; a number is a place in a list, or the place after its last."""

    def change(manifests: Manifests) -> None:
        *way, last = path.split(".")
        place: Any = manifests.one(*of)
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if isinstance(place, list):
            place[int(last) : int(last) + 1] = [value]
        else:
            place[last] = value

    return change


def _drop(of: tuple[str, str], path: str) -> Change:
    """Remove what `path` leads to."""

    def change(manifests: Manifests) -> None:
        *way, last = [LABELS.get(step, step) for step in path.split(".")]
        place: Any = manifests.one(*of)
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        del place[int(last) if isinstance(place, list) else last]

    return change


def _without(kind: str, name: str) -> Change:
    """Leave an object out."""
    return lambda manifests: manifests.objects.remove(manifests.one(kind, name))


def _also(kind: str, **content: Any) -> Change:
    """Add an object."""
    added = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "added", "namespace": "parley"}, **content}
    return lambda manifests: manifests.objects.append(added)


def _configured(path: str, value: Any) -> Change:
    """Set a key of parley.yaml."""

    def change(manifests: Manifests) -> None:
        (holder,) = [each for each in manifests.of("ConfigMap") if "parley.yaml" in each["data"]]
        config = manifests.config
        *way, last = path.split(".")
        place: Any = config
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        place[last] = value
        holder["data"]["parley.yaml"] = yaml.safe_dump(config)

    return change


def _network(name: str) -> tuple[str, str]:
    return ("NetworkPolicy", name)


BREAKING: list[tuple[Policy, str, Change]] = [
    (is_probed, "has no livenessProbe", _drop(SERVICE, f"{CONTAINER}.livenessProbe")),
    (is_probed, "has no startupProbe", _drop(GATEWAY, f"{CONTAINER}.startupProbe")),
    (is_probed, "asks at no port", _set(SERVICE, f"{CONTAINER}.readinessProbe.grpc.port", 50052)),
    (is_probed, "asks at no port", _set(GATEWAY, f"{CONTAINER}.readinessProbe.httpGet.port", "http2")),
    (is_asked_what_is_meant, "asks for ''", _drop(SERVICE, f"{CONTAINER}.livenessProbe.grpc.service")),
    (
        is_asked_what_is_meant,
        "asks for 'liveness'",
        _set(SERVICE, f"{CONTAINER}.readinessProbe.grpc.service", "liveness"),
    ),
    (is_asked_what_is_meant, "'/readyz'", _set(GATEWAY, f"{CONTAINER}.livenessProbe.httpGet.path", "/readyz")),
    (is_asked_what_is_meant, "busy", _set(GATEWAY, f"{CONTAINER}.livenessProbe.failureThreshold", 2)),
    (is_asked_what_is_meant, "slowly", _drop(GATEWAY, f"{CONTAINER}.startupProbe.failureThreshold")),
    (has_limits, "memory needs", _drop(SERVICE, f"{CONTAINER}.resources.limits.memory")),
    (has_limits, "cpu needs", _drop(GATEWAY, f"{CONTAINER}.resources.requests.cpu")),
    (has_limits, "more cpu is requested", _set(GATEWAY, f"{CONTAINER}.resources.requests.cpu", "3000m")),
    (has_limits, "no sizeLimit", _set(SERVICE, f"{POD}.volumes.9", {"name": "x", "emptyDir": {}})),
    (has_room_for_the_heap, "too little", _set(GATEWAY, f"{CONTAINER}.resources.limits.memory", "2Gi")),
    (has_room_for_the_heap, "too little", _configured("gateway.max_heap_mib", 4096)),
    (has_room_for_the_heap, "too little", _configured("gateway.max_heap_mib", None)),
    (is_restricted, "as root", _set(SERVICE, f"{POD}.securityContext.runAsNonRoot", value=False)),
    (is_restricted, "as root", _set(SERVICE, f"{POD}.securityContext.runAsUser", 0)),
    (is_restricted, "as root", _set(SERVICE, f"{CONTAINER}.securityContext.runAsUser", 0)),
    (is_restricted, "seccomp", _drop(GATEWAY, f"{POD}.securityContext.seccompProfile")),
    (is_restricted, "fsGroup", _drop(GATEWAY, f"{POD}.securityContext.fsGroup")),
    (is_restricted, "privileges", _set(SERVICE, f"{CONTAINER}.securityContext.privileged", value=True)),
    (is_restricted, "privileges", _drop(SERVICE, f"{CONTAINER}.securityContext.allowPrivilegeEscalation")),
    (is_restricted, "capabilities", _set(GATEWAY, f"{CONTAINER}.securityContext.capabilities.add", ["NET_ADMIN"])),
    (is_restricted, "root file system", _drop(GATEWAY, f"{CONTAINER}.securityContext.readOnlyRootFilesystem")),
    (is_restricted, "hostNetwork", _set(GATEWAY, f"{POD}.hostNetwork", value=True)),
    (is_restricted, "hostPath", _set(SERVICE, f"{POD}.volumes.9", {"name": "x", "hostPath": {"path": "/"}})),
    (is_restricted, "hostPort", _set(GATEWAY, f"{CONTAINER}.ports.0.hostPort", 80)),
    (has_pinned_images, ":latest", _set(SERVICE, f"{CONTAINER}.image", "registry.example.com/parley-service:latest")),
    (has_pinned_images, "the image", _set(SERVICE, f"{CONTAINER}.image", "registry.example.com/parley-service")),
    (has_pinned_images, "the image", _set(SERVICE, f"{CONTAINER}.image", "registry.example.com/parley-gateway:0.1.0")),
    (has_no_token, "has a token", _drop(SERVICE, f"{POD}.automountServiceAccountToken")),
    (has_no_token, "none of its own", _drop(GATEWAY, f"{POD}.serviceAccountName")),
    (has_no_token, "gives tokens", _drop(("ServiceAccount", "parley-service"), "automountServiceAccountToken")),
    (has_no_token, "Kubernetes' making", _drop(GATEWAY, f"{POD}.enableServiceLinks")),
    (has_secrets_in_files, "from elsewhere", _set(SERVICE, f"{CONTAINER}.env.0.valueFrom", {"secretKeyRef": {}})),
    (has_secrets_in_files, "from elsewhere", _set(SERVICE, f"{CONTAINER}.envFrom", [{"secretRef": {"name": "x"}}])),
    (has_secrets_in_files, "don't belong", _also("Secret", stringData={"openai": "sk-"})),
    (has_secrets_in_files, "not read-only", _drop(GATEWAY, f"{CONTAINER}.volumeMounts.0.readOnly")),
    (can_write_to_tmp, "nothing to write to", _set(GATEWAY, f"{CONTAINER}.volumeMounts.1.mountPath", "/var/tmp")),
    (ends_in_time, "its end may take", _set(SERVICE, f"{POD}.terminationGracePeriodSeconds", 30)),
    (ends_in_time, "its end may take", _drop(GATEWAY, f"{POD}.terminationGracePeriodSeconds")),
    (ends_in_time, "its end may take", _configured("gateway.drain_grace_s", 600)),
    (ends_in_time, "last words", _configured("server.drain_grace_s", 130)),
    (ends_in_time, "preStop has to wait", _drop(GATEWAY, f"{CONTAINER}.lifecycle")),
    (ends_in_time, "know the replicas", _set(SERVICE, f"{CONTAINER}.lifecycle.preStop.sleep.seconds", 10)),
    (rolls_without_a_gap, "takes replicas away", _set(SERVICE, "spec.strategy.rollingUpdate.maxUnavailable", 1)),
    (rolls_without_a_gap, "takes replicas away", _set(SERVICE, "spec.strategy", {"type": "Recreate"})),
    (rolls_without_a_gap, "are needed", _drop(GATEWAY, "spec.minReadySeconds")),
    (
        rolls_without_a_gap,
        "one pod at a time",
        _set(SERVICE, f"{POD}.volumes.9", {"name": "x", "persistentVolumeClaim": {}}),
    ),
    (listens_where_it_says, "metrics don't agree", _set(SERVICE, f"{CONTAINER}.env.2.value", "127.0.0.1:9464")),
    (listens_where_it_says, "grpc don't agree", _set(SERVICE, f"{CONTAINER}.ports.0.containerPort", 50053)),
    (
        listens_where_it_says,
        "health port",
        _set(SERVICE, f"{CONTAINER}.ports.9", {"name": "health", "containerPort": 50052}),
    ),
    (listens_where_it_says, "looks for", _set(("Service", "parley-service"), "spec.ports.0.port", 50053)),
    (is_in_one_namespace, "restricted", _drop(("Namespace", "parley"), "metadata.labels.{PSS}")),
    (is_in_one_namespace, "elsewhere", _set(SERVICE, "metadata.namespace", "default")),
    (selects_one_workload, "of one workload", _drop(("Service", "parley-service"), "spec.selector.{NAME}")),
    (
        selects_one_workload,
        "alone",
        _set(SERVICE, "spec.selector.matchLabels", {"app.kubernetes.io/part-of": "parley"}),
    ),
    (
        selects_one_workload,
        "Budget",
        _drop(("PodDisruptionBudget", "parley-gateway"), "spec.selector.matchLabels.{NAME}"),
    ),
    (refers_to_ports_that_exist, "no port", _set(("Service", "parley-gateway"), "spec.ports.0.targetPort", "https")),
    (
        restricts_ports_that_exist,
        "a port 50052",
        _set(_network("parley-service"), "spec.ingress.0.ports.0.port", 50052),
    ),
    (
        restricts_ports_that_exist,
        "by its name",
        _set(_network("parley-gateway"), "spec.egress.0.ports.0.port", "grpc"),
    ),
    (listens_where_it_says, "two names", _set(SERVICE, f"{CONTAINER}.ports.1.containerPort", 50051)),
    (scales, "is no Deployment", _set(("HorizontalPodAutoscaler", "parley-service"), "spec.scaleTargetRef.name", "x")),
    (scales, "resets", _set(GATEWAY, "spec.replicas", 3)),
    (scales, "one replica", _set(("HorizontalPodAutoscaler", "parley-gateway"), "spec.minReplicas", 1)),
    (
        scales,
        "about to be needed",
        _set(("HorizontalPodAutoscaler", "parley-gateway"), "spec.behavior.scaleDown.stabilizationWindowSeconds", 0),
    ),
    (survives_evictions, "no PodDisruptionBudget", _without("PodDisruptionBudget", "parley-service")),
    (survives_evictions, "on one machine", _drop(GATEWAY, f"{POD}.topologySpreadConstraints")),
    (
        scales,
        "does not have",
        _set(("HorizontalPodAutoscaler", "parley-service"), "spec.metrics.0.pods.metric.name", "open_streams"),
    ),
    (survives_evictions, "back", _set(("PodDisruptionBudget", "parley-service"), "spec.maxUnavailable", 0)),
    (has_a_safe_configuration, "anybody", _configured("auth.allow_open", value=True)),
    (has_a_safe_configuration, "anybody", _configured("auth.keys", [])),
    (has_a_safe_configuration, "somebody else's", _configured("auth.keys.0.sha256", "1" * 64)),
    (has_a_safe_configuration, "from a variable", _configured("providers.openai.api_key_env", "OPENAI_API_KEY")),
    (has_a_safe_configuration, "has no /etc/openai", _configured("providers.openai.api_key_file", "/etc/openai")),
    (has_a_safe_configuration, "has no /run/secrets/database", _drop(SERVICE, f"{CONTAINER}.volumeMounts.0")),
    (denies_by_default, "not denied", _set(_network("parley-default-deny"), "spec.policyTypes", ["Ingress"])),
    (denies_by_default, "not denied", _without(*_network("parley-default-deny"))),
    (denies_by_default, "gets in", _set(_network("parley-service"), "spec.ingress.1", {"ports": [{"port": 50051}]})),
    (denies_by_default, "any port", _drop(_network("parley-database"), "spec.egress.0.ports")),
    (denies_by_default, "metadata", _drop(_network("parley-service"), "spec.egress.0.to.0.ipBlock.except")),
    (denies_by_default, "metadata", _drop(_network("parley-service"), "spec.egress.0.to.1.ipBlock.except")),
    (denies_by_default, "anybody", _drop(_network("parley-service"), "spec.egress.0.to")),
    (lets_through_what_is_needed, "ingress at 50051", _drop(_network("parley-service"), "spec.ingress.0.from.0")),
    (lets_through_what_is_needed, "egress at 50051", _without(*_network("parley-gateway"))),
    (lets_through_what_is_needed, "egress at 53", _without(*_network("parley-dns"))),
    (lets_through_what_is_needed, "egress at 443", _set(_network("parley-service"), "spec.egress.0.ports.0.port", 80)),
    (lets_through_what_is_needed, "egress at 5432", _without(*_network("parley-database"))),
]
"""Changes of `replicated`, each with the policy that has to notice it, and words of what it says."""

BREAKING_OTHERS: list[tuple[str, Policy, str, Change]] = [
    ("overlays/single", rolls_without_a_gap, "one pod at a time", _set(SERVICE, "spec.replicas", 2)),
    ("examples/tls", is_probed, "asks at no port", _drop(SERVICE, f"{CONTAINER}.ports.0")),
    ("examples/tls", has_a_safe_configuration, "server.tls", _drop(SERVICE, f"{CONTAINER}.volumeMounts.0")),
    (
        "overlays/observability",
        is_scraped,
        "no such port",
        _set(("ServiceMonitor", "parley-gateway"), "spec.endpoints.0.port", "x"),
    ),
    ("overlays/observability", is_scraped, "another", _set(("ServiceMonitor", "parley-service"), "spec.jobLabel", "x")),
    ("overlays/observability", is_scraped, "0 Services", _without("Service", "parley-service-metrics")),
    ("overlays/observability", is_scraped, "nothing that looks", _without("PrometheusRule", "parley")),
    ("overlays/observability", lets_through_what_is_needed, "9465", _without(*_network("parley-prometheus"))),
    ("overlays/observability", lets_through_what_is_needed, "4317", _without(*_network("parley-collector"))),
    (
        "examples/gateway-api",
        routes_to_what_exists,
        "there is no",
        _set(("HTTPRoute", "parley-rest"), "spec.rules.0.backendRefs.0.port", 81),
    ),
    (
        "examples/gateway-api",
        routes_to_what_exists,
        "HTTP/2",
        _set(("GRPCRoute", "parley-grpc"), "spec.rules.0.backendRefs.0.port", 80),
    ),
    (
        "examples/gateway-api",
        routes_to_what_exists,
        "cut",
        _drop(("HTTPRoute", "parley-rest"), "spec.rules.0.timeouts"),
    ),
]


def test_every_policy_has_a_change_that_breaks_it() -> None:
    broken = {policy for policy, _, _ in BREAKING} | {policy for _, policy, _, _ in BREAKING_OTHERS}

    assert broken == set(POLICIES)


EVERY = [*(("overlays/replicated", *each) for each in BREAKING), *BREAKING_OTHERS]


@pytest.mark.parametrize(
    ("overlay", "policy", "words", "change"),
    EVERY,
    ids=[f"{policy.__name__}-{number}" for number, (_, policy, _, _) in enumerate(EVERY)],
)
def test_a_policy_notices(overlay: str, policy: Policy, words: str, change: Change) -> None:
    manifests = rendered(overlay)
    change(manifests)

    faults = list(policy(manifests))

    assert any(words in fault for fault in faults), faults
