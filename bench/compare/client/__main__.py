"""Does one job, and ends."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import uvloop

from bench.compare.client.call import Call, Caller, StreamCall, Tally
from bench.compare.client.grpc import GrpcCaller
from bench.compare.client.job import BEGUN, ENDED, Job, Outcome
from bench.compare.client.rest import RestCaller

_UNANSWERED: Final = 32
"""Streams that are opened at a time: a slow gateway is not asked for all of them at once."""
_OPENING_S: Final = 1.0
"""Over which streams are opened, so that their events don't come all at the same moment."""
_CALLS_PER_CONNECTION: Final = 64
_IDLE: Final = 8
"""Connections for single requests over HTTP/1.1, beside those for streams; more are made when these are busy."""


def main() -> None:
    """Read the job, do it, tell."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    gc.disable()  # it ends soon, and a pause would look like the gateway's
    outcome = uvloop.run(_do(job))
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


async def _do(job: Job) -> Outcome:
    tally = Tally(keeps_delays=job.is_paced)
    kind = GrpcCaller if job.protocol == "grpc" else RestCaller
    caller: Caller = kind(job.address, job.path, job.headers)
    calls: list[StreamCall] = []
    singles: list[Call] = []
    end_s = time.monotonic() + job.limit_s
    # Of streams without a pause the first would keep the loop too busy to connect for the last.
    needed = job.streams + _IDLE if job.protocol == "rest" else job.streams // _CALLS_PER_CONNECTION + 1
    try:
        await caller.connect(needed)
    except OSError:
        caller.close()
        asked = job.streams + job.single
        return Outcome(failed=asked, problems={"no connection": asked})
    try:
        began_s = time.monotonic()
        await _open(job, caller, tally, calls)
        opening_s = time.monotonic() - began_s
        opened = [call for call in calls if call.first_ns]
        window_s = await _count(job, tally)
        await _ask_singly(job, caller, singles)
        was_full = not any(call.over.done() for call in opened)
        await _until_over([*singles, *(calls if job.events else ())], end_s)
    finally:
        failed = Counter(_problem(call, job) for call in [*calls, *singles])
        caller.close()
        await asyncio.sleep(0)  # in which the loop closes what was cut
    del failed[""]
    return Outcome(
        opened=len(opened),
        opening_s=opening_s,
        was_full=was_full,
        window_s=window_s,
        events=tally.events,
        delays_ns=tally.delays_ns,
        single_ns=[_taken_ns(call) for call in singles if call.over.done() and call.problem is None],
        failed=failed.total(),
        problems=dict(failed),
    )


async def _open(job: Job, caller: Caller, tally: Tally, calls: list[StreamCall]) -> None:
    """All streams; ends when each has its first event or has failed, or at the limit.

    Those that have no pause are asked for all at once: the first would take what the others need to begin.
    """
    places = asyncio.Semaphore(_UNANSWERED if job.is_paced else job.streams)
    apart_s = _OPENING_S / job.streams if job.is_paced and job.streams else 0.0
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(job.opening_limit_s):
            for number in range(job.streams):
                await _until(began_s + number * apart_s)
                await places.acquire()
                call = StreamCall(tally, job.events, ends_with_done=job.protocol == "rest")
                calls.append(call)
                call.begun.add_done_callback(lambda _: places.release())
                await caller.ask(job.stream, call)
            for call in calls:
                await asyncio.shield(call.begun)
    except TimeoutError:
        pass  # how many are open is told


async def _count(job: Job, tally: Tally) -> float:
    """For how long events were counted, in seconds."""
    if not job.window_s:
        return 0.0
    await asyncio.sleep(job.settle_s)
    _say(BEGUN)
    tally.is_counting, began_s = True, time.monotonic()
    await asyncio.sleep(job.window_s)
    tally.is_counting, ended_s = False, time.monotonic()
    _say(ENDED)
    return ended_s - began_s


async def _ask_singly(job: Job, caller: Caller, calls: list[Call]) -> None:
    """At a fixed rate, whether the answers come or not."""
    if job.single and not job.streams:
        _say(BEGUN)
    began_s = time.monotonic()
    unused = Tally()
    for number in range(job.single):
        await _until(began_s + number / job.per_s)
        call = Call() if job.unary else StreamCall(unused, 1, ends_with_done=job.protocol == "rest")
        calls.append(call)
        await caller.ask(job.unary or job.probe, call)
    if job.single and not job.streams:
        await _until(began_s + job.single / job.per_s)
        _say(ENDED)


async def _until(moment_s: float) -> None:
    if (left_s := moment_s - time.monotonic()) > 0:
        await asyncio.sleep(left_s)


async def _until_over(calls: Sequence[Call], end_s: float) -> None:
    if calls:
        await asyncio.wait([call.over for call in calls], timeout=max(end_s - time.monotonic(), 0))


def _problem(call: Call, job: Job) -> str:
    """Empty where there is none."""
    if isinstance(call, StreamCall) and not job.events and not call.over.done():
        return "" if call.first_ns else "no event"
    if not call.over.done():
        return "not over in time"
    if call.problem is None and not job.events and job.streams:
        return "ended, though it has no end"
    return call.problem or ""


def _taken_ns(call: Call) -> int:
    return (call.first_ns if isinstance(call, StreamCall) else call.ended_ns) - call.sent_ns


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
