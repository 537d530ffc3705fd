"""Runs a scenario: all policies at the same time, each with replicas of its own and the same calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from bench.balancing.clock import Clock
from bench.balancing.gateways import Gateway, bootstrap, running_gateway, until_healthy
from bench.balancing.policies import Policy
from bench.balancing.replicas import REPLICA, Replica, order
from bench.balancing.traffic import Call, Scenario

_CONNECTIONS: Final = 2
"""Of the callers to each gateway, by which they come to several of its workers."""


@dataclass
class Outcome:
    """What became of a policy's calls."""

    policy: Policy
    replicas: list[Replica]
    failed: int = 0
    """Calls, as their callers saw it."""
    is_weighted: bool = True
    """Whether at the end every gateway has given its replicas different weights."""
    stream_failures: int = 0
    """Streams of reports that failed, after which Envoy waits a second or more of the machine's time."""
    late_s: list[float] = field(default_factory=list)
    """By how much each call began too late: the machine has much to do."""
    _channels: list[list[grpc.aio.Channel]] = field(default_factory=list)

    async def give(self, calls: Sequence[Call], clock: Clock, end_s: float) -> None:
        """All calls when they are due; what is open at the end is left."""
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            for number, call in enumerate(calls):
                await clock.until(call.at_s)
                self.late_s.append(clock.now_s() - call.at_s)
                channel = self._channels[call.gateway][number % _CONNECTIONS]
                tasks.append(group.create_task(self._ask(channel, call)))
            await clock.until(end_s)
            for task in tasks:
                task.cancel()

    async def connect(self, gateways: Sequence[Gateway], stack: AsyncExitStack) -> None:
        """To every gateway."""
        # Without this, channels to one address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        for gateway in gateways:
            address = gateway.addresses[self.policy.name]
            channels = [grpc.aio.insecure_channel(address, options) for _ in range(_CONNECTIONS)]
            self._channels.append([await stack.enter_async_context(channel) for channel in channels])
            await asyncio.gather(*(channel.channel_ready() for channel in channels))

    async def _ask(self, channel: grpc.aio.Channel, call: Call) -> None:
        request = order(call.lifetime_s, call.events_per_s)
        try:
            if call.is_stream:
                stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{REPLICA}/Stream")
                async for _ in stream(request):
                    pass
            else:
                unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{REPLICA}/Call")
                await unary(request)
        except grpc.aio.AioRpcError:
            self.failed += 1


async def run(scenario: Scenario, policies: Sequence[Policy], calls: Sequence[Call]) -> list[Outcome]:
    """The same calls for every policy."""
    clock = Clock(scenario.speed)
    async with AsyncExitStack() as stack:
        outcomes = [Outcome(policy, _replicas(scenario, policy, clock)) for policy in policies]
        for outcome in outcomes:
            for replica in outcome.replicas:
                joins = scenario.joins_at_s is not None and replica is outcome.replicas[-1]
                await stack.enter_async_context(replica.serving(healthy=not joins))
        gateways = await _gateways(scenario, outcomes, stack)
        for outcome in outcomes:
            await outcome.connect(gateways, stack)
        # Where one joins, every gateway finds the others first.
        count = scenario.replicas - (scenario.joins_at_s is not None)
        await until_healthy(gateways, {policy.name: count for policy in policies})
        await _give(scenario, outcomes, calls)
        for gateway in gateways:
            weights = await asyncio.to_thread(gateway.weights)
            failures = await asyncio.to_thread(gateway.failures)
            for outcome in outcomes:
                outcome.is_weighted &= len(set(weights[outcome.policy.name])) > 1
                outcome.stream_failures += failures[outcome.policy.name]
    return outcomes


async def _give(scenario: Scenario, outcomes: Sequence[Outcome], calls: Sequence[Call]) -> None:
    # From here on, when all is connected: the time before would count as load.
    clock = Clock(scenario.speed)
    for outcome in outcomes:
        for replica in outcome.replicas:
            replica.clock = clock
    async with asyncio.TaskGroup() as group:
        for outcome in outcomes:
            group.create_task(outcome.give(calls, clock, scenario.end_s))
        if scenario.joins_at_s is not None:
            await clock.until(scenario.joins_at_s)
            for outcome in outcomes:
                await outcome.replicas[-1].set_health(healthy=True)


def _replicas(scenario: Scenario, policy: Policy, clock: Clock) -> list[Replica]:
    slowness = [*scenario.slowness, *[1.0] * scenario.replicas][: scenario.replicas]
    made = [
        Replica(clock, policy, slow, None if scenario.slots is None else asyncio.Semaphore(scenario.slots))
        for slow in slowness
    ]
    made[0].fails_from_s = scenario.warm_up_s if scenario.is_failing else None
    return made


async def _gateways(scenario: Scenario, outcomes: Sequence[Outcome], stack: AsyncExitStack) -> list[Gateway]:
    ports = {outcome.policy: [replica.port for replica in outcome.replicas] for outcome in outcomes}
    config = bootstrap(ports, scenario.speed)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
    gateways: list[Gateway] = []
    for number in range(len(scenario.gateways)):
        own = folder / str(number)
        own.mkdir()
        gateways.append(await stack.enter_async_context(running_gateway(config, own)))
    return gateways
