"""More than the service can do: providers that never pause keep nobody else waiting, and no stream of theirs starves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.compare.provider import stream_provider
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.rpc.pacing import Pacing
from tests.support.json_form import to_proto
from tests.support.stack import running

ROOT = Path(__file__).resolve().parents[2]
CALLS = 600
STREAMS = 150
ENDLESS = "stream:100000000:0"
# What it takes on an idle machine is a hundredth.
PATIENCE_S = 60.0


def test_calls_that_come_while_the_loop_is_late_are_read_in_a_few_turns() -> None:
    command = [sys.executable, "-m", "tests.support.late_loop", str(CALLS)]
    turns = int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120).stdout)

    assert turns < CALLS / 10, "one for each that the socket of grpc.aio does not hold"


async def test_streams_without_a_pause_all_go_on_and_health_checks_are_answered(tmp_path: Path) -> None:
    with stream_provider() as address:
        config = {
            "providers": {"p": {"kind": "openai", "base_url": f"http://{address}/v1"}},
            "models": {"m": {"targets": [{"provider": "p", "model": "m"}]}},
            "telemetry": {"metrics": {"address": None}},
        }
        with running(config, tmp_path, gateway=False) as stack:
            async with grpc.aio.insecure_channel(stack.grpc_address) as channel, asyncio.timeout(PATIENCE_S):
                stub: Any = ChatServiceStub(channel)
                request = to_proto({"model": "m", "messages": [{"role": "user", "content": ENDLESS}]})
                streams = [stub.StreamChatCompletion(request) for _ in range(STREAMS)]
                reading = asyncio.gather(*(_read(stream, 20) for stream in streams))
                async with grpc.aio.insecure_channel(stack.grpc_address) as another:
                    health: Any = health_pb2_grpc.HealthStub(another)
                    while not reading.done():
                        await health.Check(health_pb2.HealthCheckRequest(), timeout=15)
                await reading
                for stream in streams:
                    stream.cancel()


async def _read(stream: Any, times: int) -> None:
    for _ in range(times):
        assert await stream.read() is not grpc.aio.EOF


def test_a_turn_that_gets_long_ends_and_those_who_wait_go_on_in_their_order() -> None:
    async def run() -> list[int]:
        pacing, turn, went_on = Pacing(), 0, []

        async def write(number: int) -> None:
            if pacing.is_late():
                await pacing.my_turn()
            went_on.append((turn, number))
            time.sleep(0.001)  # noqa: ASYNC251 - so long does a write of many chunks take

        tasks = [asyncio.create_task(write(number)) for number in range(30)]
        cancelled = tasks[20]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            turn += 1
            cancelled.cancel()
        assert [number for _, number in went_on] == [number for number in range(30) if number != 20]
        counts = [sum(at == each for at, _ in went_on) for each in range(turn)]
        return [count for count in counts if count]

    first, *others = uvloop.run(run())

    assert 8 <= first < 15, "8 without a look, and 3 ms"
    assert max(others) == 4


def test_short_turns_end_as_they_are() -> None:
    async def run() -> None:
        pacing = Pacing()
        for _ in range(100):
            assert not pacing.is_late()
            await asyncio.sleep(0.001)

    uvloop.run(run())


@pytest.mark.parametrize("between", [0, 7, 8, 20])
def test_a_turn_is_not_long_because_one_before_was(between: int) -> None:
    async def run() -> None:
        pacing = Pacing()
        for _ in range(between):
            pacing.is_late()
        time.sleep(0.01)  # noqa: ASYNC251
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not pacing.is_late()

    uvloop.run(run())
