"""Reads Dockerfiles, as far as ours go, and .dockerignore: whatever else stands there is refused, not passed over."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

KNOWN = {
    *("ARG", "FROM", "COPY", "RUN", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "USER"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD", "LABEL"),
}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class ImageError(Exception):
    """A Dockerfile says what is not known here, or a step of it fails."""


@dataclass(frozen=True)
class Step:
    """An instruction: its name in capitals, its flags (`--name=value`), and the rest."""

    name: str
    flags: Mapping[str, str]
    rest: str
    line: int

    def words(self) -> list[str]:
        """The rest, as a JSON list or as words of a shell."""
        if self.rest.startswith("["):
            found: list[str] = json.loads(self.rest)
            return found
        return shlex.split(self.rest)

    @property
    def is_exec_form(self) -> bool:
        """Whether no shell stands between."""
        return self.rest.startswith("[")


@dataclass(frozen=True)
class Stage:
    """What stands from one FROM to the next."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)

    def all(self, name: str) -> list[Step]:
        """Its steps of that name."""
        return [step for step in self.steps if step.name == name]


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first stage, and the stages in their order."""

    arguments: dict[str, str]
    stages: list[Stage]

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def lineage(self, name: str) -> list[Stage]:
        """The stages that one is made of, the first first."""
        names = {stage.name for stage in self.stages}
        found = [self.stage(name)]
        while found[0].base in names:
            found.insert(0, self.stage(found[0].base))
        return found

    def steps(self, name: str) -> list[Step]:
        """All steps of a stage and of those it is made of, in their order."""
        return [step for stage in self.lineage(name) for step in stage.steps]

    def last(self, name: str, step: str) -> Step:
        """The step that is in force in the end."""
        return [found for found in self.steps(name) if found.name == step][-1]


def read_dockerfile(text: str) -> Dockerfile:
    """The stages of a Dockerfile.

    Raises:
        ImageError: Something in it is not known here.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for step in _steps(text):
        match step.name:
            case "FROM":
                base, _, name = (part.strip() for part in step.rest.partition(" AS "))
                if not name or step.flags:
                    raise ImageError(f"line {step.line}: expected FROM base AS name")
                stages.append(Stage(name, expand(base, arguments)))
            case "ARG" if not stages:
                name, _, value = step.rest.partition("=")
                arguments[name] = value
            case _ if stages:
                stages[-1].steps.append(step)
            case _:
                raise ImageError(f"line {step.line}: {step.name} before the first FROM")
    return Dockerfile(arguments, stages)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$NAME` and `${NAME}` replaced.

    Raises:
        ImageError: One of them is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            raise ImageError(f"{name} is not set in {text!r}")
        return variables[name]

    return _VARIABLE.sub(value, text)


def pairs(step: Step, variables: Mapping[str, str]) -> dict[str, str]:
    """The `name=value` pairs of an ENV or LABEL."""
    split = (word.partition("=") for word in shlex.split(step.rest))
    return {name: expand(value, variables) for name, _, value in split}


def _steps(text: str) -> list[Step]:
    steps = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        whole = line.strip()
        if not whole or whole.startswith("#"):
            continue
        while whole.endswith("\\"):
            _, more = next(lines)
            whole = whole[:-1].rstrip() + ("" if more.strip().startswith("#") else " " + more.strip())
        name, _, rest = whole.partition(" ")
        if name not in KNOWN:
            raise ImageError(f"line {number}: {name} is not known here")
        steps.append(_step(name, rest.strip(), number))
    return steps


def _step(name: str, rest: str, number: int) -> Step:
    flags = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        key, _, value = flag[2:].partition("=")
        flags[key] = value
        rest = rest.strip()
    if "<<" in rest:
        raise ImageError(f"line {number}: here-documents are not known here")
    return Step(name, flags, rest, number)


class BuildContext:
    """What of a folder is sent to the builder. Of .dockerignore it knows `*`, `!path`, `**/name` and `**/*.ending`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rules = [
            line.strip()
            for line in (folder / ".dockerignore").read_text("utf-8").splitlines()
            if line.strip() and not line.startswith("#")
        ]
        for rule in self._rules:
            if not re.fullmatch(r"\*|![\w./-]+|\*\*/[\w.*-]+", rule):
                raise ImageError(f".dockerignore: {rule} is not known here")

    def holds(self, path: Path) -> bool:
        """Whether the file at `path`, relative to the folder, is sent. The last rule that fits decides."""
        is_held = True
        for rule in self._rules:
            if rule == "*":
                is_held = False
            elif rule.startswith("!"):
                is_held = is_held or path == Path(rule[1:]) or Path(rule[1:]) in path.parents
            elif any(fnmatchcase(part, rule.removeprefix("**/")) for part in path.parts):
                is_held = False
        return is_held

    def files(self, source: str) -> list[Path]:
        """The files that `COPY source` takes, relative to the folder.

        Raises:
            ImageError: There is none.
        """
        path = self.folder / source
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        found = [file.relative_to(self.folder) for file in candidates if file.is_file()]
        held = [file for file in found if self.holds(file)]
        if not held:
            raise ImageError(f"COPY {source}: nothing of it is in the build context")
        return held
