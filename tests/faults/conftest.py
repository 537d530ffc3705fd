"""The fault provider, and a user whose requests can be told from others'."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.faults.thread import FaultServer


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex}"
