"""Many streams at once, half of them left early, round after round: `python -m tests.soak --minutes 10`.

Prints a line per round, and exits 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Plan, soak


def main() -> int:
    """Read the command line and do it."""
    default = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--streams", type=int, default=default.streams, help="at once; half of them are left early")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="at least that many rounds")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="at least that long")
    parser.add_argument("--seed", type=int, default=default.seed, help="of when streams are left")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-soak-") as folder:
        result = asyncio.run(soak(Plan(**vars(arguments)), Path(folder)))
    sys.stdout.write(result.report() + "\n")
    return 1 if result.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())
