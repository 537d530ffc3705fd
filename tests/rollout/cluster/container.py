"""A container: the image's command as the first process of its own namespaces, on a root file system of its own.

The root holds the host's `/usr`, the interpreter, the virtual environment and the repository where the image has them,
all read-only; what the manifest mounts; and nothing else of the host.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.rollout.cluster.network import namespace_path
from tests.support.envoy import ROOT
from tests.support.secret_watch import look

_LINE_BYTES: Final = 1024 * 1024
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_ETC: Final = ("passwd", "group", "nsswitch.conf", "ssl", "ca-certificates", "ld.so.cache", "localtime", "mime.types")
_MODE_OF_EMPTY: Final = "2777"
"""Of an emptyDir under an fsGroup."""


@dataclass(frozen=True)
class Mount:
    """A folder of the container."""

    path: str
    source: Path | None
    """None for an empty one, that may be written to."""


@dataclass(frozen=True)
class Spec:
    """What a container is made of."""

    command: Sequence[str]
    environ: dict[str, str]
    working_folder: str
    user: int
    group: int
    mounts: Sequence[Mount]
    binds: Sequence[tuple[str, str]]
    """What of the host is seen where in the image, read-only."""
    etc: dict[str, str]
    """Files that Kubernetes writes below /etc."""
    is_read_only: bool


def interpreter_folder() -> str:
    """The folder of the interpreter that the virtual environment is made of."""
    return str(Path(sys.base_prefix).resolve())


def script(spec: Spec, root: Path, etc: Path) -> str:
    """Builds the root at `root` and becomes the command: run as the first process of new namespaces."""
    new = shlex.quote(str(root))
    lines = ["set -eu", f"mount -t tmpfs -o mode=755 tmpfs {new}", f"cd {new}"]
    lines += ["mkdir -p dev/shm etc proc sys run tmp", "chmod 1777 tmp", "mount -t proc proc proc"]
    lines += ["mount -t sysfs -o ro sysfs sys", "mount -t tmpfs -o size=64m,mode=1777 tmpfs dev/shm"]
    lines += [f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in _DEVICES]
    lines += ["ln -s /proc/self/fd dev/fd", "ln -s fd/1 dev/stdout", "ln -s fd/2 dev/stderr"]
    lines += [f"cp -a /{name} ." for name in ("bin", "sbin", "lib", "lib64") if Path("/", name).is_symlink()]
    lines += [f"test ! -e /etc/{name} || cp -a /etc/{name} etc/" for name in _ETC]
    lines += [f"cp -a {shlex.quote(str(etc))}/. etc/"]
    for mount in spec.mounts:
        place = shlex.quote(mount.path.lstrip("/"))
        if mount.source is None:
            lines.append(f"mkdir -p {place}; mount -t tmpfs -o mode={_MODE_OF_EMPTY},gid={spec.group} tmpfs {place}")
        else:
            lines.append(_bind(str(mount.source), mount.path))
    # Behind the mounts: the repository may stand below /tmp, which the manifest mounts.
    places = [("/usr", "/usr"), (interpreter_folder(), interpreter_folder()), *spec.binds]
    lines += [_bind(source, place) for source, place in dict.fromkeys(places)]
    if spec.is_read_only:
        lines.append(f"mount -o remount,ro {new}")
    # As container runtimes do: who opens /dev/stdout needs it.
    lines.append(f"chown {spec.user} proc/self/fd/1")
    identity = [f"--reuid={spec.user}", f"--regid={spec.group}", "--clear-groups", "--no-new-privs"]
    restricted = ["/usr/bin/setpriv", *identity, "--bounding-set=-all", "--inh-caps=-all"]
    variables = [f"{name}={value}" for name, value in spec.environ.items()]
    begun = ["/usr/bin/env", "-i", f"--chdir={spec.working_folder}", *variables, *spec.command]
    lines.append(f"exec chroot . {shlex.join([*restricted, *begun])}")
    return "\n".join(lines) + "\n"


def _bind(source: str, place: str) -> str:
    inside = shlex.quote(place.lstrip("/"))
    made = f"mkdir -p {inside}" if Path(source).is_dir() else f"mkdir -p $(dirname {inside}); touch {inside}"
    return f"{made}; mount --rbind -o ro {shlex.quote(source)} {inside}"


@dataclass
class Container:
    """A running one."""

    process: Process
    pid: int
    """Of its first process, as seen from outside."""
    lines: list[str] = field(default_factory=list)

    def signal(self, number: int) -> None:
        """Send `number` to its first process, if there is one still."""
        if self.process.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End all of it at once, as if memory had run out."""
        self.signal(signal.SIGKILL)

    async def read(self) -> int:
        """Collect its log until it ends; its exit code, negative for a signal."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode(errors="backslashreplace")
            look("a log line of a part", text)
            self.lines.append(text)
        return await self.process.wait()


async def start_container(spec: Spec, folder: Path, network: str) -> Container:
    """Start it in the network namespace `network`, with a `folder` of its own for what has to be written down."""
    root, etc = folder / "root", folder / "etc"
    for each in (root, etc):
        each.mkdir(parents=True, exist_ok=True)
    for name, text in spec.etc.items():
        (etc / name).write_text(text)
    start = folder / "start.sh"
    start.write_text(script(spec, root, etc))
    inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", str(start)]
    command = ["nsenter", f"--net={namespace_path(network)}", *inside]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, stdin=asyncio.subprocess.DEVNULL, limit=_LINE_BYTES, cwd=ROOT
    )
    return Container(process, await _first_pid(process))


async def _first_pid(process: Process) -> int:
    """The one child of `unshare`; `process.pid` where it ended before it had one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    async with asyncio.timeout(10):
        while process.returncode is None:
            if found := children.read_text("utf-8").split():  # noqa: ASYNC240 - of /proc, which answers at once
                return int(found[0])
            await asyncio.sleep(0.005)
    return process.pid
