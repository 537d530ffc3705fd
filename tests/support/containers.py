"""Containers without an engine: namespaces of Linux around what `image_build` has made. Needs root."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import psutil

from tests.support.container_start import Plan
from tests.support.image_build import Image

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_LOOPBACK_UP = """
import fcntl, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
print("up", flush=True)
sys.stdin.read()
"""


class Pod:
    """A network of its own, with loopback alone, that containers share."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def network(self) -> str:
        """The path of its network namespace."""
        return f"/proc/{self._process.pid}/ns/net"

    def within(self, function: Callable[[], T]) -> T:
        """What `function` returns when its sockets are of this network."""
        found: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                _enter(self.network)
                found.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again below, where it is waited for
                errors.append(error)

        thread = threading.Thread(target=run)  # whose end is the namespace's, too
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return found[0]


def _enter(network: str) -> None:
    """Have the thread that calls it open its sockets in that network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(network).open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def pod() -> Iterator[Pod]:
    """A network for containers."""
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", _LOOPBACK_UP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield Pod(process)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class Container:
    """A container that runs, and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes], image: Image, log: Path) -> None:
        self._process = process
        self._image = image
        self._log = log

    @property
    def log(self) -> str:
        """Both standard streams."""
        return self._log.read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        """The first process, as this machine counts."""
        end = time.monotonic() + 20
        while not (found := psutil.Process(self._process.pid).children()):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, "no first process"
            time.sleep(0.01)
        return found[0].pid

    def processes(self) -> list[psutil.Process]:
        """The first process and all others."""
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        user, group = self._image.user.split(":")
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--wd"]
        enter += ["--setuid", user, "--setgid", group]
        return subprocess.run(
            [*enter, *command], env=self._image.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def is_healthy(self) -> bool:
        """What the image's own HEALTHCHECK says."""
        return self.checked_health().returncode == 0

    def checked_health(self) -> subprocess.CompletedProcess[str]:
        """The image's own HEALTHCHECK, run once."""
        return self.run(*self._image.health_command)

    def signal(self, number: int) -> None:
        """Send a signal to the first process."""
        os.kill(self.pid, number)

    def wait(self, within_s: float) -> int:
        """The exit code, as soon as there is one."""
        return self._process.wait(within_s)

    def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM, as an engine sends it; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within_s)

    def await_health(self, within_s: float = 240.0) -> None:
        """Wait until it is healthy."""
        end = time.monotonic() + within_s
        while not self.is_healthy():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.2)


@contextmanager
def container(
    image: Path, folder: Path, network: Pod, *, config: str | None, arguments: list[str] | None = None
) -> Iterator[Container]:
    """Start an image; `folder` is for what belongs to the container, and `config` is its parley.yaml."""
    told = Image.read(image)
    user = int(told.user.split(":")[0])
    for name in ("root", "config", "volumes"):
        (folder / name).mkdir(parents=True)
    if config is not None:
        (folder / "config/parley.yaml").write_text(config, "utf-8")
    folders = {}
    for volume in told.volumes:
        source = folder / "volumes" / Path(volume).name
        source.mkdir()
        shutil.chown(source, user, user)
        folders[volume] = str(source)
    files = {"/etc/parley": str(folder / "config")}
    plan = Plan(str(image), str(folder / "root"), folders, files, {}, arguments)
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), "utf-8")
    command = ["nsenter", f"--net={network.network}", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]
    command += [sys.executable, "-m", "tests.support.container_start", str(folder / "plan.json")]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield Container(process, told, log)
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.kill()  # the first one, with which all others end
        process.wait(30)
