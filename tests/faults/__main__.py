"""`python -m tests.faults`: the fault provider as a program."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.parley import full, snippet
from tests.faults.server import FaultProvider

_WHAT = """An OpenAI-compatible provider on loopback that fails as the model's name says, such as
`cut-after-events` or `cut-after-events:2`. It tells on standard error what became of each request. Requests with the
same `user` (or, without one, the same messages) belong together, which matters to faults that mend."""


def main() -> int:
    """Serve until Ctrl-C, or print the faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=_WHAT)
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0, the default, takes a free port")
    parser.add_argument("--list", action="store_true", help="print the faults, and end")
    parser.add_argument("--config", action="store_true", help="print a whole configuration of Parley, with every fault")
    options = parser.parse_args()
    if options.list:
        print("\n".join(map(_row, FAULTS.values())))  # noqa: T201 - a command's output
        return 0
    try:
        asyncio.run(_serve(options.port, whole=options.config))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"can't listen on 127.0.0.1:{options.port}: {error.strerror}", file=sys.stderr)  # noqa: T201 - likewise
        return 1
    return 0


def _row(fault: Fault) -> str:
    default = "for ever" if math.isinf(fault.default) else f"{fault.default:g}"
    return f"{fault.form:22} {fault.does}" + (f" (default {default})" if fault.unit else "")


async def _serve(port: int, *, whole: bool) -> None:
    async with FaultProvider(port, lambda line: print(line, file=sys.stderr, flush=True)) as provider:  # noqa: T201 - likewise
        text = (full if whole else snippet)(provider.base_url, provider.unreachable)
        print(f"# Serving at {provider.base_url}\n{text}", end="", flush=True)  # noqa: T201 - likewise
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
