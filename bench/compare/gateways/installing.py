"""Installs what is pinned in bench/requirements, each into an environment of its own."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.compare.gateways.processes import ROOT

REQUIREMENTS: Final = ROOT / "bench" / "requirements"
_STAMP: Final = ".installed"
"""Says for which list a folder was made."""


def install_python(name: str) -> Callable[[Path], None]:
    """What installs the list `name.txt` into a virtual environment in the folder `name`."""

    def install(base: Path) -> None:
        folder, pinned = base / name, REQUIREMENTS / f"{name}.txt"
        if _is_installed(folder, pinned):
            return
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        # The list is fully resolved, so pip resolves nothing.
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--require-hashes", "--requirement", str(pinned)])
        _stamp(folder, pinned)

    return install


def install_node(name: str) -> Callable[[Path], None]:
    """What installs the lock file in the folder `name` of the lists into the folder `name`.

    Scripts of packages are not run: none that is needed has one.
    """

    def install(base: Path) -> None:
        folder, pinned = base / name, REQUIREMENTS / name / "package-lock.json"
        if _is_installed(folder, pinned):
            return
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pinned.parent, folder)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)])
        _stamp(folder, pinned)

    return install


def python_version(name: str, package: str) -> str:
    """The version of a package in the list `name.txt`.

    Raises:
        ValueError: It is not there.
    """
    for line in (REQUIREMENTS / f"{name}.txt").read_text("utf-8").splitlines():
        found, separator, version = line.removesuffix(" \\").partition("==")
        if separator and found == package:
            return version
    raise ValueError(f"bench/requirements/{name}.txt: expected {package} to be pinned")


def _is_installed(folder: Path, pinned: Path) -> bool:
    stamp = folder / _STAMP
    return stamp.exists() and stamp.read_text("utf-8") == _digest(pinned)


def _stamp(folder: Path, pinned: Path) -> None:
    (folder / _STAMP).write_text(_digest(pinned), "utf-8")


def _digest(pinned: Path) -> str:
    return hashlib.sha256(pinned.read_bytes()).hexdigest()


def _run(words: Sequence[str]) -> None:
    """What it writes is seen; that it fails raises `CalledProcessError`."""
    subprocess.run(words, check=True)  # noqa: S603  # programs of the benchmark's own list
