"""A provider that is down, seen through the gateway: told by name, and nothing else is closed by it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from grpc_health.v1.health_pb2 import HealthCheckRequest

from service.health import CHAT_SERVICE, MODEL_SERVICE, NOT_SERVING, OVERALL, SERVING
from tests.conftest import KEY, stack_config
from tests.support.faces import FACES, ask
from tests.support.health import health_stub
from tests.support.stack import running
from tests.support.upstream import FakeUpstream

SEEN_AFTER_S = 3.0
"""By then Envoy, which looks at the health every second, acts on what it has seen."""


def test_an_open_circuit_is_told_by_name_and_closes_no_door(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream)
    breaker = {"failures": 2, "open_s": 60}
    config["models"] = {"dead": {**config["models"]["dead"], "breaker": breaker, "retries": {"max_attempts": 1}}}
    body = {"model": "dead", "messages": [{"role": "user", "content": "x"}]}
    with (
        running(config, tmp_path) as stack,
        httpx.Client(base_url=stack.url, headers={"x-api-key": KEY}, timeout=10) as client,
        stack.channel(through_gateway=True) as channel,
    ):
        assert [ask(stack, "rest", body).failure.code for _ in range(2)] == ["upstream_unavailable"] * 2  # type: ignore[union-attr]
        until = time.monotonic() + SEEN_AFTER_S
        while time.monotonic() < until:
            for face in FACES:
                outcome = ask(stack, face, body)
                assert outcome.failure is not None
                assert (outcome.failure.http_status, outcome.failure.code) == (503, "circuit_open")
                assert 50 <= int(outcome.metadata["retry-after"]) <= 60
            assert client.get("/readyz").status_code == 200

        health = health_stub(channel)
        states = {
            name: health.Check(HealthCheckRequest(service=name)).status
            for name in (OVERALL, MODEL_SERVICE, CHAT_SERVICE)
        }
        assert states == {OVERALL: SERVING, MODEL_SERVICE: SERVING, CHAT_SERVICE: NOT_SERVING}
        (target,) = client.get("/v1/models/dead").json()["targets"]
        assert target["state"] == "unavailable"
