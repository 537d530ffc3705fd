"""How `python -m gateway run` ends: open calls finish first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.gateway.answers import CHAT, END, text_chunk
from tests.gateway.scratch import (
    PATIENCE_S,
    Context,
    Gateway,
    Scratch,
    Service,
    clean_environ,
    running_gateway,
    wait_until,
    wait_until_ready,
)
from tests.support.envoy import ROOT


@contextmanager
def drainable(folder: Path, service: Service, grace_s: float = 30) -> Iterator[Gateway]:
    (folder / "parley.yaml").write_text(f"gateway: {{drain_grace_s: {grace_s}}}")
    with running_gateway(folder, service.address, PARLEY_CONFIG=str(folder / "parley.yaml")) as gateway:
        wait_until_ready(gateway)
        yield gateway


class Held:
    """A stream that ends when it is told to."""

    def __init__(self, service: Service) -> None:
        self._loop = service.loop
        self._ended = asyncio.Event()
        service.script.stream = self._answer

    async def _answer(self, request: Any, context: Context) -> None:
        await context.write(text_chunk("a"))
        await self._ended.wait()
        await context.write(text_chunk("b"))
        if service_is_rest(context):
            await context.write(END)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)


def service_is_rest(context: Context) -> bool:
    return any(name == "x-parley-sse" for name, _ in context.invocation_metadata() or ())


def envoy_of(gateway: Gateway) -> psutil.Process:
    (child,) = psutil.Process(gateway.process.pid).children()
    assert Path(child.exe()).name == "envoy"
    return child


def test_an_open_stream_finishes_while_readiness_fails(service: Service, script: Scratch, tmp_path: Path) -> None:
    held = Held(service)
    with drainable(tmp_path, service) as gateway, httpx.Client(base_url=f"http://{gateway.address}") as rest:
        with rest.stream("POST", CHAT, json={"stream": True}) as response:
            pieces = response.iter_text()
            first = next(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _is_ready(gateway))
            assert gateway.process.poll() is None
            held.end()
            text = first + "".join(pieces)
        assert text.endswith("data: [DONE]\n\n")
        assert '"content":"b"' in text
        assert gateway.process.wait(PATIENCE_S) == 0


def _is_ready(gateway: Gateway) -> bool:
    try:
        return httpx.get(f"http://{gateway.address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_open_grpc_stream_finishes(service: Service, script: Scratch, tmp_path: Path) -> None:
    held = Held(service)
    with drainable(tmp_path, service) as gateway, grpc.insecure_channel(gateway.address) as channel:
        call = ChatServiceStub(channel).StreamChatCompletion(ChatCompletionRequest())
        next(call)
        gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not _is_ready(gateway))
        held.end()
        assert [chunk.choices[0].delta.content for chunk in call] == ["b"]
        assert call.code() is grpc.StatusCode.OK
        assert gateway.process.wait(PATIENCE_S) == 0


def test_who_calls_meanwhile_is_served_and_sent_away(service: Service, script: Scratch, tmp_path: Path) -> None:
    """Balancers look at /readyz now and then only."""
    held = Held(service)
    with drainable(tmp_path, service) as gateway, httpx.Client(base_url=f"http://{gateway.address}") as rest:
        assert "connection" not in rest.post(CHAT, json={}).headers
        with rest.stream("POST", CHAT, json={"stream": True}) as response:
            gateway.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _is_ready(gateway))
            for _ in range(3):
                answer = rest.post(CHAT, json={})
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            held.end()
            assert response.read().endswith(b"data: [DONE]\n\n")
        assert gateway.process.wait(PATIENCE_S) == 0


def test_an_answer_that_is_read_late_arrives_whole(service: Service, script: Scratch, tmp_path: Path) -> None:
    text = "x" * 8_000_000

    async def answer(request: Any, context: Context) -> Any:
        return ChatCompletion(id=text)

    def is_only_unsent() -> bool:
        answer = httpx.get(
            f"http://{gateway.admin}/stats?filter=^http.http.downstream_(rq_active|cx_tx_bytes_buffered)$"
        )
        values = dict(line.split(": ") for line in answer.text.split("\n") if line)
        return [int(value) > 0 for _, value in sorted(values.items())] == [True, False]

    script.unary = answer
    with drainable(tmp_path, service) as gateway, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        host, _, port = gateway.address.rpartition(":")
        client.connect((host, int(port)))
        client.settimeout(PATIENCE_S)
        client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        wait_until(is_only_unsent)
        gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not _is_ready(gateway))
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
        assert received.count(b"x") > len(text)
        assert received.endswith(b'"}')
        assert gateway.process.wait(PATIENCE_S) == 0


def test_after_the_grace_period_calls_are_cut_visibly(service: Service, script: Scratch, tmp_path: Path) -> None:
    Held(service)
    with (
        drainable(tmp_path, service, grace_s=0.5) as gateway,
        httpx.stream("POST", f"http://{gateway.address}{CHAT}", json={"stream": True}) as response,
    ):
        pieces = response.iter_raw()
        next(pieces)
        gateway.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
        assert gateway.process.wait(PATIENCE_S) == 0
    assert "gateway: 1 calls outlasted the grace period and are cut" in gateway.log_path.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    service: Service, script: Scratch, tmp_path: Path, number: signal.Signals
) -> None:
    Held(service)
    with (
        drainable(tmp_path, service) as gateway,
        httpx.stream("POST", f"http://{gateway.address}{CHAT}", json={"stream": True}) as response,
    ):
        next(response.iter_raw())
        gateway.process.send_signal(number)
        wait_until(lambda: not _is_ready(gateway))
        gateway.process.send_signal(number)
        assert gateway.process.wait(PATIENCE_S) == 0


def test_without_calls_it_ends_at_once(service: Service, script: Scratch, tmp_path: Path) -> None:
    with drainable(tmp_path, service) as gateway, httpx.Client(base_url=f"http://{gateway.address}") as rest:
        assert rest.post(CHAT, json={}).status_code == 200  # its connection stays open
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(5) == 0


def test_what_it_runs_ends_with_the_supervisor(tmp_path: Path) -> None:
    command = ["--admin-address-path", str(tmp_path / "admin"), "--drain-grace-s", "1", "--", "/bin/sleep", "600"]
    process = subprocess.Popen([sys.executable, "-m", "gateway.supervisor", *command], cwd=ROOT)
    wait_until(lambda: [child.name() for child in psutil.Process(process.pid).children()] == ["sleep"], process)
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait(PATIENCE_S)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


class Admin(ThreadingHTTPServer):
    """Stands for an Envoy whose one call never ends, and whose admin interface may not answer at first."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), AdminHandler)
        self.failures = failures
        self.paths: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class AdminHandler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.failures -= 1
        body = b"http.http.downstream_rq_active: 1\nhttp.http.downstream_cx_tx_bytes_buffered: 0\n"
        self.send_response(503 if self.server.failures >= 0 else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@contextmanager
def supervised(folder: Path, admin: Admin, grace_s: float, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The supervisor of a program that does nothing, with `admin` for its interface."""
    (folder / "admin").write_text(admin.address)
    options = ["--admin-address-path", str(folder / "admin"), "--drain-grace-s", str(grace_s)]
    command = [sys.executable, "-m", "gateway.supervisor", *options, "--", "/bin/sleep", "600"]
    thread = threading.Thread(target=admin.serve_forever)
    thread.start()
    process = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
    try:
        wait_until(lambda: [child.name() for child in psutil.Process(process.pid).children()] == ["sleep"], process)
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        admin.shutdown()
        thread.join(PATIENCE_S)
        admin.server_close()


def test_envoy_is_asked_again_when_it_does_not_answer(tmp_path: Path) -> None:
    """Its calls go on though its main thread, which answers, is busy."""
    admin = Admin(failures=5)
    with supervised(tmp_path, admin, grace_s=60, stderr=subprocess.DEVNULL) as process:
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: sum(path.startswith("/stats") for path in admin.paths) > 1, process)
        assert admin.paths.count("/healthcheck/fail") == 6


def test_calls_have_the_grace_period_though_envoy_never_answers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        supervised(tmp_path, Admin(failures=1_000_000), grace_s=0.5, stderr=file.fileno()) as process,
    ):
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert time.monotonic() - began >= 0.5
    assert log.read_text() == "gateway: some calls outlasted the grace period and are cut\n"


def test_a_log_that_nobody_reads_changes_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with supervised(tmp_path, Admin(), grace_s=0.1, stderr=writing) as process:
        os.close(reading)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    os.close(writing)


def test_it_runs_without_standard_streams(service: Service, tmp_path: Path) -> None:
    environ = {
        "PARLEY_UPSTREAM_ADDRESS": service.address,
        "PARLEY_HTTP_ADDRESS": "127.0.0.1:0",
        "PARLEY_GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS_PATH": str(tmp_path / "admin"),
    }
    shell = ["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, "-m", "gateway", "run"]
    process = subprocess.Popen(shell, cwd=ROOT, env=clean_environ(environ))
    wait_until(lambda: (tmp_path / "admin").exists() and ":" in (tmp_path / "admin").read_text(), process)
    wait_until(lambda: httpx.get(f"http://{(tmp_path / 'admin').read_text().strip()}/ready").is_success, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_the_end_of_envoy_is_the_end(service: Service, script: Scratch, tmp_path: Path) -> None:
    with drainable(tmp_path, service) as gateway:
        envoy_of(gateway).kill()
        assert gateway.process.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_signals_to_the_group_reach_envoy_through_its_supervisor_only(gateway: Gateway) -> None:
    assert os.getpgid(envoy_of(gateway).pid) != os.getpgid(gateway.process.pid)


def test_other_signals_are_passed_on(gateway: Gateway) -> None:
    for number in (signal.SIGHUP, signal.SIGUSR1):
        gateway.process.send_signal(number)
    wait_until(lambda: "SIGHUP" in gateway.log_path.read_text())
    assert gateway.process.poll() is None


def test_an_address_in_use_is_told(gateway: Gateway) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run"],
        cwd=ROOT,
        env=clean_environ({"PARLEY_HTTP_ADDRESS": gateway.address, "PARLEY_ENVOY_ADMIN_ADDRESS": gateway.admin}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_two_gateways_never_share_an_address(gateway: Gateway) -> None:
    """Envoy would: each would get half of the connections."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run"],
        cwd=ROOT,
        env=clean_environ({"PARLEY_HTTP_ADDRESS": gateway.address, "PARLEY_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"gateway: gateway.http_address: {gateway.address} can't be listened at: Address already in use\n"
    )


def test_sigterm_while_envoy_starts_ends_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run"],
        cwd=ROOT,
        env=clean_environ(
            {
                "PARLEY_HTTP_ADDRESS": "127.0.0.1:0",
                "PARLEY_GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
                "PARLEY_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0",
            }
        ),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: bool(psutil.Process(process.pid).children()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) in {0, 128 + signal.SIGTERM}  # the second before Envoy listens to signals
