"""TLS and mutual TLS, towards clients and towards the service."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import yaml

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT
from tests.gateway.certificates import Certificates, make_certificates
from tests.gateway.scratch import Gateway, running_gateway, running_service, wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_gateway(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Mutual TLS on both sides."""
    ca, pair = certificates.ca, {"cert_file": certificates.cert, "key_file": certificates.key}
    config = {
        "server": {"tls": pair},
        "gateway": {"tls": {**pair, "client_ca_file": ca}, "upstream_tls": {"ca_file": ca, **pair}},
    }
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "parley.yaml"
    path.write_text(yaml.safe_dump(config))
    key, cert, root = (Path(name).read_bytes() for name in (certificates.key, certificates.cert, ca))
    credentials = grpc.ssl_server_credentials([(key, cert)], root, require_client_auth=True)
    with (
        running_service(credentials=credentials) as service,
        running_gateway(folder, service.address, PARLEY_CONFIG=str(path)) as gateway,
    ):
        yield gateway


def _context(certificates: Certificates, *, with_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.ca)
    if with_certificate:
        context.load_cert_chain(certificates.cert, certificates.key)
    return context


@pytest.mark.parametrize("http2", [False, True])
def test_rest_over_mutual_tls(tls_gateway: Gateway, certificates: Certificates, *, http2: bool) -> None:
    context = _context(certificates, with_certificate=True)
    with httpx.Client(base_url=f"https://{tls_gateway.address}", verify=context, http2=http2) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        answer = client.post(CHAT, json={"model": "m", "stream": True})
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.text.endswith("data: [DONE]\n\n")


def test_grpc_over_mutual_tls(tls_gateway: Gateway, certificates: Certificates) -> None:
    root, key, cert = (Path(name).read_bytes() for name in (certificates.ca, certificates.key, certificates.cert))
    with grpc.secure_channel(tls_gateway.address, grpc.ssl_channel_credentials(root, key, cert)) as channel:
        answer = ChatServiceStub(channel).CreateChatCompletion(ChatCompletionRequest(model="m"), wait_for_ready=True)
        assert answer.model == "m"


def test_clients_without_a_certificate_are_refused(tls_gateway: Gateway, certificates: Certificates) -> None:
    context = _context(certificates, with_certificate=False)
    with pytest.raises(httpx.TransportError), httpx.Client(verify=context) as client:
        client.get(f"https://{tls_gateway.address}/healthz")


def test_a_service_with_another_name_is_not_trusted(certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "parley.yaml"
    upstream = {"ca_file": certificates.ca, "server_name": "other.example"}
    path.write_text(yaml.safe_dump({"gateway": {"upstream_tls": upstream}}))
    key, cert = (Path(name).read_bytes() for name in (certificates.key, certificates.cert))
    credentials = grpc.ssl_server_credentials([(key, cert)])
    with (
        running_service(credentials=credentials) as service,
        running_gateway(tmp_path, service.address, PARLEY_CONFIG=str(path)) as gateway,
    ):
        assert httpx.get(f"http://{gateway.address}/readyz").status_code == 503
