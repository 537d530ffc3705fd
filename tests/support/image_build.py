"""Runs the steps of a Dockerfile without an engine, as `python -m tests.support.image_build DOCKERFILE FOLDER STAGE …`.

Each stage is a layer in FOLDER, and the image FOLDER/STAGE.json. As root, in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import image_layers
from tests.support.image_layers import Layers
from tests.support.image_steps import BuildContext, Dockerfile, ImageError, Step, expand, pairs, read_dockerfile

# How this machine reaches the package index; no part of the image.
_PASSED_ON = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy")


@dataclass(frozen=True)
class Image:
    """A file system, and how to start what is in it."""

    layers: Layers
    environment: dict[str, str]
    user: str
    workdir: str
    entrypoint: list[str]
    command: list[str]
    health_command: list[str]
    volumes: list[str]
    labels: dict[str, str]

    def write(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @staticmethod
    def read(path: Path) -> Image:
        """One that was written to a file."""
        fields = json.loads(path.read_text("utf-8"))
        layers = {name: tuple(folders) for name, folders in fields.pop("layers").items()}
        return Image(Layers(**layers), **fields)


@dataclass
class _State:
    """What the steps so far have set."""

    layers: Layers
    environment: dict[str, str]
    arguments: dict[str, str]
    workdir: str = "/"

    @property
    def variables(self) -> dict[str, str]:
        return self.arguments | self.environment

    def path(self, root: Path, name: str) -> Path:
        return root / os.path.normpath(Path(self.workdir) / name).lstrip("/")


class Builder:
    """Runs the steps of one Dockerfile; a stage is run once."""

    def __init__(self, dockerfile: Dockerfile, context: BuildContext, folder: Path, cache: Path) -> None:
        self._dockerfile = dockerfile
        self._context = context
        self._folder = folder
        self._cache = cache
        self._base: Layers | None = None
        self._states: dict[str, _State] = {}

    def image(self, name: str) -> Image:
        """Build a stage, and all that it needs."""
        state = self._built(name)
        last, steps = self._dockerfile.last, self._dockerfile.steps(name)
        return Image(
            layers=state.layers,
            environment=state.environment,
            user=last(name, "USER").rest,
            workdir=state.workdir,
            entrypoint=last(name, "ENTRYPOINT").words(),
            command=last(name, "CMD").words() if any(step.name == "CMD" for step in steps) else [],
            health_command=json.loads(last(name, "HEALTHCHECK").rest.removeprefix("CMD ")),
            volumes=[volume for step in steps if step.name == "VOLUME" for volume in step.words()],
            labels={key: value for s in steps if s.name == "LABEL" for key, value in pairs(s, state.variables).items()},
        )

    def _built(self, name: str) -> _State:
        if name in self._states:
            return self._states[name]
        stage = self._dockerfile.stage(name)
        for step in stage.all("COPY"):
            if "from" in step.flags:
                self._built(step.flags["from"])
        if any(other.name == stage.base for other in self._dockerfile.stages):
            below = self._built(stage.base)
            state = _State(below.layers, dict(below.environment), dict(below.arguments), below.workdir)
        else:
            self._base = self._base or image_layers.base(self._folder / "base")
            state = _State(
                self._base, {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}, {}
            )
        state.layers = state.layers.on_top(self._folder / name)
        root = self._folder / name / "root"
        image_layers.mount(state.layers, root, is_writable=True)
        for step in stage.steps:
            self._run(step, state, root)
        image_layers.unmount(root)
        self._states[name] = state
        return state

    def _run(self, step: Step, state: _State, root: Path) -> None:
        match step.name:
            case "ARG":
                key, _, value = step.rest.partition("=")
                state.arguments[key] = value
            case "ENV":
                state.environment |= pairs(step, state.variables)
            case "WORKDIR":
                state.workdir = expand(step.rest, state.variables)
                state.path(root, ".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(step, state, root)
            case "RUN":
                self._shell(step, state, root)
            case _:  # is told by the image, and does nothing while it is built
                pass

    def _copy(self, step: Step, state: _State, root: Path) -> None:
        *sources, target = (expand(word, state.variables) for word in step.words())
        destination = state.path(root, target)
        if (stage := step.flags.get("from")) is not None:
            source_root = self._folder / stage / "root"
            image_layers.mount(self._states[stage].layers, source_root, is_writable=False)
            for source in sources:
                shutil.copytree(source_root / source.lstrip("/"), destination, symlinks=True, dirs_exist_ok=True)
            image_layers.unmount(source_root)
            return
        for source in sources:
            is_folder = (self._context.folder / source).is_dir()
            into = destination / Path(source).name if target.endswith("/") and not is_folder else destination
            for file in self._context.files(source):
                copy = into / file.relative_to(source) if is_folder else into
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._context.folder / file, copy)

    def _shell(self, step: Step, state: _State, root: Path) -> None:
        environment = {"HOME": "/root"} | state.variables
        environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        if "mount" in step.flags:
            options = dict(option.split("=") for option in step.flags["mount"].split(","))
            if options.keys() != {"type", "target"} or options["type"] != "cache":
                raise ImageError(f"line {step.line}: only caches are mounted here")
            self._cache.mkdir(parents=True, exist_ok=True)
            state.path(root, options["target"]).mkdir(parents=True, exist_ok=True)
            image_layers.bind(self._cache, state.path(root, options["target"]))
        command = ["chroot", str(root), "/bin/sh", "-c", f"cd {state.workdir} && {step.rest}"]
        done = subprocess.run(command, env=environment, check=False)
        if "mount" in step.flags:
            subprocess.run(["umount", str(state.path(root, options["target"]))], check=True)
        if done.returncode != 0:
            raise ImageError(f"line {step.line}: status {done.returncode}")


def main(dockerfile: str, folder: str, *stages: str) -> None:
    """Build stages of a Dockerfile of the current folder."""
    builder = Builder(
        read_dockerfile(Path(dockerfile).read_text("utf-8")),
        BuildContext(Path.cwd()),
        Path(folder),
        Path.home() / ".cache/pip",
    )
    for stage in stages:
        builder.image(stage).write(Path(folder, f"{stage}.json"))


if __name__ == "__main__":
    main(*sys.argv[1:])
