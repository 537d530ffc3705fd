"""One scratch service and one Envoy for all tests of the gateway; each test scripts the service."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.scratch import Gateway, Scratch, Service, running_gateway, running_service, wait_until_ready

with warnings.catch_warnings():
    # envoy-data-plane 2.2 declares its validators in a way that pydantic 2.12 deprecates; imported
    # here once, before any test, so that the warning is not an error.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("gateway.bootstrap")

ORIGIN = "https://app.example"
CONFIG = f"""
gateway:
  cors_origins: ["{ORIGIN}"]
  stream_idle_timeout_s: 1.5
"""


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
def script(service: Service) -> Scratch:
    """The service's script, as new."""
    service.script.reset()
    return service.script


@pytest.fixture
def rest(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:
        yield client
