"""The listener for probes and metrics, which is plaintext and reaches nothing else."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.operations import MAX_CONNECTIONS
from gateway.statistics import BUCKETS_MS
from tests.gateway.answers import CHAT, END, chunks, text_chunk
from tests.gateway.certificates import make_certificates
from tests.gateway.scratch import (
    Gateway,
    Scratch,
    Service,
    running_gateway,
    running_service,
    wait_until,
    wait_until_ready,
)

# More than one gateway prints, whatever it is asked: a number per call or client would be far beyond.
MOST_LINES = 1000


@pytest.fixture
def operations(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{gateway.operations}", timeout=20) as client:
        yield client


def _metrics(client: httpx.Client) -> dict[str, float]:
    """Samples by name and labels, as Prometheus reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert len(lines) < MOST_LINES
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def _ask(address: str, method: str, path: str) -> int:
    """The status, with a path that no client would leave as it is."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.putrequest(method, path)
        connection.putheader("content-length", "0")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_metrics_tell_of_calls_by_url_status_and_time(
    operations: httpx.Client, rest: httpx.Client, script: Scratch
) -> None:
    route = 'envoy_virtual_host="parley",envoy_route="chat_completions"'
    script.stream = chunks(text_chunk("a"), END)
    before = _metrics(operations)
    assert rest.post(CHAT, json={}).status_code == 200
    assert rest.post(f"/api{CHAT}", json={"stream": True}).status_code == 200
    wait_until(lambda: _grown(operations, before, f"envoy_vhost_route_upstream_rq_total{{{route}}}") == 2)
    after = _metrics(operations)
    assert after[f'envoy_vhost_route_upstream_rq_xx{{envoy_response_code_class="2",{route}}}'] >= 2
    bounds = {
        name.rpartition('le="')[2].rstrip('"}') for name in after if name.startswith("envoy_http_downstream_rq_time_b")
    }
    assert bounds == {str(bound) for bound in BUCKETS_MS} | {"+Inf"}


def _grown(operations: httpx.Client, before: dict[str, float], name: str) -> float:
    return _metrics(operations).get(name, 0) - before.get(name, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/metrics"),
        ("PUT", "/metrics"),
        ("POST", "/quitquitquit"),
        ("POST", "/metrics/../quitquitquit"),
        ("POST", "/metrics/..;/quitquitquit"),
        ("POST", "/metrics%2f..%2fquitquitquit"),
        ("GET", "/metrics/../config_dump"),
        ("GET", "/metrics/"),
        ("GET", "//metrics"),
        ("GET", "/metrics?filter=server"),
        ("GET", "/metrics?/../../config_dump"),
        ("GET", "/metrics#/config_dump"),
        ("GET", "/metrics%23"),
        ("GET", "/stats/prometheus"),
        ("GET", "/config_dump"),
        ("GET", "/"),
        ("POST", CHAT),
        ("GET", "/v1/models"),
    ],
)
def test_nothing_else_can_be_reached(gateway: Gateway, method: str, path: str) -> None:
    assert _ask(gateway.operations, method, path) in {400, 404}
    assert gateway.process.poll() is None
    assert httpx.get(f"http://{gateway.operations}/healthz").status_code == 200


def test_clients_can_not_read_the_metrics(rest: httpx.Client) -> None:
    assert rest.get("/metrics").status_code == 404


def test_probes_follow_the_service_and_the_drain(tmp_path: Path) -> None:
    def status(path: str) -> int:
        return httpx.get(f"http://{gateway.operations}{path}").status_code

    with running_service() as service, running_gateway(tmp_path, service.address) as gateway:
        wait_until(lambda: status("/readyz") == 200)
        service.set_serving(serving=False)
        wait_until(lambda: status("/readyz") == 503)
        service.set_serving(serving=True)
        wait_until(lambda: status("/readyz") == 200)
        httpx.post(f"http://{gateway.admin}/healthcheck/fail")  # what the supervisor does at SIGTERM
        assert (status("/readyz"), status("/healthz")) == (503, 503)


def test_they_need_no_tls_where_clients_do(service: Service, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    tls = {"cert_file": certificates.cert, "key_file": certificates.key, "client_ca_file": certificates.ca}
    (tmp_path / "parley.yaml").write_text(yaml.safe_dump({"gateway": {"tls": tls}}))
    with running_gateway(tmp_path, service.address, PARLEY_CONFIG=str(tmp_path / "parley.yaml")) as gateway:
        wait_until(lambda: httpx.get(f"http://{gateway.operations}/readyz").status_code == 200)
        assert httpx.get(f"http://{gateway.operations}/metrics").status_code == 200


def test_without_an_address_there_is_no_such_listener(tmp_path: Path) -> None:
    (tmp_path / "parley.yaml").write_text("gateway: {metrics_address: null}")
    settings = {"PARLEY_CONFIG": str(tmp_path / "parley.yaml"), "PARLEY_GATEWAY_METRICS_ADDRESS": ""}
    with running_gateway(tmp_path, "127.0.0.1:1", **settings) as gateway:
        assert gateway.operations == ""
        assert httpx.get(f"http://{gateway.address}/healthz").status_code == 200


def test_connections_are_few_and_clients_can_not_use_them_up(tmp_path: Path, service: Service) -> None:
    """Of the public listener all connections are taken here, and the probes still answer."""
    (tmp_path / "parley.yaml").write_text("gateway: {max_connections: 3}")
    with (
        running_gateway(tmp_path, service.address, PARLEY_CONFIG=str(tmp_path / "parley.yaml")) as gateway,
        ExitStack() as stack,
    ):
        wait_until_ready(gateway)
        for _ in range(3):
            stack.enter_context(_connected(gateway.address))
        wait_until(lambda: _is_refused(gateway.address))
        assert httpx.get(f"http://{gateway.operations}/readyz").status_code == 200
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(_connected(gateway.operations))
        wait_until(lambda: _is_refused(gateway.operations))


def test_connections_leave_files_open_for_all_else(tmp_path: Path, service: Service) -> None:
    """Where a process may have few files open; without one for the next connection, Envoy answers nobody."""
    with running_gateway(tmp_path, service.address, 160) as gateway, ExitStack() as stack:
        wait_until_ready(gateway)
        assert "gateway.max_connections is 60 rather than 10000" in gateway.log_path.read_text()
        kept = stack.enter_context(httpx.Client(base_url=f"http://{gateway.address}"))
        assert kept.get("/v1/models").status_code == 200
        for _ in range(160):
            stack.enter_context(_connected(gateway.address))
        wait_until(lambda: _is_refused(gateway.address))
        assert kept.get("/v1/models").status_code == 200
        assert httpx.get(f"http://{gateway.operations}/readyz").status_code == 200


def _connected(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _is_refused(address: str) -> bool:
    try:
        with _connected(address) as probe:
            probe.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return probe.recv(1) == b""
    except ConnectionError:
        return True


def test_the_supervisor_ends_it_while_somebody_scrapes(service: Service, tmp_path: Path) -> None:
    """An open connection of Prometheus is no call that has to be waited for."""
    with (
        running_gateway(tmp_path, service.address) as gateway,
        httpx.Client(base_url=f"http://{gateway.operations}") as prometheus,
    ):
        assert prometheus.get("/metrics").status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
