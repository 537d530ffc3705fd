"""Replicas whose connections fail although their health check passes, and what must not count against one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from h2.errors import ErrorCodes

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from tests.gateway.answers import CHAT, failure
from tests.gateway.raw_replica import Refusal, mark_refused, raw_replica, reset
from tests.gateway.scratch import Context, Gateway, Scratch, Service, running_gateway, running_service, wait_until

BROKEN = reset(ErrorCodes.INTERNAL_ERROR)
FAILURES = 5
"""In a row, after which a replica is left alone."""


@contextmanager
def _before(folder: Path, *addresses: str) -> Iterator[tuple[Gateway, httpx.Client]]:
    folder = Path(tempfile.mkdtemp(dir=folder))
    with running_gateway(folder, ",".join(addresses)) as gateway:
        wait_until(lambda: gateway.stat("cluster.parley.membership_healthy") == len(addresses))
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:
            yield gateway, client


def _ejected(gateway: Gateway) -> int:
    return gateway.stat("cluster.parley.outlier_detection.ejections_active")


@pytest.mark.parametrize("fault", [BROKEN, reset(ErrorCodes.NO_ERROR)])
def test_a_replica_that_breaks_calls_is_left_alone_and_comes_back(
    service: Service, script: Scratch, tmp_path: Path, fault: Refusal
) -> None:
    with raw_replica(fault) as raw, _before(tmp_path, raw.address, service.address) as (gateway, client):
        wait_until(lambda: bool(_ask_once(client)) and _ejected(gateway) == 1)
        assert raw.calls >= FAILURES
        raw.calls = 0
        assert [_ask_once(client) for _ in range(20)] == [200] * 20
        assert raw.calls == 0
        raw.refuse = mark_refused  # it is well, but busy: calls go on to the other one
        wait_until(lambda: _ask_once(client) == 200 and raw.calls > 0)
        assert _ejected(gateway) == 0


def test_statuses_that_tell_of_providers_take_no_replica_away(tmp_path: Path) -> None:
    codes = [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ]
    with (
        running_service() as one,
        running_service() as other,
        _before(tmp_path, one.address, other.address) as (gateway, client),
    ):
        for code in codes:
            one.script.unary = other.script.unary = failure(code, "told by a provider")
            statuses = {client.post(CHAT, json={}).status_code for _ in range(4 * FAILURES)}
            assert 200 not in statuses
        assert len(one.script.requests) > FAILURES < len(other.script.requests)
        assert gateway.stat("cluster.parley.outlier_detection.ejections_enforced_total") == 0
        assert gateway.stat("cluster.parley.membership_healthy") == 2


def test_callers_that_leave_take_no_replica_away(service: Service, script: Scratch, tmp_path: Path) -> None:
    script.unary = _never
    with running_service() as other, _before(tmp_path, service.address, other.address) as (gateway, client):
        other.script.unary = _never
        for _ in range(2 * FAILURES):
            with pytest.raises(httpx.ReadTimeout):
                client.post(CHAT, json={}, timeout=0.05)
        wait_until(lambda: gateway.stat("http.http.downstream_rq_active") == 0)
        assert gateway.stat("cluster.parley.outlier_detection.ejections_enforced_total") == 0


async def _never(request: Any, context: Context) -> ChatCompletion:
    await asyncio.Event().wait()
    raise AssertionError


def test_half_of_the_replicas_always_stay(tmp_path: Path) -> None:
    """Else requests that break connections could take all of them away."""
    with (
        raw_replica(BROKEN) as one,
        raw_replica(BROKEN) as other,
        _before(tmp_path, one.address, other.address) as (gateway, client),
    ):
        wait_until(lambda: bool(_ask_once(client)) and _ejected(gateway) == 1)
        one.calls = other.calls = 0
        for _ in range(4 * FAILURES):
            _ask_once(client)
        assert one.calls + other.calls == 4 * FAILURES
        assert _ejected(gateway) <= 1
    with raw_replica(BROKEN) as only, _before(tmp_path, only.address) as (gateway, client):
        # There was reason to, more than once.
        overflow = "cluster.parley.outlier_detection.ejections_overflow"
        wait_until(lambda: bool(_ask_once(client)) and gateway.stat(overflow) > 0)
        only.calls = 0
        assert (_ask_once(client), only.calls, _ejected(gateway)) == (503, 1, 0)


def _ask_once(client: httpx.Client) -> int:
    return client.post(CHAT, json={}).status_code
