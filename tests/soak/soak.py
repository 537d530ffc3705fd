"""Rounds of streams through the gateway, and what the parts hold after each."""

from __future__ import annotations

import asyncio
import hashlib
import random
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.soak.streams import Stream, read_stream
from tests.support.quick_upstream import Reader, Seen, quick_upstream
from tests.support.stack import Stack, running, wait_for
from tests.support.watching import Holds, holds, settled

WARM_UP_ROUNDS = 2
CHANNELS = 4  # one HTTP/2 connection carries up to 1,000 streams to Envoy
GROWTH = 1.08
GROWTH_MIB = 12
"""What resident memory may grow by from the first rounds after the warm-up to the last: the allocator's noise.
A kilobyte kept of each stream is 1 MiB per round of a thousand, found after a dozen rounds."""
SLACK_DESCRIPTORS = 5
CLOSED_WITHIN_S = 5.0
"""Until the provider's connection of a stream that was left is closed. The promise is a second; here a thousand
streams share the machine with who reads them."""


@dataclass(frozen=True)
class Plan:
    """How much, and for how long."""

    streams: int = 1000
    rounds: int = 5
    minutes: float = 0.0
    """Longer than that many rounds, where they are over before."""
    words: int = 12
    gap_ms: int = 150
    seed: int = 1


@dataclass
class Round:
    """What came of one round."""

    took_s: float
    completed: int
    left: int
    complaints: list[str]
    slowest_close_s: float
    service: Holds
    gateway: Holds

    def __str__(self) -> str:
        return (
            f"{self.took_s:5.1f} s  {self.completed:5} read  {self.left:5} left, closed within"
            f" {self.slowest_close_s:4.2f} s  service {self.service.rss_mib:6.1f} MiB {self.service.descriptors:4} fds"
            f" {sum(self.service.tasks.values()):3} tasks  Envoy {self.gateway.rss_mib:6.1f} MiB"
            f" {self.gateway.descriptors:4} fds  {len(self.complaints)} bad"
        )


@dataclass
class Soak:
    """All rounds, between what the parts held before and after."""

    before: Round
    rounds: list[Round] = field(default_factory=list)
    connections_left: int = 0

    def complaints(self) -> list[str]:
        """What broke a promise."""
        found = [complaint for each in self.rounds for complaint in each.complaints]
        found += [
            f"round {number}: a provider's connection was closed only after {each.slowest_close_s:.1f} s"
            for number, each in enumerate(self.rounds)
            if each.slowest_close_s > CLOSED_WITHIN_S
        ]
        last = self.rounds[-1]
        if not (tasks := last.service.tasks) <= self.before.service.tasks:
            found.append(f"tasks: {self.before.service.tasks} before, {tasks} after")
        for name, before, after in (
            ("service", self.before.service, last.service),
            ("Envoy", self.before.gateway, last.gateway),
        ):
            if after.descriptors > before.descriptors + SLACK_DESCRIPTORS:
                found.append(f"{name}: {before.descriptors} descriptors before, {after.descriptors} after")
        if self.connections_left:
            found.append(f"{self.connections_left} connections are left at the provider")
        return found + self._growths()

    def _growths(self) -> list[str]:
        warm = self.rounds[WARM_UP_ROUNDS:]
        third = max(len(warm) // 3, 1)
        found = []
        for name in ("service", "gateway"):
            sizes = [getattr(each, name).rss_mib for each in warm]
            first, last = statistics.mean(sizes[:third]), statistics.mean(sizes[-third:])
            if last > first * GROWTH + GROWTH_MIB:
                found.append(f"{name}: resident memory grew from {first:.1f} to {last:.1f} MiB")
        return found

    def report(self) -> str:
        """A line per round."""
        lines = [f"{'start':>5}  {self.before}"]
        lines += [f"{number:5}  {each}" for number, each in enumerate(self.rounds)]
        return "\n".join([*lines, *(self.complaints() or ["all promises held"])])


async def soak(plan: Plan, folder: Path) -> Soak:
    """Run all parts and the rounds."""
    with quick_upstream() as upstream:
        config = {
            "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
            "providers": upstream.providers(),
            "models": {"openai": {"targets": [{"provider": "openai", "model": "m-1"}]}},
        }
        parts = running(config, folder, watched=True)
        stack = await asyncio.to_thread(parts.__enter__)
        try:
            return await _rounds(plan, stack, upstream)
        finally:
            await asyncio.to_thread(parts.__exit__, None, None, None)


async def _rounds(plan: Plan, stack: Stack, upstream: Reader) -> Soak:
    end = time.monotonic() + plan.minutes * 60
    chance = random.Random(plan.seed)
    await _round(_streams(plan, chance, "first", 8), stack, upstream, None)
    result = Soak(await _round([], stack, upstream, None))
    while len(result.rounds) < plan.rounds or time.monotonic() < end:
        streams = _streams(plan, chance, f"r{len(result.rounds)}", plan.streams)
        result.rounds.append(await _round(streams, stack, upstream, result.before))
    result.connections_left = (await asyncio.to_thread(upstream.seen)).connections
    return result


def _streams(plan: Plan, chance: random.Random, name: str, count: int) -> list[Stream]:
    longest_s = plan.words * plan.gap_ms / 1000
    return [
        Stream(
            f"{name}-{number}",
            "rest" if number % 4 < 2 else "grpc",
            plan.words,
            plan.gap_ms,
            chance.uniform(0, longest_s) if number % 2 else None,
        )
        for number in range(count)
    ]


async def _round(streams: list[Stream], stack: Stack, upstream: Reader, before: Round | None) -> Round:
    began = time.monotonic()
    channels = [
        grpc.aio.insecure_channel(stack.http_address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(CHANNELS)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for number, stream in enumerate(streams):
                stub = ChatServiceStub(channels[number % CHANNELS])
                group.create_task(read_stream(stream, stack.http_address, stub))
    finally:
        for channel in channels:
            await channel.close()
    took_s = time.monotonic() - began
    return await asyncio.to_thread(_look, streams, stack, upstream, before, took_s)


def _look(streams: list[Stream], stack: Stack, upstream: Reader, before: Round | None, took_s: float) -> Round:
    """What the round has left behind, as soon as it is as little as before."""
    assert stack.gateway is not None
    wait_for(lambda: upstream.seen().running == 0, 30)
    upstream.close_idle()
    if before is None:
        service, gateway = holds(stack.service, with_tasks=True), holds(stack.gateway)
    else:
        was, gateway_was = before.service, before.gateway
        service = settled(
            stack.service,
            lambda now: now.tasks <= was.tasks and now.descriptors <= was.descriptors + SLACK_DESCRIPTORS,
            with_tasks=True,
        )
        gateway = settled(stack.gateway, lambda now: now.descriptors <= gateway_was.descriptors + SLACK_DESCRIPTORS)
    left = [stream for stream in streams if stream.left_at is not None]
    complaints = [f"{stream.face} {stream.name}: {stream.complaint}" for stream in streams if stream.complaint]
    seen = upstream.seen().names
    slowest_s = max((_closed_after_s(stream, seen.get(stream.name, [])) for stream in left), default=0.0)
    return Round(took_s, len(streams) - len(left) - len(complaints), len(left), complaints, slowest_s, service, gateway)


def _closed_after_s(stream: Stream, requests: list[Seen]) -> float:
    """How long the provider's connection outlived the stream that was left; 0 where it was over before."""
    ends = [seen.ended for seen in requests if seen.is_left and seen.ended is not None]
    return max((end - (stream.left_at or end) for end in ends), default=0.0)
