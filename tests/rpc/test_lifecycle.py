"""Health, readiness, and how the service ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.health import LIVENESS, SERVICES
from tests.conftest import KEY, stack_config
from tests.support.envoy import ROOT
from tests.support.faces import grpc_failure
from tests.support.health import health_stub
from tests.support.json_form import to_proto
from tests.support.stack import START_S, Stack, running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
METADATA = (("authorization", f"Bearer {KEY}"),)


def _request(script: Script) -> ChatCompletionRequest:
    return to_proto({"model": "echo", "messages": [{"role": "user", "content": "Hello"}], "user": script.user})


def _check(channel: grpc.Channel, name: str = "") -> int:
    status: int = health_stub(channel).Check(HealthCheckRequest(service=name), timeout=5).status
    return status


@pytest.mark.parametrize("name", ["", *SERVICES, LIVENESS])
def test_health_needs_no_key_and_knows_every_service(stack: Stack, name: str) -> None:
    with stack.channel() as channel:
        assert _check(channel, name) == SERVING


def test_health_of_an_unknown_service_is_not_found(stack: Stack) -> None:
    with stack.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        _check(channel, "no.such.Service")

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_is_not_serving_while_no_model_can_be_served(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_text("no model")
    config = {
        "providers": {"local": {"kind": "embedded", "model_file": str(broken)}},
        "models": {"m": {"targets": [{"provider": "local", "model": "m"}]}},
    }
    with running(config, tmp_path, gateway=False) as stack, stack.channel() as channel:
        assert _check(channel) == NOT_SERVING
        assert {name: _check(channel, name) for name in SERVICES} == dict.fromkeys(SERVICES, NOT_SERVING)
        assert _check(channel, LIVENESS) == SERVING, "nobody shall restart it for that"


def test_health_follows_the_embedded_model(tmp_path: Path) -> None:
    with running({}, tmp_path, gateway=False, environ={"PARLEY_CONFIG": ""}) as stack, stack.channel() as channel:
        watched = health_stub(channel).Watch(HealthCheckRequest(), timeout=60)
        states = (answer.status for answer in watched)
        while next(states) != SERVING:
            pass
        (child,) = psutil.Process(stack.service.process.pid).children()
        child.kill()

        assert next(states) == NOT_SERVING
        assert next(states) == SERVING
        watched.cancel()


def test_sigterm_lets_a_running_stream_finish(upstream: FakeUpstream, tmp_path: Path) -> None:
    gate = threading.Event()
    script = Script(events=[chunk("a"), chunk("b"), chunk(finish="stop")], gates={1: gate})
    with (
        upstream.scripted(script),
        running(stack_config(upstream, drain_grace_s=20), tmp_path, gateway=False) as stack,
        stack.channel() as channel,
    ):
        watched = health_stub(channel).Watch(HealthCheckRequest(), timeout=60)
        states = (answer.status for answer in watched)
        assert next(states) == SERVING
        chunks = ChatServiceStub(channel).StreamChatCompletion(_request(script), metadata=METADATA, timeout=30)
        first = [next(chunks), next(chunks)]
        stack.service.process.terminate()

        assert next(states) == NOT_SERVING
        wait_for(lambda: _is_refused(stack, script))
        gate.set()
        rest = list(chunks)
        assert [value.choices[0].delta.content for value in first + rest] == ["", "a", "b", ""]
        assert chunks.code() == grpc.StatusCode.OK
        # The watcher is still there; it must not hold the end back.
        assert stack.service.process.wait(10) == 0
        assert next(states, None) is None, "the watcher's stream ended, too"


def _is_refused(stack: Stack, script: Script) -> bool:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        try:
            ChatServiceStub(channel).CreateChatCompletion(_request(script), metadata=METADATA, timeout=2)
        except grpc.RpcError as error:
            return grpc_failure(error).code == "shutting_down"
    return False


def test_a_stream_that_outlasts_the_grace_period_is_told_so(upstream: FakeUpstream, tmp_path: Path) -> None:
    script = Script(events=[chunk("a")], ending="hang")
    with (
        upstream.scripted(script),
        running(stack_config(upstream, drain_grace_s=0.3), tmp_path, gateway=False) as stack,
        stack.channel() as channel,
    ):
        chunks = ChatServiceStub(channel).StreamChatCompletion(_request(script), metadata=METADATA, timeout=30)
        next(chunks)
        stack.service.process.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            list(chunks)

        assert grpc_failure(caught.value).code == "shutting_down"
        assert stack.service.process.wait(10) == 0
        assert script.left.wait(5)
        assert [call["reason"] for call in stack.service.json_lines("call")] == ["SHUTTING_DOWN"]


def test_a_rest_stream_that_outlasts_the_grace_period_ends_with_an_error(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    script = Script(events=[chunk("a")], ending="hang")
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "x"}], "user": script.user}
    with (
        upstream.scripted(script),
        running(stack_config(upstream, drain_grace_s=0.3), tmp_path) as stack,
        httpx.stream(
            "POST", f"{stack.url}/v1/chat/completions", json=body, headers={"x-api-key": KEY}, timeout=20
        ) as response,
    ):
        events = response.iter_text()
        next(events)
        stack.service.process.terminate()
        text = "".join(events)

    assert '"code":"shutting_down"' in text
    assert "[DONE]" not in text


def test_sigterm_of_an_idle_service_is_quick_and_clean(upstream: FakeUpstream, tmp_path: Path) -> None:
    with running(stack_config(upstream), tmp_path, gateway=False) as stack:
        stack.service.process.terminate()

        assert stack.service.process.wait(5) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"server": {"grpc_address": "127.0.0.1:0", "drain_grace": 1}}, "server: Object contains unknown field"),
        ({"models": {}}, "models: at least one model is needed"),
    ],
)
def test_a_wrong_configuration_ends_the_start_with_its_path(
    upstream: FakeUpstream, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(AssertionError) as caught, running(stack_config(upstream) | change, tmp_path, gateway=False):
        pass

    assert expected in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_address_in_use_ends_the_start(stack: Stack, upstream: FakeUpstream, tmp_path: Path) -> None:
    environ = {"PARLEY_GRPC_ADDRESS": stack.grpc_address}
    with (
        pytest.raises(AssertionError, match="can't be listened at"),
        running(stack_config(upstream), tmp_path, gateway=False, environ=environ),
    ):
        pass


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_it_runs_and_ends_without_standard_streams(upstream: FakeUpstream, tmp_path: Path, closed: str) -> None:
    address = f"unix:{tmp_path}/service"
    (tmp_path / "parley.yaml").write_text(yaml.safe_dump(stack_config(upstream, drain_notice_s=0)))
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-m", "service"],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={
            **os.environ,
            "PARLEY_CONFIG": str(tmp_path / "parley.yaml"),
            "PARLEY_GRPC_ADDRESS": address,
            "PARLEY_METRICS_ADDRESS": "127.0.0.1:0",
        },
    )
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(START_S)
            answer = ChatServiceStub(channel).CreateChatCompletion(_request(Script()), metadata=METADATA, timeout=20)
        assert answer.choices[0].message.content == "Hello"
    finally:
        process.terminate()
        exit_code = process.wait(START_S)
    assert exit_code == 0


def _reflected(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> list[str]:
    def ask() -> Iterator[ServerReflectionRequest]:
        yield ServerReflectionRequest(list_services="")

    stub: Any = ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(ask(), metadata=metadata, timeout=5)
    return sorted(service.name for service in answer.list_services_response.service)


def test_reflection_lists_the_services_for_callers_with_a_key(stack: Stack) -> None:
    with stack.channel() as channel:
        assert _reflected(channel, METADATA) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "parley.v1.ChatService",
            "parley.v1.ModelService",
            "parley.v1.SessionService",
        ]


def test_reflection_refuses_callers_without_a_key(stack: Stack) -> None:
    with stack.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        _reflected(channel, ())

    assert grpc_failure(caught.value).code == "invalid_api_key"
