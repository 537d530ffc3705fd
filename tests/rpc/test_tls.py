"""TLS and mTLS on the gRPC port, beside a plaintext port for health alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY, stack_config
from tests.support.certificates import Certificates, make_certificates
from tests.support.health import health_stub
from tests.support.json_form import to_proto
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream

BODY = {"model": "echo", "messages": [{"role": "user", "content": "over TLS"}]}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def _tls(certificates: Certificates, *, mutual: bool) -> dict[str, str]:
    tls = {"cert_file": str(certificates.server_cert), "key_file": str(certificates.server_key)}
    return tls | ({"client_ca_file": str(certificates.ca)} if mutual else {})


@contextmanager
def _channel(stack: Stack, certificates: Certificates, *, with_certificate: bool) -> Iterator[grpc.Channel]:
    pair: tuple[Any, Any] = (None, None)
    if with_certificate:
        pair = (certificates.client_key.read_bytes(), certificates.client_cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes(), *pair)
    with grpc.secure_channel(stack.grpc_address, credentials) as channel:
        yield channel


def _answer(channel: grpc.Channel) -> str:
    stub = ChatServiceStub(channel)
    completion = stub.CreateChatCompletion(to_proto(BODY), metadata=(("x-api-key", KEY),), timeout=10)
    return completion.choices[0].message.content


@pytest.mark.parametrize("mutual", [False, True])
def test_calls_go_over_tls_and_health_has_a_plaintext_port(
    upstream: FakeUpstream,
    tmp_path: Path,
    certificates: Certificates,
    mutual: bool,  # noqa: FBT001 - a column of the table
) -> None:
    config = stack_config(upstream, tls=_tls(certificates, mutual=mutual))
    with running(config, tmp_path, gateway=False) as stack:
        with _channel(stack, certificates, with_certificate=mutual) as channel:
            assert _answer(channel) == "over TLS"
        assert stack.health_address is not None
        with grpc.insecure_channel(stack.health_address) as channel:
            assert health_stub(channel).Check(HealthCheckRequest(), timeout=5).status == HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as caught:
                _answer(channel)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        with grpc.insecure_channel(stack.grpc_address) as channel, pytest.raises(grpc.RpcError) as caught:
            _answer(channel)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_mtls_refuses_a_caller_without_a_certificate(
    upstream: FakeUpstream, tmp_path: Path, certificates: Certificates
) -> None:
    config = stack_config(upstream, tls=_tls(certificates, mutual=True))
    with (
        running(config, tmp_path, gateway=False) as stack,
        _channel(stack, certificates, with_certificate=False) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        _answer(channel)

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_the_gateway_speaks_tls_to_both_sides(
    upstream: FakeUpstream, tmp_path: Path, certificates: Certificates
) -> None:
    config = stack_config(upstream, tls=_tls(certificates, mutual=True))
    config["gateway"] = {
        "tls": _tls(certificates, mutual=False),
        "upstream_tls": {
            "ca_file": str(certificates.ca),
            "cert_file": str(certificates.client_cert),
            "key_file": str(certificates.client_key),
        },
    }
    with running(config, tmp_path, ca_file=certificates.ca) as stack:
        response = httpx.post(
            f"https://{stack.http_address}/v1/chat/completions",
            json=BODY,
            headers={"x-api-key": KEY},
            verify=ssl.create_default_context(cafile=str(certificates.ca)),
        )

    assert response.json()["choices"][0]["message"]["content"] == "over TLS"


def test_a_health_address_may_be_asked_for_without_tls(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream, health_address="127.0.0.1:0")
    with running(config, tmp_path, gateway=False) as stack:
        assert stack.health_address is not None
        with grpc.insecure_channel(stack.health_address) as channel:
            assert health_stub(channel).Check(HealthCheckRequest(), timeout=5).status == HealthCheckResponse.SERVING


def test_a_certificate_that_cannot_be_read_ends_the_start_with_its_path(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = stack_config(upstream, tls={"cert_file": "/no/such/cert.pem", "key_file": "/no/such/key.pem"})
    with (
        pytest.raises(AssertionError, match=r"server\.tls\.cert_file: /no/such/cert\.pem can't be read"),
        running(config, tmp_path, gateway=False),
    ):
        pass
