"""Writes what a run has found: raw numbers, pictures, report."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import msgspec

from bench.compare.gateways.installing import install_python
from bench.compare.gateways.processes import ENVIRONMENTS, ROOT
from bench.compare.report import report
from bench.compare.results import Results

LATEST: Final = "latest.md"
_PICTURE: Final = "picture"
"""The list in bench/requirements, and the environment made of it."""


def write(results: Results, folder: Path) -> list[Path]:
    """Into that folder; what was written, the report last."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / f"{results.began[:10]}.json"
    raw.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    pictures = draw(raw, folder)
    latest = folder / LATEST
    latest.write_text(report(results, [picture.name for picture in pictures]), "utf-8")
    return [raw, *pictures, latest]


def draw(raw: Path, folder: Path) -> list[Path]:
    """The pictures of the numbers in `raw`. Matplotlib has an environment of its own, as the gateways have."""
    install_python(_PICTURE)(ENVIRONMENTS)
    python = ENVIRONMENTS / _PICTURE / "bin" / "python"
    words = [str(python), str(ROOT / "bench" / "compare" / "picture.py"), str(raw), str(folder)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603  # a file of ours
    return [folder / name for name in done.stdout.split()]
