"""A stand-in for a cluster of one node: it runs the rendered manifests' Deployments and Services on this machine.

What it does as Kubernetes does: rolling updates by surge and availability, probes by their periods and thresholds,
endpoints by readiness, the names of headless Services, the order of a pod's end, the restricted security context.
What it leaves out: scheduling, limits of memory and CPU, network policies, autoscaling by metrics.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.rollout.cluster.container import Mount, Spec
from tests.rollout.cluster.deployment import Deployment, Template
from tests.rollout.cluster.dns import dns
from tests.rollout.cluster.image import Image
from tests.rollout.cluster.network import DNS_ADDRESS, Network
from tests.rollout.cluster.pod import Pod, PodPlan
from tests.rollout.cluster.service import Service

Manifest = dict[str, Any]
Files = dict[tuple[str, str], dict[str, bytes]]
_DOMAIN: Final = "svc.cluster.local"
_POD_NUMBERS = count(1)


@dataclass
class Cluster:
    """Runs what was applied, until it is closed."""

    network: Network
    folder: Path
    images: dict[str, Image]
    """By their names without a tag."""
    tasks: asyncio.TaskGroup
    deployments: dict[str, Deployment] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    pods: set[asyncio.Task[None]] = field(default_factory=set)
    namespace: str = "parley"
    _files: Files = field(default_factory=dict)
    """The contents of ConfigMaps and Secrets, by kind and name."""

    async def apply(self, manifests: Iterable[Manifest]) -> None:
        """Want what `manifests` say from now on."""
        objects = list(manifests)
        for each in objects:
            if each["kind"] in {"ConfigMap", "Secret"}:
                self._files[each["kind"], each["metadata"]["name"]] = _files_of(each)
        for each in objects:
            if each["kind"] == "Service" and each["metadata"]["name"] not in self.services:
                await self._add_service(each)
        replicas = {
            each["spec"]["scaleTargetRef"]["name"]: each for each in objects if each["kind"].startswith("Horiz")
        }
        for each in objects:
            if each["kind"] == "Deployment":
                scaler = replicas.get(each["metadata"]["name"])
                wanted = scaler["spec"]["minReplicas"] if scaler else each["spec"].get("replicas", 1)
                self._want(each, wanted)
        self.reconcile()

    def scale(self, name: str, replicas: int) -> None:
        """Want that many pods of a Deployment."""
        self.deployments[name].replicas = replicas
        self.reconcile()

    def restart(self, name: str, at: str) -> None:
        """As `kubectl rollout restart`."""
        annotations = self.deployments[name].manifest["template"]["metadata"].setdefault("annotations", {})
        annotations["kubectl.kubernetes.io/restartedAt"] = at
        self.reconcile()

    async def updated(self, name: str, within_s: float) -> None:
        """Wait until all pods are as wanted, though others may still be ending."""
        deployment = self.deployments[name]
        await self.until(lambda: deployment.is_updated, within_s, deployment)

    async def rolled_out(self, name: str, within_s: float) -> None:
        """Wait until all pods are as wanted, and all others have ended."""
        deployment = self.deployments[name]
        await self.until(lambda: deployment.is_rolled_out, within_s, deployment)

    async def until(self, holds: Callable[[], object], within_s: float, deployment: Deployment) -> None:
        """Wait until `holds()`; where it does not, say what the pods wrote last."""
        try:
            async with asyncio.timeout(within_s):
                while not holds():  # noqa: ASYNC110 - anything may be asked for, not all of which tells of its changes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            told = "\n".join(f"{pod.plan.name}:\n{''.join(pod.log[-20:])}" for pod in deployment.pods)
            raise AssertionError(f"not within {within_s} s; the pods' last words:\n{told}") from None

    def ready(self, name: str) -> list[Pod]:
        return [pod for pod in self.deployments[name].alive if pod.is_ready]

    def reconcile(self) -> None:
        """Have Deployments and endpoints follow what has changed."""
        for deployment in self.deployments.values():
            deployment.reconcile()
        for service in self.services.values():
            pods = [pod for each in self.deployments.values() for pod in each.pods if service.selects(pod.plan.labels)]
            service.publish_later(
                pod.endpoint
                for pod in pods
                if not pod.has_ended and (service.holds_unready or (pod.is_ready and not pod.is_terminating))
            )

    def addresses(self, name: str) -> list[str] | None:
        """What the DNS says of `name`."""
        return next((each.dns_addresses for each in self.services.values() if each.dns_name == name), None)

    async def close(self) -> None:
        """Kill all pods."""
        for deployment in self.deployments.values():
            deployment.replicas = 0
        for task in self.pods:
            task.cancel()
        for service in self.services.values():
            await service.close()

    async def _add_service(self, manifest: Manifest) -> None:
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        address = None if spec.get("clusterIP") == "None" else self.network.add_service()
        service = Service(name, manifest["metadata"]["namespace"], spec, address)
        self.services[name] = service
        if address is not None:
            await service.listen()

    def _want(self, manifest: Manifest, replicas: int) -> None:
        name = manifest["metadata"]["name"]
        if name not in self.deployments:
            self.deployments[name] = Deployment(name, manifest["spec"], replicas, self._start)
        self.deployments[name].manifest = manifest["spec"]

    def _start(self, deployment: str, template: Template) -> Pod:
        name = f"{deployment.removeprefix('parley-')}-{next(_POD_NUMBERS)}"
        files = dict(self._files)
        folder = self.folder / name
        plan = PodPlan(name, template, lambda address: self._spec(name, address, template, files), folder)
        pod = Pod(plan, self.network.add_pod(name), lambda: self._on_change(deployment))
        task = self.tasks.create_task(self._run(pod))
        self.pods.add(task)
        task.add_done_callback(self.pods.discard)
        return pod

    async def _run(self, pod: Pod) -> None:
        try:
            await pod.run()
        finally:
            self.network.remove_pod(pod.plan.name)

    def _on_change(self, deployment: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self.reconcile)
        # And when those that are ready now count as available.
        loop.call_later(self.deployments[deployment].min_ready_s + 0.01, self.reconcile)

    def _spec(self, name: str, address: str, template: Template, files: Files) -> Spec:
        spec = template["spec"]
        (container,) = spec["containers"]
        image = self.images[container["image"].rpartition(":")[0].rpartition("/")[2]]
        security = spec["securityContext"] | container["securityContext"]
        return Spec(
            command=[*container.get("command", image.entrypoint), *container.get("args", _arguments(container, image))],
            environ={
                "HOSTNAME": name,
                "HOME": "/",
                **image.environ,
                **{each["name"]: each["value"] for each in container.get("env", ())},
            },
            working_folder=container.get("workingDir", image.working_folder),
            user=security["runAsUser"],
            group=security.get("fsGroup", security["runAsUser"]),
            mounts=_mounts(template, files, self.folder / name / "volumes"),
            binds=image.binds,
            etc=_etc(name, address, self.namespace),
            is_read_only=bool(security.get("readOnlyRootFilesystem")),
        )


def _arguments(container: Manifest, image: Image) -> list[str]:
    """A manifest's command leaves the image's arguments out, too."""
    return [] if "command" in container else image.command


def _etc(name: str, address: str, namespace: str) -> dict[str, str]:
    search = f"{namespace}.{_DOMAIN} {_DOMAIN} cluster.local"
    return {
        "resolv.conf": f"search {search}\nnameserver {DNS_ADDRESS}\noptions ndots:5\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n",
        "hostname": f"{name}\n",
    }


def _mounts(template: Template, files: Files, folder: Path) -> list[Mount]:
    """The volumes of the one container, written down below `folder`."""
    (container,) = template["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
    group = template["spec"]["securityContext"].get("fsGroup", 0)
    return [
        Mount(mount["mountPath"], _source(volumes[mount["name"]], files, folder / mount["name"], group))
        for mount in container.get("volumeMounts", ())
    ]


def _source(volume: Manifest, files: Files, folder: Path, group: int) -> Path | None:
    match volume:
        case {"emptyDir": _}:
            return None
        case {"configMap": {"name": str(name)} as source}:
            contents = files["ConfigMap", name]
        case {"secret": {"secretName": str(name)} as source}:
            contents = files["Secret", name]
        case _:
            raise AssertionError(f"no such volumes here: {volume}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        file = folder / name
        file.write_bytes(content)
        os.chown(file, 0, group)
        # An fsGroup may read what the owner may.
        file.chmod(source.get("defaultMode", 0o644) | 0o040)
    return folder


def _files_of(manifest: Manifest) -> dict[str, bytes]:
    plain = manifest.get("data" if manifest["kind"] == "ConfigMap" else "stringData") or {}
    coded = manifest.get("data" if manifest["kind"] == "Secret" else "binaryData") or {}
    found = {name: text.encode() for name, text in plain.items()}
    return found | {name: base64.b64decode(text) for name, text in coded.items()}


@asynccontextmanager
async def cluster(
    network: Network, folder: Path, images: dict[str, Image], dns_cache_s: float
) -> AsyncIterator[Cluster]:
    """An empty one; what runs in it is killed at the end."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        made = Cluster(network, folder, images, tasks)
        await stack.enter_async_context(dns(made.addresses, dns_cache_s))
        try:
            yield made
        finally:
            await made.close()
