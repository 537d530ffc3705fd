"""Replicas that die without a word, under load: what was theirs is lost visibly, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests.rollout.cluster.cluster import Cluster
from tests.rollout.conftest import GATEWAY, SERVICE, Parley, Report
from tests.rollout.load import STREAM, Load, loaded

RECOVERY_S = 60
UNNOTICED_S = {SERVICE: 1.0, GATEWAY: 10.0}
"""How long after a death calls may still be lost, on a busy machine.

Envoy reads of a closed connection a moment after it was closed, and may have sent a call there before. A gateway that
is gone gets connections until the cluster has noticed, which takes a second on a quiet machine.
"""


async def test_what_dies_loses_what_it_was_doing_visibly_and_nothing_else(hasty: Parley, report: Report) -> None:
    cluster = hasty.cluster
    async with loaded(hasty.address) as load:
        for name, unnoticed_s in UNNOTICED_S.items():
            load.failures.clear()
            await load.is_under_way()
            noticed = await _kill(cluster, name, report) + unnoticed_s
            await asyncio.sleep(max(noticed - time.monotonic(), 0))
            await load.is_under_way()
            _check(load, noticed, report)
    report.add(load)


async def _kill(cluster: Cluster, name: str, report: Report) -> float:
    """Kill one of two replicas, and wait until it is there again; when all of it had ended.

    That takes some milliseconds, and tens on a busy machine. Calls that come meanwhile are lost like those before.
    """
    victim, other = cluster.ready(name)
    assert victim.container is not None
    process = victim.container.process
    victim.container.kill()
    await process.wait()
    died = time.monotonic()
    await cluster.until(lambda: not victim.is_ready, RECOVERY_S, cluster.deployments[name])
    await cluster.until(lambda: victim.is_ready, RECOVERY_S, cluster.deployments[name])
    report.add(f"{name} killed, and ready again after {time.monotonic() - died:.1f} s")
    assert 0 not in victim.exit_codes
    assert not other.exit_codes
    return died


def _check(load: Load, noticed: float, report: Report) -> None:
    assert any(failure.kind.startswith(STREAM) for failure in load.failures), "nothing was lost, so nothing was tried"
    late = [failure for failure in load.failures if failure.began > noticed]
    assert not late, late[:5]
    assert not [failure for failure in load.failures if "characters" in failure.what], "a clean end of half an answer"
    for what, count in Counter(f"{failure.kind}: {failure.what}"[:90] for failure in load.failures).items():
        report.add(f"{count} times {what!r}")
