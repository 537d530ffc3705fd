"""Several replicas: which calls Envoy sends anew to another one, and which never."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from h2.errors import ErrorCodes

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT, failure
from tests.gateway.raw_replica import Refusal, go_away, mark_refused, raw_replica, reset
from tests.gateway.scratch import Gateway, Scratch, Service, running_gateway, wait_until
from tests.support.envoy import ROOT

CALLS = 20
"""Enough that each of two replicas was certainly drawn."""
REFUSED = failure(grpc.StatusCode.UNAVAILABLE, "not now", ("x-parley-refused", "1"), ("x-error-type", "server_error"))
Ask = Callable[[str], str]
"""Sends a model's name; gives the one that came back, or "" where the call failed with UNAVAILABLE or 503."""


@contextmanager
def balanced(folder: Path, *addresses: str) -> Iterator[Gateway]:
    """Envoy before replicas, all of them healthy."""
    with running_gateway(folder, ",".join(addresses)) as gateway:
        wait_until(lambda: _stat(gateway, "membership_healthy") == len(addresses))
        yield gateway


def _stat(gateway: Gateway, name: str) -> int:
    text = httpx.get(f"http://{gateway.admin}/stats?filter=^cluster.parley.{name}$").text
    return int(text.rpartition(": ")[2])


@contextmanager
def _asking(gateway: Gateway, face: str) -> Iterator[Ask]:
    if face == "rest":
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as client:

            def ask_rest(model: str) -> str:
                answer = client.post(CHAT, json={"model": model})
                if answer.status_code == 503:
                    return ""
                return str(answer.json()["model"])

            yield ask_rest
        return
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(gateway.address, options) as channel:
        create = ChatServiceStub(channel).CreateChatCompletion

        def ask_grpc(model: str) -> str:
            try:
                return create(ChatCompletionRequest(model=model), timeout=20).model
            except grpc.RpcError as error:
                call: Any = error  # it is a call, too, which the types don't say
                assert call.code() is grpc.StatusCode.UNAVAILABLE
                return ""

        yield ask_grpc


# 5 MB: more than any of Envoy's windows and connection buffers holds.
@pytest.mark.parametrize("size", [10, 5_000_000])
@pytest.mark.parametrize("face", ["rest", "grpc"])
@pytest.mark.parametrize("refuse", [reset(ErrorCodes.REFUSED_STREAM), go_away, mark_refused])
def test_a_call_that_was_refused_unseen_goes_to_another_replica(
    service: Service, script: Scratch, tmp_path: Path, refuse: Refusal, face: str, size: int
) -> None:
    model = "x" * size
    with raw_replica(refuse) as raw, balanced(tmp_path, raw.address, service.address) as gateway:
        with _asking(gateway, face) as ask:
            for _ in range(CALLS):
                assert ask(model) == model
        assert _stat(gateway, "upstream_rq_retry") == raw.calls > 0
        assert len(script.requests) == CALLS


def test_a_refusal_of_all_replicas_is_told_without_its_mark(
    service: Service, script: Scratch, rest: httpx.Client, gateway: Gateway
) -> None:
    script.unary = REFUSED
    answer = rest.post(CHAT, json={})
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "not now"
    assert "x-parley-refused" not in answer.headers
    with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        ChatServiceStub(channel).CreateChatCompletion(ChatCompletionRequest())
    call: Any = caught.value
    assert (call.code(), call.details()) == (grpc.StatusCode.UNAVAILABLE, "not now")
    names = {name for part in (call.initial_metadata(), call.trailing_metadata()) for name, _ in part}
    assert "x-error-type" in names
    assert "x-parley-refused" not in names


@pytest.mark.parametrize("after_body", [False, True])
@pytest.mark.parametrize("face", ["rest", "grpc"])
@pytest.mark.parametrize("code", [ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR])
def test_a_call_that_may_have_been_begun_is_never_sent_twice(
    service: Service, script: Scratch, tmp_path: Path, code: ErrorCodes, face: str, *, after_body: bool
) -> None:
    with (
        raw_replica(reset(code), after_body=after_body) as raw,
        balanced(tmp_path, raw.address, service.address) as gateway,
    ):
        with _asking(gateway, face) as ask:
            answers = [ask("m") for _ in range(CALLS)]
        assert raw.calls == answers.count("") > 0
        assert len(script.requests) == answers.count("m") > 0
        assert _stat(gateway, "upstream_rq_retry") == 0


def test_calls_that_find_no_connection_go_to_another_replica(service: Service, script: Scratch, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/grpc.sock"
    doomed = subprocess.Popen([sys.executable, "-m", "tests.gateway.doomed", address], cwd=ROOT)
    try:
        with balanced(tmp_path, service.address, address) as gateway, httpx.Client(timeout=20) as client:
            url = f"http://{gateway.address}{CHAT}"
            assert client.post(url, json={}).status_code == 200
            doomed.kill()
            doomed.wait()
            # Health checks have not found out yet: two have to fail.
            assert [client.post(url, json={}).status_code for _ in range(CALLS)] == [200] * CALLS
            assert _stat(gateway, "upstream_rq_retry") > 0
    finally:
        doomed.kill()
        doomed.wait()
