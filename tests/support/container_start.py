"""Becomes the first process of a container: `python -m tests.support.container_start PLAN`, a file with JSON.

As root, in mount and PID namespaces of its own. The root file system is read-only, the user has no capabilities and
gets none, and of this machine's environment nothing is left.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import image_layers
from tests.support.image_build import Image

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38  # of Linux's prctl.h
_MOST_CAPABILITIES = 64


@dataclass(frozen=True)
class Plan:
    """What to start."""

    image: str
    """The file that tells the image."""
    root: str
    """An empty folder, where its file system is mounted."""
    folders: dict[str, str]
    """Where in it which folder of this machine can be written to."""
    files: dict[str, str]
    """Where in it which folder of this machine can be read."""
    environment: dict[str, str]
    arguments: list[str] | None
    """In place of the image's CMD."""


def main(plan: Plan) -> None:
    """Mount, give up all rights, and become the container's entry point."""
    image, root = Image.read(Path(plan.image)), Path(plan.root)
    image_layers.mount(image.layers, root, is_writable=False)
    image_layers.tmpfs(root / "tmp")
    for target, source in plan.folders.items():
        image_layers.bind(Path(source), root / target.lstrip("/"))
    for target, source in plan.files.items():
        image_layers.bind(Path(source), root / target.lstrip("/"), is_writable=False)
    os.chroot(root)
    os.chdir(image.workdir)
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_MOST_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the last one
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    user, group = (int(part) for part in image.user.split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    environment = image.environment | plan.environment
    os.environ["PATH"] = environment["PATH"]  # where the program is looked for
    command = image.entrypoint + (image.command if plan.arguments is None else plan.arguments)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main(Plan(**json.loads(Path(sys.argv[1]).read_text("utf-8"))))
