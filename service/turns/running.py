"""Runs the server-side tools that the model called in one turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from service._gen.parley.v1.tool_pb2 import ToolCall
from service.dispatch.call import DispatchCall, ToolRun
from service.tools.listing import SEPARATOR
from service.tracing.content import bounded
from service.tracing.trace import CallTrace
from service.turns.messages import ERROR, OK
from service.turns.offer import Offer, Outcome


async def outcomes(
    calls: Sequence[ToolCall], offer: Offer, by: float, answered: DispatchCall
) -> AsyncGenerator[Outcome]:
    """What comes of each, in the order of the calls, as soon as it is known; close the generator when done with it.

    What still runs when it is closed, or when its reader is cancelled, is cancelled, and has ended then.

    Args:
        calls: Of server-side tools.
        offer: Has the tools, and says how many run at once.
        by: When the last has to be done, on the clock of `time.monotonic`.
        answered: The call that they are run for; its journal takes note of each that has begun.
    """
    slots = asyncio.Semaphore(offer.limits.parallel)
    # No TaskGroup: this yields while they run. What it would see to, the `finally` does.
    tasks = [asyncio.create_task(_outcome(call, offer, slots, by, answered)) for call in calls]
    try:
        for task in tasks:
            # Not by awaiting it: cancelled alone, it would give its slot to a tool that nobody wants any more.
            await asyncio.wait({task})
            yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(
    call: ToolCall, offer: Offer, slots: asyncio.Semaphore, by: float, answered: DispatchCall
) -> Outcome:
    async with slots:
        started = time.monotonic()
        outcome = None
        try:
            outcome = await offer.run(call.function.name, call.function.arguments, by - started)
        finally:
            answered.journal.tools.append(_run(call, outcome, started, answered.trace))
    return outcome


def _run(call: ToolCall, outcome: Outcome | None, started: float, trace: CallTrace | None) -> ToolRun:
    server, _, tool = call.function.name.partition(SEPARATOR)
    status = "cancelled"
    if outcome is not None:
        status = ERROR if outcome.is_error else OK
    duration_s = time.monotonic() - started
    if trace is None or not (trace.is_recorded and trace.has_content):
        return ToolRun(server, tool, status, duration_s, started)
    result = None if outcome is None else bounded(outcome.text)
    return ToolRun(server, tool, status, duration_s, started, bounded(call.function.arguments), result)
