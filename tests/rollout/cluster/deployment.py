"""A Deployment's rolling update, as its controller does it: level by level, from what there is to what is wanted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.rollout.cluster.pod import Pod

Template = dict[str, Any]


@dataclass
class Deployment:
    """One, with the pods it has made."""

    name: str
    manifest: dict[str, Any]
    """Its spec."""
    replicas: int
    start: Callable[[str, Template], Pod]
    """Starts a pod of that Deployment's name and template."""
    pods: list[Pod] = field(default_factory=list)
    _templates: dict[str, str] = field(default_factory=dict)
    """Of which template each pod is, by the pod's name."""

    @property
    def alive(self) -> list[Pod]:
        """Those that are not told to end."""
        return [pod for pod in self.pods if not pod.is_terminating]

    @property
    def new(self) -> list[Pod]:
        """Those of the template that is wanted now."""
        return [pod for pod in self.alive if self._templates[pod.plan.name] == self._wanted]

    @property
    def is_updated(self) -> bool:
        """Whether all is as wanted, and all else at least told to end: what `kubectl rollout status` waits for."""
        return len(self.alive) == len(self.new) == self.replicas and all(map(self._is_available, self.new))

    @property
    def is_rolled_out(self) -> bool:
        """Whether all is as wanted, and all else has ended."""
        return self.is_updated and all(pod.has_ended for pod in self.pods if pod.is_terminating)

    @property
    def min_ready_s(self) -> float:
        return float(self.manifest.get("minReadySeconds", 0))

    def reconcile(self) -> None:
        """One step from what there is towards what is wanted; called whenever something has changed."""
        alive, new = self.alive, self.new
        old = [pod for pod in alive if pod not in new]
        strategy = self.manifest.get("strategy", {}).get("rollingUpdate", {})
        surge = _amount(strategy.get("maxSurge", "25%"), self.replicas, math.ceil)
        unavailable = _amount(strategy.get("maxUnavailable", "25%"), self.replicas, math.floor)
        missing = min(self.replicas - len(new), self.replicas + surge - len(alive))
        for _ in range(missing):
            pod = self.start(self.name, self.manifest["template"])
            self.pods.append(pod)
            self._templates[pod.plan.name] = self._wanted
        # Of those that are too many, the ones that serve nobody go first.
        spare = sum(map(self._is_available, alive)) - (self.replicas - unavailable)
        surplus = max(len(new) - self.replicas, 0)
        going = sorted(old, key=self._is_available) + sorted(new, key=self._is_available)[:surplus]
        for pod in going:
            if self._is_available(pod):
                if spare <= 0:
                    continue
                spare -= 1
            pod.delete()

    @property
    def _wanted(self) -> str:
        return json.dumps(self.manifest["template"], sort_keys=True)

    def _is_available(self, pod: Pod) -> bool:
        return pod.ready_since is not None and time.monotonic() - pod.ready_since >= self.min_ready_s


def _amount(value: int | str, of: int, whole: Callable[[float], int]) -> int:
    """A number, or a percentage of `of`."""
    return whole(of * int(value.removesuffix("%")) / 100) if isinstance(value, str) else value
