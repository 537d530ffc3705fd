"""What the Dockerfiles say. That it works, `test_image_builds.py` shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import GatewaySection
from service.config import Server
from tests.support.image_steps import BuildContext, Dockerfile, ImageError, read_dockerfile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/images"
PARTS = ["service", "gateway"]
TARGETS = [("service", "service"), ("service", "service-slim"), ("gateway", "gateway")]
USER = "65532:65532"


def text_of(part: str) -> str:
    return (FOLDER / f"{part}.Dockerfile").read_text("utf-8")


def has_pinned_base(file: Dockerfile, target: str) -> bool:
    """An exact version of Python and a named Debian; digests are for releases."""
    base = file.lineage(target)[0].base
    return re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base) is not None


def runs_as_nobody(file: Dockerfile, target: str) -> bool:
    """By number: Kubernetes can't tell of a name that it is not root's."""
    return file.last(target, "USER").rest == USER


def starts_without_a_shell(file: Dockerfile, target: str) -> bool:
    """A shell in between would keep signals to itself."""
    return file.last(target, "ENTRYPOINT").words()[:3] == ["dumb-init", "--single-child", "--"]


def checks_health_without_a_shell(file: Dockerfile, target: str) -> bool:
    step = file.last(target, "HEALTHCHECK")
    return {"interval", "timeout", "start-period", "retries"} == step.flags.keys() and step.rest.startswith(
        'CMD ["python"'
    )


def installs_what_is_locked(file: Dockerfile, target: str) -> bool:
    """With hashes, wheels alone, and nothing that pip would add."""
    del target
    installing = [
        step.rest
        for stage in file.stages
        for step in stage.all("RUN")
        if " install " in step.rest and "pip" in step.rest
    ]
    installing = [rest for rest in installing if "pip uninstall" not in rest]
    wanted = ("--require-hashes", "--no-deps", "--only-binary :all:", "--requirement")
    return bool(installing) and all(option in rest for rest in installing for option in wanted)


def installs_in_another_stage(file: Dockerfile, target: str) -> bool:
    """What is left of it are the packages."""
    return not any(
        "pip" in s.rest and " install " in s.rest.replace("install --directory", "")
        for s in file.steps(target)
        if s.name == "RUN"
    )


def is_rid_of_installers(file: Dockerfile, target: str) -> bool:
    return any(
        "pip uninstall --yes" in step.rest and step.rest.count("pip") > 1
        for step in file.steps(target)
        if step.name == "RUN"
    )


def copies_its_own_part_alone(file: Dockerfile, target: str) -> bool:
    part = target.removesuffix("-slim")
    allowed = {part, f"requirements/{part}.txt", "deploy/images/init.txt", "LICENSE"}
    copied = {
        word for s in file.stages for step in s.all("COPY") if "from" not in step.flags for word in step.words()[:-1]
    }
    return copied <= allowed


def says_what_it_is(file: Dockerfile, target: str) -> bool:
    label = file.last(target, "LABEL").rest
    return all(f"org.opencontainers.image.{name}=" in label for name in ("title", "licenses", "version", "revision"))


def writes_nothing_beside_its_data(file: Dockerfile, target: str) -> bool:
    environment = " ".join(step.rest for step in file.steps(target) if step.name == "ENV")
    return "PYTHONDONTWRITEBYTECODE=1" in environment and "HOME=/tmp" in environment


def lets_its_user_read_the_code(file: Dockerfile, target: str) -> bool:
    """Whatever the umask of whoever has checked it out."""
    del target
    copying = [stage for stage in file.stages if stage.name == "application"]
    return all(any("chmod -R a+rX /opt/parley" in step.rest for step in stage.all("RUN")) for stage in copying)


Policy = Callable[[Dockerfile, str], bool]
# Each with a change that it has to object to.
POLICIES: list[tuple[Policy, str, str]] = [
    (has_pinned_base, "python:3.11.15-slim-bookworm\n", "python:3.11-slim\n"),
    (runs_as_nobody, "USER 65532:65532", "USER root"),
    (runs_as_nobody, "USER 65532:65532", "USER parley"),
    (
        starts_without_a_shell,
        'ENTRYPOINT ["dumb-init", "--single-child", "--", "python"',
        'ENTRYPOINT ["sh", "-c", "--", "python"',
    ),
    (starts_without_a_shell, "--single-child", "--verbose"),
    (checks_health_without_a_shell, 'CMD ["python"', "CMD python"),
    (checks_health_without_a_shell, " --timeout=5s", ""),
    (installs_what_is_locked, " --require-hashes", ""),
    (installs_what_is_locked, " --no-deps", ""),
    (installs_what_is_locked, "--only-binary :all:", ""),
    (installs_in_another_stage, "RUN groupadd", "RUN python -m pip install yaml && groupadd"),
    (is_rid_of_installers, "&& python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip", ""),
    (copies_its_own_part_alone, "COPY LICENSE", "COPY tests /opt/parley/tests\nCOPY LICENSE"),
    (copies_its_own_part_alone, "COPY LICENSE", "COPY . /opt/parley/all\nCOPY LICENSE"),
    (lets_its_user_read_the_code, "chmod -R a+rX /opt/parley", "true"),
    (says_what_it_is, "org.opencontainers.image.revision", "org.opencontainers.image.source"),
    (writes_nothing_beside_its_data, "PYTHONDONTWRITEBYTECODE=1", "PYTHONOPTIMIZE=1"),
    (writes_nothing_beside_its_data, "HOME=/tmp", "HOME=/root"),
]


@pytest.mark.parametrize(("part", "target"), TARGETS)
@pytest.mark.parametrize(
    ("policy", "part_of_text", "instead"), POLICIES, ids=[f"{n}-{row[0].__name__}" for n, row in enumerate(POLICIES)]
)
def test_policies_hold_and_would_object(
    part: str, target: str, policy: Policy, part_of_text: str, instead: str
) -> None:
    text = text_of(part)
    assert policy(read_dockerfile(text), target)
    assert part_of_text in text
    assert not policy(read_dockerfile(text.replace(part_of_text, instead)), target)


@pytest.mark.parametrize("part", PARTS)
def test_hadolint_has_nothing_to_say(part: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", FOLDER / f"{part}.Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_have_the_same_base() -> None:
    assert read_dockerfile(text_of("service")).arguments == read_dockerfile(text_of("gateway")).arguments


def test_health_is_asked_where_it_is_by_default() -> None:
    address = GatewaySection().metrics_address
    assert address is not None
    host, port = address.split(":")
    command = json.loads(read_dockerfile(text_of("gateway")).last("gateway", "HEALTHCHECK").rest.removeprefix("CMD "))
    assert f"'{host}', {port}" in command[-1]
    compile(command[-1], "HEALTHCHECK", "exec")
    command = json.loads(read_dockerfile(text_of("service")).last("service", "HEALTHCHECK").rest.removeprefix("CMD "))
    host, port = Server().grpc_address.split(":")
    assert command[-2:] == [f"{host}:{int(port) + 1}", f"{host}:{port}"]


@pytest.mark.parametrize(
    ("path", "is_sent"),
    [
        ("service/app.py", True),
        ("service/catalogue.yaml", True),
        ("service/_gen/parley/v1/json_pb2.py", True),
        ("gateway/_gen/parley.binpb", True),
        ("gateway/lua/main.lua", True),
        ("requirements/service.txt", True),
        ("requirements/dev.txt", False),
        ("deploy/images/init.txt", True),
        ("deploy/images/service.Dockerfile", False),
        ("service/__pycache__/app.cpython-311.pyc", False),
        ("gateway/old.pyc", False),
        ("tests/conftest.py", False),
        ("data/parley.db", False),
        (".git/config", False),
        (".env", False),
        (".venv/bin/python", False),
    ],
)
def test_the_builder_gets_what_images_need(path: str, is_sent: bool) -> None:  # noqa: FBT001 - a column of the table
    assert BuildContext(ROOT).holds(Path(path)) is is_sent


@pytest.mark.parametrize("part", PARTS)
def test_everything_that_is_copied_is_in_the_context(part: str) -> None:
    context = BuildContext(ROOT)
    for stage in read_dockerfile(text_of(part)).stages:
        for step in stage.all("COPY"):
            for source in step.words()[:-1] if "from" not in step.flags else []:
                assert context.files(source)


@pytest.mark.parametrize("text", ["ADD x y", "FROM a AS b\nADD x y", "FROM a", "RUN x", "FROM a AS b\nRUN <<E\nx\nE"])
def test_the_reader_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ImageError, match="line"):
        read_dockerfile(text)
