"""One scratch service and one Envoy for all tests of the gateway; each test scripts the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.scratch import Gateway, Scratch, Service, running_gateway, running_service, wait_until_ready

ORIGIN = "https://app.example"
CONFIG = f"""
gateway:
  cors_origins: ["{ORIGIN}"]
"""
IMPATIENT_CONFIG = "gateway: {stream_idle_timeout_s: 0.5}"


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture(scope="session")
def gateway(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    (folder / "parley.yaml").write_text(CONFIG)
    with running_gateway(folder, service.address, PARLEY_CONFIG=str(folder / "parley.yaml")) as gateway:
        wait_until_ready(gateway)
        yield gateway
        # A Lua error does not fail a request; it leaves the answer as it was.
        assert "[lua]" not in gateway.log_path.read_text()


@pytest.fixture
def impatient(service: Service, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a gateway that gives up on silence soon."""
    (tmp_path / "parley.yaml").write_text(IMPATIENT_CONFIG)
    with running_gateway(tmp_path, service.address, PARLEY_CONFIG=str(tmp_path / "parley.yaml")) as gateway:
        wait_until_ready(gateway)
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:
            yield client


@pytest.fixture
def script(service: Service) -> Scratch:
    """The service's script, as new."""
    service.script.reset()
    return service.script


@pytest.fixture
def rest(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:
        yield client
