"""What the images' HEALTHCHECK of the service tells."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from service import health_probe

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@contextmanager
def listening(state: int | None) -> Iterator[str]:
    """A server whose health is `state`, or that has none; its address."""
    server = grpc.server(ThreadPoolExecutor(1))
    if state is not None:
        servicer = health.HealthServicer()
        servicer.set(health.OVERALL_HEALTH, state)
        add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (SERVING, None, 0),
        (SERVING, NOT_SERVING, 0),
        (NOT_SERVING, None, 1),
        (NOT_SERVING, SERVING, 1),  # of the same replica, or of another's: the first one counts
        (None, SERVING, 0),
        (None, NOT_SERVING, 1),
        (None, None, 1),
    ],
)
def test_the_first_that_answers_tells(first: int | None, second: int | None, status: int) -> None:
    with listening(first) as one, listening(second) as two:
        assert health_probe.main([one, two]) == status


def test_a_port_at_which_nothing_listens_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(SERVING) as closed:
        pass
    with listening(SERVING) as address:
        assert health_probe.main([closed, address]) == 0
    assert health_probe.main([closed]) == 1
    assert closed in capsys.readouterr().err


def test_without_an_address_it_tells_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert health_probe.main([]) == 2
    assert "usage" in capsys.readouterr().err
