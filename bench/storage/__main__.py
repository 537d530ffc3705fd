"""Fills a database, and measures lists, insertion, and calls that are not stored."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.storage.calling import Rates, time_inserts, time_plain_calls
from bench.storage.databases import Kind, database
from bench.storage.filling import fill
from bench.storage.listing import time_lists
from service.storage.database import open_database
from tests.support.quick_upstream import quick_upstream


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="in the database before anything is measured")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--rate", type=int, default=500, help="calls per second that are stored")
    parser.add_argument("--rounds", type=int, default=6, help="of that, of five seconds each")
    parser.add_argument("--calls", type=int, default=10_000, help="that are not stored, for each of two services")
    parser.add_argument("--folder", type=Path, help="of the database; default: a temporary one")
    arguments = parser.parse_args()
    rates = Rates(per_s=arguments.rate, rounds=arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="parley-bench-", dir=arguments.folder) as folder:
        asyncio.run(_bench(arguments.database, Path(folder), arguments.records, rates, arguments.calls))
    return 0


async def _bench(kind: Kind, folder: Path, records: int, rates: Rates, calls: int) -> None:
    with database(kind, folder) as place, quick_upstream() as upstream:
        store = open_database(place.settings)
        try:
            await store.open()
            began = time.perf_counter()
            filled = await fill(store, records)
            taken_s = time.perf_counter() - began
            _say(f"{kind}: {records} records in {taken_s:.0f} s, {taken_s / records * 1e6:.0f} us each")
            for times in await time_lists(store, filled):
                _say(str(times))
        finally:
            await store.close()
        stored, plain = await time_inserts(place, upstream, folder, rates)
        _say(f"{rates.per_s} calls/s, stored:     {stored}")
        _say(f"{rates.per_s} calls/s, not stored: {plain}")
        ratio = statistics.median(stored.probes_ms) / statistics.median(plain.probes_ms)
        _say(f"a plain call beside calls that are stored: ratio {ratio:.2f}")
        with_store, without = await time_plain_calls(place, upstream, folder, calls)
        _say(f"a plain call: {with_store:.0f} us of processor with a database, {without:.0f} us without:", end=" ")
        _say(f"ratio {with_store / without:.3f}")


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
