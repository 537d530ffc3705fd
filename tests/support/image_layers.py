"""Layers of file systems, as images have them, by overlayfs: a stand-in for the base image, and what steps add to it.

Everything mounts: call it as root, in a mount namespace of its own (`unshare --mount`), whose end unmounts it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# What the base image has not, while a machine that tests has it: compilers, and Debian's own Python.
_NOT_IN_USR = ("include", "src", "lib/gcc", "lib/python3", "lib/python3.11", "share/doc")
_NOT_IN_BIN = (
    "cc",
    "c++",
    "c89",
    "c99",
    "gcc",
    "g++",
    "cpp",
    "clang",
    "ld",
    "as",
    "make",
    "cmake",
    "cargo",
    "rustc",
    "go",
)
_NOT_IN_PYTHON = ("site-packages", "test", "tests", "idle_test", "__pycache__", "config-*")
_OF_ETC = (
    *("ssl", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "resolv.conf", "hosts", "login.defs", "default/useradd"),
    *("os-release", "protocols", "services", "localtime"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True)
class Layers:
    """What one file system is made of, the lowest first: folders for /usr, and folders for everything else."""

    usr: tuple[str, ...]
    rest: tuple[str, ...]

    def on_top(self, folder: Path) -> Layers:
        """These, and a new layer in `folder`."""
        for name in ("usr", "rest", "usr.work", "rest.work"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return Layers((*self.usr, str(folder / "usr")), (*self.rest, str(folder / "rest")))


def mount(layers: Layers, root: Path, *, is_writable: bool) -> None:
    """Mount the file system at `root`; what is written goes to the topmost layer."""
    root.mkdir(parents=True, exist_ok=True)
    _overlay(layers.rest, root, is_writable=is_writable)
    _overlay(layers.usr, root / "usr", is_writable=is_writable)
    _call("mount", "-t", "proc", "proc", str(root / "proc"))
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "dev"))
    for name in _DEVICES:
        (root / "dev" / name).touch()
        bind(Path("/dev", name), root / "dev" / name)
    (root / "dev/shm").mkdir()
    _call("mount", "-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", str(root / "dev/shm"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev/fd").symlink_to("/proc/self/fd")


def unmount(root: Path) -> None:
    """Unmount the file system at `root`."""
    _call("umount", "--recursive", str(root))


def bind(source: Path, target: Path, *, is_writable: bool = True) -> None:
    """Have `source` stand at `target` as well."""
    _call("mount", "--bind", str(source), str(target))
    if not is_writable:
        _call("mount", "-o", "remount,bind,ro", str(target))


def tmpfs(target: Path) -> None:
    """Have an empty folder at `target` that everybody may write to."""
    _call("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(target))


def base(folder: Path) -> Layers:
    """A stand-in for python:3.11-slim-bookworm: this machine's Debian without compilers, and its Python in /usr/local."""
    layers = Layers(("/usr",), ()).on_top(folder)
    usr, rest = folder / "usr", folder / "rest"
    _make_rest(rest)
    for name in _NOT_IN_USR:
        _hide(usr / name)
    for path in Path("/usr/bin").iterdir():
        name = path.name.removeprefix("x86_64-linux-gnu-").removeprefix("aarch64-linux-gnu-")
        if name.split("-")[0].split(".")[0] in _NOT_IN_BIN or name.startswith(("python3", "pip")):
            _hide(usr / "bin" / path.name)
    local = usr / "local"
    (local / "bin").mkdir(parents=True)
    os.setxattr(local, "trusted.overlay.opaque", b"y")
    _copy_python(local)
    root = folder / "root"
    mount(layers, root, is_writable=True)
    _call("chroot", str(root), "/sbin/ldconfig")
    _call("chroot", str(root), "/usr/local/bin/python", "-m", "ensurepip", "--default-pip")
    unmount(root)
    # The official images come without byte code.
    for found in list(local.rglob("__pycache__")):
        shutil.rmtree(found)
    return layers


def _make_rest(rest: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (rest / name).symlink_to(f"usr/{name}")
    for name in ("usr", "proc", "dev", "sys", "etc/default", "root", "opt", "var/lib", "var/tmp", "home", "run", "mnt"):
        (rest / name).mkdir(parents=True)
    (rest / "tmp").mkdir()
    (rest / "tmp").chmod(0o1777)
    (rest / "var/tmp").chmod(0o1777)
    (rest / "root").chmod(0o700)
    for name in _OF_ETC:
        source, target = Path("/etc", name), rest / "etc" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore_dangling_symlinks=True)
        elif source.exists():
            shutil.copy2(source, target)
    shutil.copy2("/usr/share/base-passwd/passwd.master", rest / "etc/passwd")
    shutil.copy2("/usr/share/base-passwd/group.master", rest / "etc/group")
    for name in ("shadow", "gshadow"):
        (rest / "etc" / name).touch(0o640)


def _copy_python(local: Path) -> None:
    """The running Python, to where the official images have theirs."""
    prefix, library = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))
    shutil.copy2(prefix / "bin/python3.11", local / "bin/python3.11")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to("python3.11")
    shutil.copytree(library, local / "lib/python3.11", ignore=shutil.ignore_patterns(*_NOT_IN_PYTHON))
    (local / "lib/python3.11/site-packages").mkdir()
    for path in (prefix / "lib").glob("libpython3.11.so*"):
        shutil.copy2(path, local / "lib" / path.name)


def _hide(path: Path) -> None:
    """Have a layer say that nothing is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def _overlay(layers: tuple[str, ...], at: Path, *, is_writable: bool) -> None:
    lower = layers[:-1] if is_writable else layers
    if not lower:  # overlayfs wants one below
        bind(Path(layers[0]), at)
        return
    options = "lowerdir=" + ":".join(reversed(lower))
    if is_writable:
        options += f",upperdir={layers[-1]},workdir={layers[-1]}.work"
    _call("mount", "-t", "overlay", "-o", options, "overlay", str(at))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
