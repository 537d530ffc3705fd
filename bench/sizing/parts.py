"""What the parts use."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from tests.support.stack import Part, Stack


@dataclass(frozen=True)
class PartUse:
    """Of a process with its children."""

    rss_mib: float
    cpu_s: float


@dataclass(frozen=True)
class Use:
    """Of both parts."""

    service: PartUse
    gateway: PartUse

    def since(self, before: Use) -> Use:
        """What came to it since `before`."""
        return Use(_difference(self.service, before.service), _difference(self.gateway, before.gateway))


def used(stack: Stack) -> Use:
    """What the parts hold now, and the processor time that they have taken."""
    assert stack.gateway is not None  # noqa: S101 - it is started with the service
    return Use(_used(stack.service), _used(stack.gateway))


def _used(part: Part) -> PartUse:
    process = psutil.Process(part.process.pid)
    family = [process, *process.children(recursive=True)]
    times = [each.cpu_times() for each in family]
    return PartUse(
        sum(each.memory_info().rss for each in family) / 2**20, sum(each.user + each.system for each in times)
    )


def _difference(now: PartUse, before: PartUse) -> PartUse:
    return PartUse(now.rss_mib - before.rss_mib, now.cpu_s - before.cpu_s)
