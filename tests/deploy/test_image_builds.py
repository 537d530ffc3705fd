"""The images, built and run by the steps of their own Dockerfiles, though without a container engine.

The base image is stood in for by this machine's Debian and Python (`tests/support/image_layers.py`), and engine and
kubelet by namespaces. It needs root, and some minutes: `make test-images`.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import containers
from tests.support.containers import ROOT, Container, Pod
from tests.support.image_build import Image

pytestmark = [
    pytest.mark.skipif("PARLEY_TEST_IMAGES" not in os.environ, reason="takes minutes: make test-images"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, and unshare"),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="needs the images' Python"),
    pytest.mark.timeout(1200),
]
BUILD_S = 500
STAGES = {"service": ["service", "service-slim"], "gateway": ["gateway"]}
USER = 65532
KEY = "images-key"
CONFIG = """
server: {grpc_address: "0.0.0.0:50051", drain_notice_s: 0.2}
gateway: {http_address: "0.0.0.0:8080", upstream_addresses: ["127.0.0.1:50051"]}
auth: {keys: [{name: test, sha256: 6d97ee5e93ce0abefde92fcdaf3db3f28bead942cc2d68508954096382057e55}]}
providers: {local: {kind: embedded}}
models: {smollm2: {targets: [{provider: local, model: smollm2-135m-instruct}]}}
storage: {}
"""
# Lists what images add to their base, a line for each path: whether its user may write to it, whether he could without a
# read-only file system, and where it is.
LIST = """
import os, stat
for top in ("/etc", "/opt", "/root", "/tmp", "/usr/bin", "/usr/local", "/var"):
    for folder, folders, files in os.walk(top):
        for name in ["", *files]:
            path = os.path.join(folder, name)
            told = os.lstat(path)
            if not stat.S_ISLNK(told.st_mode):
                is_own = told.st_uid == os.getuid() or told.st_mode & stat.S_IWOTH
                print("w" if os.access(path, os.W_OK) else "-", "o" if is_own else "-", path.rstrip("/"))
"""


@dataclass(frozen=True)
class Listed:
    """What is in a container."""

    paths: set[str]
    writable: set[str]
    owned: set[str]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each image."""
    found: dict[str, Path] = {}
    for part, stages in STAGES.items():
        folder = tmp_path_factory.mktemp(part)
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.support.image_build"]
        command += [f"deploy/images/{part}.Dockerfile", str(folder), *stages]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found |= {stage: folder / f"{stage}.json" for stage in stages}
    return found


@pytest.fixture(scope="module")
def network() -> Iterator[Pod]:
    with containers.pod() as pod:
        yield pod


@pytest.fixture
def service(images: dict[str, Path], network: Pod, tmp_path: Path) -> Iterator[Container]:
    with containers.container(images["service"], tmp_path / "service", network, config=CONFIG) as started:
        started.await_health()
        yield started


@pytest.fixture
def gateway(service: Container, images: dict[str, Path], network: Pod, tmp_path: Path) -> Iterator[Container]:
    with containers.container(images["gateway"], tmp_path / "gateway", network, config=CONFIG) as started:
        started.await_health()
        yield started


def post(network: Pod, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ask the gateway, from within its network."""

    def ask() -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
        try:
            headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    return network.within(ask)


def listed(container: Container) -> Listed:
    found = container.run("python", "-c", LIST)
    assert found.returncode == 0, found.stderr
    lines = [line.split(" ", 2) for line in found.stdout.splitlines()]
    return Listed(
        paths={path for _, _, path in lines},
        writable={path for flag, _, path in lines if flag == "w"},
        owned={path for _, flag, path in lines if flag == "o"},
    )


@pytest.fixture(scope="module")
def contents(images: dict[str, Path], network: Pod, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Listed]:
    """What is in a container of each part."""
    found = {}
    for name in ("service", "gateway"):
        folder = tmp_path_factory.mktemp("listed")
        with containers.container(images[name], folder, network, config=CONFIG) as part:
            part.await_health()
            found[name] = listed(part)
    return found


def size_mb(image: Image) -> float:
    """What its own layers hold, without the base's."""
    folders = [Path(layer) for layer in (*image.layers.usr[2:], *image.layers.rest[1:])]
    return sum(path.lstat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) / 1e6


def test_an_answer_goes_through_both_images_and_is_kept(gateway: Container, service: Container, network: Pod) -> None:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "store": True,
    }
    status, answer = post(network, body)
    assert status == 200, answer
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert service.run("ls", "/var/lib/parley").stdout.startswith("parley.db")
    for part in (gateway, service):
        assert {user for process in part.processes() for user in process.uids()} == {USER}
        assert part.stop() == 0, part.log


@pytest.mark.parametrize(("name", "other"), [("service", "gateway"), ("gateway", "service")])
def test_an_image_holds_its_own_part_alone_and_no_tools(name: str, other: str, contents: dict[str, Listed]) -> None:
    paths = contents[name].paths
    assert {f"/opt/parley/{name}/__main__.py", "/opt/parley/LICENSE"} <= paths
    assert not [path for path in paths if path.startswith((f"/opt/parley/{other}", "/opt/parley/tests"))]
    folders = {folder.name for path in paths if "/python3" in path for folder in Path(path).parents}
    assert "yaml" in folders
    assert not folders & {"pip", "ensurepip", "setuptools", "wheel"}
    programs = {Path(path).name for path in paths if "/bin/" in path}
    assert "python3.11" in programs
    assert not programs & {"pip", "pip3", "gcc", "cc", "make", "ld"}


@pytest.mark.parametrize(("name", "meant"), [("service", {"/tmp", "/var/lib/parley"}), ("gateway", {"/tmp"})])
def test_an_image_can_be_written_to_where_it_is_meant_alone(
    name: str, meant: set[str], contents: dict[str, Listed]
) -> None:
    found = contents[name]
    assert meant <= found.writable
    assert [path for path in found.writable if not path.startswith(tuple(meant))] == []
    # Nor would more of it be, were the file system not read-only.
    assert [path for path in found.owned if not path.startswith((*meant, "/var/tmp"))] == []


@pytest.mark.parametrize("name", ["service", "gateway"])
def test_an_image_comes_with_all_byte_code(name: str, contents: dict[str, Listed]) -> None:
    """What is missing would be compiled again at every start, and in every child process."""
    paths = contents[name].paths
    sources = [Path(path) for path in paths if path.endswith(".py") and path.startswith(("/opt", "/usr/local/lib"))]
    assert len(sources) > 1000
    compiled = (
        source for source in sources if str(source.parent / f"__pycache__/{source.stem}.cpython-311.pyc") in paths
    )
    assert sorted(set(sources) - set(compiled)) == []


@pytest.mark.parametrize("name", ["service", "gateway"])
def test_orphans_are_reaped(name: str, request: pytest.FixtureRequest) -> None:
    part: Container = request.getfixturevalue(name)
    assert part.run("sh", "-c", "sleep 0.3 & sleep 0.3 &").returncode == 0
    end = time.monotonic() + 20
    while left := [process for process in part.processes() if process.name() == "sleep"]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
    assert [process for process in part.processes() if process.status() == psutil.STATUS_ZOMBIE] == []


def test_the_health_of_both_parts_is_seen(gateway: Container, service: Container, network: Pod) -> None:
    """The service's while it drains, which a call that still runs holds back; Envoy's goes on without the service."""
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Count to a hundred."}], "max_tokens": 400}
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(post(network, body)[0]))
    asking.start()
    assert service.is_healthy()
    service.signal(signal.SIGTERM)
    seen = service.checked_health()
    assert seen.returncode == 1
    asking.join()
    assert service.wait(60) == 0, service.log
    assert gateway.is_healthy()
    assert gateway.stop() == 0


@pytest.mark.parametrize("name", ["service", "gateway"])
def test_a_container_that_is_not_ready_yet_ends_at_once(
    name: str, images: dict[str, Path], network: Pod, tmp_path: Path
) -> None:
    """The first process of a container does not get signals that it does not handle: there has to be one that does."""
    with containers.container(images[name], tmp_path / name, network, config=CONFIG) as part:
        end = time.monotonic() + 20
        while not is_starting(part):
            assert time.monotonic() < end, part.log
        part.signal(signal.SIGTERM)
        assert part.wait(15) in {0, 128 + signal.SIGTERM}


def is_starting(part: Container) -> bool:
    """Whether the first process has come so far as to be the image's own, and has just started the next."""
    with suppress(IndexError, psutil.NoSuchProcess):
        return [process.name() for process in part.processes()][:1] == ["dumb-init"] and len(part.processes()) > 1
    return False


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("service", "models: [", "wrong configuration"),
        ("service", None, "parley.yaml"),
        ("gateway", "gateway: {http_address: 5}", "gateway.http_address"),
        ("gateway", None, "parley.yaml"),
        ("service-slim", CONFIG, "the embedded model needs the package xllamacpp"),
    ],
)
def test_a_wrong_configuration_ends_the_container(
    name: str, text: str | None, message: str, images: dict[str, Path], network: Pod, tmp_path: Path
) -> None:
    with containers.container(images[name], tmp_path / name, network, config=text) as part:
        assert part.wait(30) == (1 if name == "gateway" else 2)
        assert message in part.log


def test_the_slim_image_leaves_out_the_embedded_model_alone(
    images: dict[str, Path], network: Pod, tmp_path: Path
) -> None:
    text = """
server: {grpc_address: "127.0.0.1:50051"}
providers: {other: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
models: {gpt: {targets: [{provider: other, model: gpt}]}}
"""
    with containers.container(images["service-slim"], tmp_path / "slim", network, config=text) as part:
        part.await_health()
        assert not [path for path in listed(part).paths if "llamacpp" in path or "smollm2" in path]
        assert part.stop() == 0


def test_a_command_of_the_service_is_run_in_its_image(images: dict[str, Path], network: Pod, tmp_path: Path) -> None:
    with containers.container(
        images["service"], tmp_path / "store", network, config=CONFIG, arguments=["store", "migrate"]
    ) as part:
        assert part.wait(60) == 0, part.log


def test_images_tell_what_they_are(images: dict[str, Path]) -> None:
    for name, path in images.items():
        image = Image.read(path)
        assert image.labels["org.opencontainers.image.title"] == f"parley-{name.removesuffix('-slim')}"
        assert image.labels["org.opencontainers.image.version"] == "0.1.0"
        assert image.user == f"{USER}:{USER}"
        # Measured, beside the base: 365 MB, slim 160 MB, gateway 170 MB.
        assert size_mb(image) < {"service": 450, "service-slim": 200, "gateway": 250}[name]
