"""Runs in namespaces of its own alone, which `make test-rollout` sets up; elsewhere there is nothing to collect here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import KEY
from tests.rollout.cluster.cluster import Cluster, cluster
from tests.rollout.cluster.image import IMAGES, Image, read_image
from tests.rollout.cluster.network import NODE_ADDRESS, Network, is_private
from tests.rollout.cluster.pod import Pod
from tests.rollout.manifests import Overlay
from tests.support.certificates import make_certificates
from tests.support.quick_upstream import quick_upstream

collect_ignore_glob = [] if is_private() else ["test_*.py"]

SERVICE, GATEWAY = "parley-service", "parley-gateway"
START_S = 90.0
ANSWER_S = 30.0
HASTY_S = {"service": 9, "gateway": 5}
_FIGURES: list[str] = []


@dataclass
class Parley:
    """The product, as its manifests have it run."""

    cluster: Cluster
    folder: Path
    overlay: Overlay

    @property
    def address(self) -> str:
        """Of the gateway's Service."""
        address = self.cluster.services[GATEWAY].address
        assert address is not None
        return address

    async def apply(self, **changes: Any) -> None:
        """Want the overlay with such changes."""
        manifests = await asyncio.to_thread(replace(self.overlay, **changes).render, self.folder)
        await self.cluster.apply(manifests)

    async def ask(self, model: str) -> httpx.Response:
        """Send one unary call."""
        certificates = self.overlay.certificates
        url = f"{'https' if certificates else 'http'}://{self.address}/v1/chat/completions"
        verify = ssl.create_default_context(cafile=str(certificates.ca)) if certificates else True
        async with httpx.AsyncClient(verify=verify, headers={"x-api-key": KEY}) as client:
            request = {"model": model, "messages": [{"role": "user", "content": "say:3:0:alone"}]}
            return await client.post(url, json=request, extensions={"sni_hostname": "localhost"})


@pytest.fixture(scope="session")
def network() -> Network:
    return Network()


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    return {name: read_image(part) for name, part in IMAGES.items()}


@pytest.fixture(scope="session")
def base_url(network: Network) -> Iterator[str]:
    """Of a provider that all pods reach."""
    with quick_upstream(NODE_ADDRESS) as reader:
        yield f"{reader.base_url}/v1"


@asynccontextmanager
async def running(made: Cluster, folder: Path, overlay: Overlay) -> AsyncIterator[Parley]:
    """With all replicas ready, and answering through the gateway's Service."""
    parley = Parley(made, folder / "overlay", overlay)
    await parley.apply()
    for name in (SERVICE, GATEWAY):
        await made.rolled_out(name, START_S)
    async with asyncio.timeout(ANSWER_S):
        while not await _is_answering(parley):  # noqa: ASYNC110 - the gateway tells nobody here
            await asyncio.sleep(0.2)
    yield parley


async def _is_answering(parley: Parley) -> bool:
    try:
        return (await parley.ask(parley.overlay.models[0])).status_code == 200
    except httpx.TransportError:  # its Service has not learnt of it
        return False


@pytest.fixture
async def as_shipped(
    network: Network, images: dict[str, Image], base_url: str, tmp_path: Path
) -> AsyncIterator[Parley]:
    """With all times of the manifests, and a DNS that keeps answers as long as any."""
    async with (
        cluster(network, tmp_path, images, dns_cache_s=30) as made,
        running(made, tmp_path, Overlay(base_url)) as parley,
    ):
        yield parley


@pytest.fixture
async def hasty(network: Network, images: dict[str, Image], base_url: str, tmp_path: Path) -> AsyncIterator[Parley]:
    """With less time to learn of changes, and a DNS that needs less."""
    async with (
        cluster(network, tmp_path, images, dns_cache_s=2) as made,
        running(made, tmp_path, Overlay(base_url, notices_s=HASTY_S)) as parley,
    ):
        yield parley


@pytest.fixture
async def with_tls(network: Network, images: dict[str, Image], base_url: str, tmp_path: Path) -> AsyncIterator[Parley]:
    """As `hasty`, with TLS outside, and mutual TLS between gateway and service."""
    overlay = Overlay(base_url, notices_s=HASTY_S, certificates=make_certificates(tmp_path))
    async with (
        cluster(network, tmp_path, images, dns_cache_s=2) as made,
        running(made, tmp_path, overlay) as parley,
    ):
        yield parley


@dataclass(frozen=True)
class Report:
    """Figures of a test, for the end of the run."""

    name: str

    def add(self, text: object) -> None:
        """A line of it."""
        _FIGURES.append(f"{self.name}: {text}")

    def add_pods(self, pods: list[Pod]) -> None:
        """How long pods that have ended took for it, and for being ready."""
        for pod in pods:
            self.add(
                f"{pod.plan.name}: ready after {pod.took_to_ready_s:.1f} s, ended within {pod.took_to_end_s:.1f} s"
            )


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return Report(request.node.name.removeprefix("test_").replace("_", " "))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print them."""
    if _FIGURES:
        terminalreporter.section("figures")
        for line in _FIGURES:
            terminalreporter.line(line)
