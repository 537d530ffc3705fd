"""Measures what the parts need: memory, and processor time per call and per event of a stream.

The provider and the clients share the machine with the parts, so that only what the parts themselves use is told.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path

from bench.sizing.parts import Use, used
from bench.sizing.traffic import ask_over_grpc, ask_over_rest, open_streams
from tests.conftest import KEY
from tests.support.quick_upstream import Reader, quick_upstream
from tests.support.stack import Stack, running

_GAP_MS = 500
"""Between the events of the streams."""
_WATCHED_S = 10.0


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="unary, over each face")
    parser.add_argument("--streams", type=int, default=1000, help="at once")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as folder,
        quick_upstream() as upstream,
        running(_config(upstream), Path(folder)) as stack,
    ):
        asyncio.run(_measure(stack, arguments.calls, arguments.streams))
    return 0


def _config(upstream: Reader) -> dict[str, object]:
    return {
        "auth": {"keys": [{"name": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
        "providers": upstream.providers(),
        "models": {"m": {"targets": [{"provider": "openai", "model": "m"}]}},
    }


async def _measure(stack: Stack, calls: int, streams: int) -> None:
    idle = used(stack)
    _say(f"idle: service {idle.service.rss_mib:.0f} MiB, gateway {idle.gateway.rss_mib:.0f} MiB")
    for name, ask in (("REST", ask_over_rest), ("gRPC", ask_over_grpc)):
        await ask(stack, calls // 4)  # warms up
        before = used(stack)
        taken_s = await ask(stack, calls)
        spent = used(stack).since(before)
        _say(f"unary over {name}: {_per(spent, calls)} us of processor per call, {calls / taken_s:.0f} calls/s")
    before = used(stack)
    async with open_streams(stack, streams, _GAP_MS) as events:
        await asyncio.sleep(3 * _GAP_MS / 1000)
        opened, begun = used(stack), events.count
        await asyncio.sleep(_WATCHED_S)
        spent, came = used(stack).since(opened), events.count - begun
    service_kib = (opened.service.rss_mib - before.service.rss_mib) * 1024 / streams
    gateway_kib = (opened.gateway.rss_mib - before.gateway.rss_mib) * 1024 / streams
    _say(f"{streams} streams: service {service_kib:.0f} KiB, gateway {gateway_kib:.0f} KiB each")
    _say(f"{streams} streams: {_per(spent, came)} us of processor per event, {came / _WATCHED_S:.0f} events/s")


def _per(spent: Use, count: int) -> str:
    return f"service {spent.service.cpu_s / count * 1e6:.0f}, gateway {spent.gateway.cpu_s / count * 1e6:.0f}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
