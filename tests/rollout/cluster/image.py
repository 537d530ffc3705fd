"""The images as their Dockerfiles describe them, with this machine's own files in the places of what they would hold."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.envoy import ROOT
from tests.support.image_steps import pairs, read_dockerfile

IMAGES: Final = {f"parley-{part}": part for part in ("service", "gateway")}
"""The stages, by the names that manifests call the images."""


@dataclass(frozen=True)
class Image:
    """What a container is started with, unless its manifest says otherwise."""

    entrypoint: list[str]
    command: list[str]
    environ: dict[str, str]
    working_folder: str
    binds: tuple[tuple[str, str], ...]
    """Folders of this machine, and where the image has them."""


def read_image(part: str) -> Image:
    """The image of `service` or `gateway`."""
    dockerfile = read_dockerfile((ROOT / "deploy" / "images" / f"{part}.Dockerfile").read_text("utf-8"))
    steps = dockerfile.steps(part)
    environ = dict[str, str]()
    for step in steps:
        if step.name == "ENV":
            environ |= pairs(step, environ)
    last = {step.name: step for step in steps}
    places = {Path(step.words()[-1]).name: step.words()[-1] for step in steps if step.name == "COPY"}
    venv = places["venv"]
    entrypoint = last["ENTRYPOINT"].words()
    if not shutil.which(entrypoint[0], path=f"{sys.prefix}/bin") and "--" in entrypoint:
        # The image has an init process of its own, which this machine's environment need not have.
        entrypoint = entrypoint[entrypoint.index("--") + 1 :]
    return Image(
        entrypoint=entrypoint,
        command=last["CMD"].words() if "CMD" in last else [],
        environ=environ,
        working_folder=last["WORKDIR"].rest,
        # Scripts of the environment name the interpreter by where it is on this machine.
        binds=((str(ROOT / part), places[part]), (sys.prefix, venv), (sys.prefix, sys.prefix)),
    )
