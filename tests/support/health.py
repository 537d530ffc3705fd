"""The health service's stub, whose type stubs know no methods."""

from __future__ import annotations

from typing import Any

from grpc_health.v1.health_pb2_grpc import HealthStub


def health_stub(channel: Any) -> Any:
    """A stub for `Check` and `Watch`."""
    return HealthStub(channel)
