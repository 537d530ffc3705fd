"""The benchmark of load balancing: its figures, what it tells Envoy, and that Envoy takes it."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import subprocess
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from bench.balancing.clock import Clock
from bench.balancing.gateways import bootstrap, envoy, running_gateway, until_healthy
from bench.balancing.measuring import Figures, average, measure
from bench.balancing.policies import POLICIES
from bench.balancing.replicas import REPLICA, Held, Replica, order
from bench.balancing.reports import Rate, Telling, report
from bench.balancing.running import run
from bench.balancing.traffic import LONG_S, SCENARIOS, Mix, Scenario, arrivals

SMALL = Scenario("small", "", gateways=(1.0, 1.0), replicas=2, warm_up_s=0.0, duration_s=10.0, open_per_replica=3.0)
BY_NAME = {policy.name: policy for policy in POLICIES}


def held(*spans: tuple[float, float], events_per_s: float = 1.0) -> list[Held]:
    return [Held(came, events_per_s, came, ended) for came, ended in spans]


def test_calls_that_are_spread_evenly_have_even_figures() -> None:
    found = measure(SMALL, [held((0, 10), (0, 10)), held((0, 10), (0, 10))])
    assert found == Figures(open_peak=1.0, open_peak_p95=1.0, open_spread=0.0, events_peak=1.0)


def test_the_busiest_replica_is_told_by_the_mean() -> None:
    """Three calls and one: a mean of two, from which each is one away; and the one sends nine times as many events."""
    found = measure(SMALL, [held((0, 10), (0, 10), (0, 10)), held((0, 10), events_per_s=9.0)])
    assert (found.open_peak, found.open_spread) == (1.5, 0.5)
    assert found.events_peak == 9 / 6


def test_calls_count_only_while_they_are_open() -> None:
    """For half of the time one replica has all, then both have the same."""
    found = measure(SMALL, [held((0, 10)), held((5, 10))])
    assert math.isclose(found.open_peak, (2.0 + 1.0) / 2)
    assert found.open_peak_p95 == 2.0


def test_a_call_that_never_had_a_slot_waited_until_the_end() -> None:
    waiting = Held(4.0, 1.0, None, 12.0)
    found = measure(replace(SMALL, slots=1), [[*held((0, 10)), waiting], held((0, 10))])
    assert (found.wait_mean_s, found.wait_p99_s) == (2.0, 6.0)


def test_a_new_replica_is_full_when_it_has_most_of_what_others_have() -> None:
    joining = replace(SMALL, joins_at_s=2.0, duration_s=20.0)
    found = measure(joining, [held(*[(0.0, 30.0)] * 5), held((3, 30), (4, 30), (5, 30), (6, 30))])
    assert found.filled_s == 4.0
    fair = joining.calls_per_s / 2 * 5.0
    assert found.rush is not None
    assert math.isclose(found.rush, 4 / fair)


def test_calls_that_failed_are_told_as_a_share() -> None:
    failed = Held(3.0, 1.0, None, 3.0, has_failed=True)
    found = measure(replace(SMALL, is_failing=True), [[failed], held((0, 10), (0, 10), (0, 10))])
    assert found.failed == 0.25


def test_rounds_are_averaged_over_those_that_have_a_figure() -> None:
    one = Figures(1.0, 2.0, 3.0, 4.0, filled_s=None)
    assert average([one, replace(one, open_peak=2.0, filled_s=7.0)]) == replace(one, open_peak=1.5, filled_s=7.0)


def test_calls_are_the_same_for_a_seed_and_come_as_fast_as_is_said() -> None:
    long = replace(SMALL, duration_s=5000.0, gateways=(3.0, 1.0))
    calls = arrivals(long, seed=7)
    assert calls == arrivals(long, seed=7)
    assert calls != arrivals(long, seed=8)
    mean_s = sum(call.lifetime_s for call in calls) / len(calls)
    assert mean_s == pytest.approx(Mix().mean_s, rel=0.2)
    assert len(calls) / long.end_s == pytest.approx(long.calls_per_s, rel=0.1)
    assert sum(call.gateway == 0 for call in calls) / len(calls) == pytest.approx(0.75, rel=0.1)
    assert all(call.is_stream for call in calls if call.lifetime_s > LONG_S)


@pytest.mark.parametrize(
    ("telling", "open_calls", "weight"),
    [
        (Telling.RATE, 10, 5.0 * 1000 / 10),
        (Telling.RATE, 0, 5.0 * 1000 / 0.5),
        (Telling.INVERSE, 9, 1000 * 1000 / 10),
        (Telling.STEEP, 9, 1000 * 1000 / 100),
    ],
)
def test_a_report_makes_the_weight_that_is_meant(telling: Telling, open_calls: int, weight: float) -> None:
    message = report(telling, open_calls, 5.0, 0.25)
    rate_tag, rate, errors_tag, errors, use_tag, use = struct.unpack("<BdBdBd", message)
    assert (rate_tag, errors_tag, use_tag) == (0x31, 0x39, 0x49)  # fields 6, 7 and 9, all doubles
    assert errors / rate == 0.25
    assert math.isclose(rate / use, weight)
    assert len(message) % 3 == 0, "Envoy reads no base64 without padding, and gRPC pads none"


def test_a_rate_fades() -> None:
    rate = Rate()
    for number in range(1000):
        rate.count(number / 10)
    assert rate.per_s(100.0) == pytest.approx(10.0, rel=0.1)
    assert rate.per_s(110.0) == pytest.approx(10.0 / math.e, rel=0.1)
    assert rate.per_s(1000.0) < 0.001


def test_every_policy_is_another() -> None:
    policies = [policy for policy in POLICIES if policy.name != "gateway"]
    clusters = json.loads(bootstrap({policy: [1, 2] for policy in policies}, 10.0))["static_resources"]["clusters"]
    # Of those by ORCA out of band, what they are told differs, and nothing else.
    told = {json.dumps(cluster.get("load_balancing_policy")) for cluster in clusters}
    tellings = {policy.telling for policy in policies if policy.by_stream}
    assert len(told) == len(policies) - (len(tellings) - 1)


def test_envoy_takes_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    path.write_text(bootstrap({policy: [1, 2] for policy in POLICIES}, 10.0), "utf-8")
    command = [envoy(), "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_scenarios_have_names_of_their_own_and_periods_that_envoy_takes() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    # Envoy's shortest period of weights is 100 ms, which stands for a second.
    assert all(scenario.speed <= 10 for scenario in SCENARIOS)


async def test_calls_reach_the_replicas_once_each() -> None:
    scenario = replace(SMALL, mix=Mix(long_share=0.0))
    calls = arrivals(scenario, seed=3)
    (outcome,) = await run(scenario, [BY_NAME["gateway"]], calls)
    assert outcome.failed == 0
    assert sum(len(replica.held) for replica in outcome.replicas) == len(calls)
    assert all(replica.held for replica in outcome.replicas)
    assert not outcome.is_weighted


@pytest.mark.parametrize("name", ["orca_trailers", "orca"])
async def test_envoy_makes_weights_of_reports(name: str, tmp_path: Path) -> None:
    replicas = [Replica(Clock(SMALL.speed), BY_NAME[name]) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            await stack.enter_async_context(replica.serving(healthy=True))
        config = bootstrap({BY_NAME[name]: [replica.port for replica in replicas]}, SMALL.speed)
        gateway = await stack.enter_async_context(running_gateway(config, tmp_path))
        await until_healthy([gateway], {name: 2})
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(gateway.addresses[name]))
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{REPLICA}/Call")
        async with asyncio.timeout(60):
            while 1 in await asyncio.to_thread(lambda: gateway.weights()[name]):
                await ask(order(0.1, 1.0))


async def test_a_failing_replica_fails_calls_and_stays_in_the_cluster() -> None:
    scenario = replace(SMALL, mix=Mix(long_share=0.0), is_failing=True)
    calls = arrivals(scenario, seed=3)
    (outcome,) = await run(scenario, [BY_NAME["round_robin"]], calls)
    assert 0 < outcome.failed < len(calls)
    assert outcome.failed == len(outcome.replicas[0].held)
