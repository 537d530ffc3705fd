"""Rolling updates of the rendered manifests, under load: no unary call fails, and every stream ends as it should."""

from __future__ import annotations

import asyncio
import time

from tests.rollout.cluster.pod import Pod
from tests.rollout.conftest import GATEWAY, SERVICE, Parley, Report
from tests.rollout.load import loaded
from tests.rollout.manifests import MODEL
from tests.support.stack import wait_for

ROLL_S = 180


async def test_a_rolling_restart_of_each_part_loses_nothing(as_shipped: Parley, report: Report) -> None:
    cluster = as_shipped.cluster
    before = cluster.ready(SERVICE) + cluster.ready(GATEWAY)
    async with loaded(as_shipped.address) as load:
        await load.is_under_way()
        for name in (SERVICE, GATEWAY):
            began = time.monotonic()
            cluster.restart(name, "2026-11-22T12:00:00Z")
            await cluster.updated(name, ROLL_S)
            report.add(f"{name} updated in {time.monotonic() - began:.0f} s")
        for name in (SERVICE, GATEWAY):
            await cluster.rolled_out(name, ROLL_S)
        await load.is_under_way()
    report.add(load)
    report.add_pods(before)
    assert not load.failures, load.failures[:5]
    ended_well(before)


async def test_a_configuration_with_a_fault_reaches_nobody_and_a_right_one_all(hasty: Parley, report: Report) -> None:
    cluster = hasty.cluster
    service, old = cluster.deployments[SERVICE], cluster.ready(SERVICE)
    async with loaded(hasty.address) as load:
        await load.is_under_way()
        await hasty.apply(broken_models=("new",))
        await cluster.until(lambda: any(len(pod.exit_codes) > 1 for pod in service.new), ROLL_S, service)
        (stuck,) = service.new
        assert stuck.exit_codes[:2] == [2, 2]
        assert any("models.new.targets[0].provider" in line for line in stuck.log)
        assert stuck.took_to_ready_s is None
        assert cluster.ready(SERVICE) == old
        await load.is_under_way()
        began = time.monotonic()
        await hasty.apply(models=(MODEL, "new"))
        for name in (SERVICE, GATEWAY):
            await cluster.rolled_out(name, ROLL_S)
        report.add(f"the right one everywhere within {time.monotonic() - began:.0f} s")
        assert (await hasty.ask("new")).status_code == 200
        await load.is_under_way()
    report.add(load)
    assert not load.failures, load.failures[:5]
    ended_well(old)


async def test_replicas_are_added_and_taken_away(hasty: Parley, report: Report) -> None:
    cluster = hasty.cluster
    before = cluster.ready(SERVICE)
    async with loaded(hasty.address) as load:
        await load.is_under_way()
        cluster.scale(SERVICE, 3)
        await cluster.rolled_out(SERVICE, ROLL_S)
        (added,) = (pod for pod in cluster.ready(SERVICE) if pod not in before)
        began = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: calls(added) > 20, 60)
        report.add(f"calls reach the third replica {time.monotonic() - began:.1f} s after it was available")
        cluster.scale(SERVICE, 1)
        await cluster.rolled_out(SERVICE, ROLL_S)
        await load.is_under_way()
    report.add(load)
    assert not load.failures, load.failures[:5]
    ended_well([pod for pod in cluster.deployments[SERVICE].pods if pod.has_ended])


async def test_with_tls_between_all_parts_replicas_become_ready_and_roll(with_tls: Parley) -> None:
    cluster = with_tls.cluster
    before = cluster.ready(SERVICE)
    cluster.restart(SERVICE, "2026-11-22T12:00:00Z")
    await cluster.rolled_out(SERVICE, ROLL_S)
    assert (await with_tls.ask(MODEL)).status_code == 200
    ended_well(before)


def ended_well(pods: list[Pod]) -> None:
    """They did so by themselves, once, and without a call that outlasted what it was granted."""
    assert [pod.exit_codes for pod in pods] == [[0]] * len(pods)
    assert not any(pod.was_killed for pod in pods)
    assert not [line for pod in pods for line in pod.log if "outlasted" in line or "Traceback" in line]


def calls(pod: Pod) -> int:
    """How many a replica of the service has answered."""
    return sum('"event":"call"' in line.replace(" ", "") for line in list(pod.log))
