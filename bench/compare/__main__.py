"""Measures Parley beside other gateways, all in one run on one machine, and writes what it has found."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.compare.gateways import GATEWAYS
from bench.compare.measures import GROUPS
from bench.compare.runs import Options, Run
from bench.compare.writing import write

_OUT: Final = Path(__file__).resolve().parents[1] / "results"
_STREAMS: Final = (64, 1000)
_SLICE_S: Final = 1.0
"""So that three rounds of all end within twenty minutes."""
_QUICK: Final = ("unary", "steady", "paced", "saturated")
_QUICK_STREAMS: Final = (16, 64)


def main() -> int:
    """Read the command line and do it; 1 where a gateway could not take part."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: so that all that was started ends with it
    few, many = arguments.streams or (_QUICK_STREAMS if arguments.quick else _STREAMS)
    options = Options(
        gateways=[each for each in GATEWAYS if not arguments.only or each.name in arguments.only],
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        slice_s=arguments.slice_seconds or (0.5 if arguments.quick else _SLICE_S),
        few=few,
        many=many,
        groups=arguments.measures or (_QUICK if arguments.quick else ()),
    )
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        run = Run(options, Path(arguments.keep_logs or folder))
        results = run.all()
    for file in write(results, arguments.out):
        sys.stdout.write(f"{file}\n")
    return 1 if run.failures else 0


def _arguments() -> argparse.Namespace:
    names = [gateway.name for gateway in GATEWAYS]
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=_positive, help="of all slices; 3 unless told")
    parser.add_argument("--slice-seconds", type=float, help="how long one load lasts; 1 unless told")
    parser.add_argument("--only", type=_list_of(names), default=[], metavar="A,B", help=", ".join(names))
    parser.add_argument("--measures", type=_list_of(GROUPS), default=[], metavar="A,B", help=", ".join(GROUPS))
    parser.add_argument("--streams", type=_two, metavar="FEW,MANY", help="at once; 64,1000")
    parser.add_argument(
        "--quick", action="store_true", help="one round of half seconds and not of all measures, to see that all works"
    )
    parser.add_argument("--out", type=Path, default=_OUT, help="the folder for the results")
    parser.add_argument("--keep-logs", type=Path, help="a new folder for the gateways' configurations and logs")
    return parser.parse_args()


def _list_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in names]:
            raise argparse.ArgumentTypeError(f"no {unknown[0]}; there are {', '.join(names)}")
        return found

    return read


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return number


def _two(text: str) -> tuple[int, int]:
    few, _, many = text.partition(",")
    return _positive(few), _positive(many)


if __name__ == "__main__":
    sys.exit(main())
