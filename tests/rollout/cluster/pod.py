"""A pod's life as the kubelet leads it: start, probes, restarts, and the end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.rollout.cluster.container import Container, Spec, start_container
from tests.rollout.cluster.probes import Probe
from tests.rollout.cluster.service import Endpoint

_FIRST_BACKOFF_S: Final = 10.0
"""Of the second restart; the first is made at once. Each further one waits twice as long."""


@dataclass(frozen=True)
class PodPlan:
    """What is needed to run a pod, in its manifest's words."""

    name: str
    manifest: dict[str, Any]
    """Labels, annotations and the spec: a pod template."""
    spec: Callable[[str], Spec]
    """Of its container, by the pod's address."""
    folder: Path

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.manifest["spec"]["containers"]
        return dict(found)

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.manifest["metadata"]["labels"])

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ()) if "name" in port}

    @property
    def grace_s(self) -> float:
        return float(self.manifest["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def notice_s(self) -> float:
        """How long the preStop hook sleeps before SIGTERM is sent."""
        hook = self.container.get("lifecycle", {}).get("preStop")
        return float(hook["sleep"]["seconds"]) if hook else 0.0

    def probe(self, name: str) -> Probe | None:
        manifest = self.container.get(f"{name}Probe")
        return Probe(manifest, self.ports) if manifest else None


@dataclass
class Pod:
    """A pod, from its making to its end."""

    plan: PodPlan
    address: str
    changed: Callable[[], None]
    """Called whenever it becomes ready, or is no longer, or is told to end, or has ended."""
    container: Container | None = None
    lines: list[str] = field(default_factory=list)
    """Of containers that have ended."""
    exit_codes: list[int] = field(default_factory=list)
    was_killed: bool = False
    """Whether it outlasted its grace period."""
    is_terminating: bool = False
    has_ended: bool = False
    ready_since: float | None = None
    began: float = field(default_factory=time.monotonic)
    took_to_ready_s: float | None = None
    took_to_end_s: float | None = None
    _deleted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_ready(self) -> bool:
        return self.ready_since is not None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.plan.name, self.address, self.plan.ports)

    @property
    def log(self) -> list[str]:
        """Of all its containers."""
        return self.lines + (self.container.lines if self.container else [])

    def delete(self) -> None:
        """Tell it to end."""
        if not self.is_terminating:
            self.is_terminating = True
            self._deleted.set()
            self.changed()

    async def run(self) -> None:
        """Run it until it has been deleted and has ended."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep_running())
            await self._deleted.wait()
            began = time.monotonic()
            await asyncio.sleep(min(self.plan.notice_s, self.plan.grace_s))
            if self.container is not None:
                self.container.signal(signal.SIGTERM)
            # At least two seconds after the hook, whatever is left of the grace period.
            left_s = max(began + self.plan.grace_s - time.monotonic(), 2.0)
            done, _ = await asyncio.wait([keeping], timeout=left_s)
            if not done:
                self.was_killed = True
                if self.container is not None:
                    self.container.kill()
            await keeping
            self.took_to_end_s = time.monotonic() - began
        self.has_ended = True
        self._set_ready(is_ready=False)
        self.changed()

    async def _keep_running(self) -> None:
        backoff_s = 0.0
        while not self.is_terminating:
            spec = self.plan.spec(self.address)
            self.container = await start_container(spec, self.plan.folder, self.plan.name)
            try:
                async with asyncio.TaskGroup() as group:
                    probing = group.create_task(self._probe(self.container))
                    self.exit_codes.append(await self.container.read())
                    probing.cancel()
            finally:
                self.container.kill()  # where the whole cluster ends
                await self.container.process.wait()
            self._set_ready(is_ready=False)
            self.lines += self.container.lines
            self.container = None
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._deleted.wait()
            backoff_s = min(max(backoff_s * 2, _FIRST_BACKOFF_S), 300)

    async def _probe(self, container: Container) -> None:
        """Until the container ends."""
        if (startup := self.plan.probe("startup")) and not await self._succeeded(startup):
            await self._restart(container)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_readiness())
            if liveness := self.plan.probe("liveness"):
                group.create_task(self._watch_liveness(container, liveness))

    async def _succeeded(self, probe: Probe) -> bool:
        """Whether it did before too many failures."""
        await asyncio.sleep(probe.initial_delay_s)
        for _ in range(probe.failures):
            if await probe.succeeds(self.address):
                return True
            await asyncio.sleep(probe.period_s)
        return False

    async def _watch_readiness(self) -> None:
        probe = self.plan.probe("readiness")
        if probe is None:
            self._set_ready(is_ready=True)
            return
        await asyncio.sleep(probe.initial_delay_s)
        in_a_row, last = 0, False
        while True:
            succeeded = await probe.succeeds(self.address)
            in_a_row = in_a_row + 1 if succeeded is last else 1
            last = succeeded
            if in_a_row >= (probe.successes if succeeded else probe.failures):
                self._set_ready(is_ready=succeeded)
            await asyncio.sleep(probe.period_s)

    async def _watch_liveness(self, container: Container, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_s)
        failures = 0
        while not self.is_terminating:
            failures = 0 if await probe.succeeds(self.address) else failures + 1
            if failures >= probe.failures and not self.is_terminating:
                await self._restart(container)
                return
            await asyncio.sleep(probe.period_s)

    async def _restart(self, container: Container) -> None:
        """End it as a deletion would; it is started anew."""
        await asyncio.sleep(self.plan.notice_s)
        container.signal(signal.SIGTERM)
        await asyncio.sleep(max(self.plan.grace_s - self.plan.notice_s, 2.0))
        container.kill()

    def _set_ready(self, *, is_ready: bool) -> None:
        if is_ready is self.is_ready:
            return
        self.ready_since = time.monotonic() if is_ready else None
        if is_ready and self.took_to_ready_s is None:
            self.took_to_ready_s = time.monotonic() - self.began
        self.changed()
