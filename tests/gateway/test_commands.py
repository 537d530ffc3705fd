"""`python -m gateway render | check | run | hint`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from gateway import hint
from gateway.bootstrap import render
from gateway.cluster import build_cluster
from gateway.config import Config, load_config
from gateway.launch import prepare
from tests.gateway.scratch import Gateway, Scratch, Service, clean_environ, running_gateway, running_service, wait_until
from tests.support.envoy import ROOT


def command(name: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "gateway", name, *options]
    return subprocess.run(
        arguments, cwd=ROOT, env=clean_environ(environ), capture_output=True, text=True, timeout=30, check=False
    )


def test_check_accepts_the_defaults() -> None:
    done = command("check")
    assert done.returncode == 0
    assert "OK" in done.stdout + done.stderr


def test_render_prints_yaml_that_holds_everything() -> None:
    done = command("render", PARLEY_HTTP_ADDRESS="127.0.0.1:1", PARLEY_UPSTREAM_ADDRESS="parley:2")
    tree = yaml.safe_load(done.stdout)
    assert tree["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] == 1
    assert tree["static_resources"]["clusters"][0]["cluster_type"]["name"] == "envoy.clusters.dns"
    assert "function envoy_on_response" in done.stdout
    assert str(ROOT) not in done.stdout


def test_errors_of_the_configuration_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "parley.yaml"
    path.write_text("gateway: {nonsense: 1}")
    for name in ("check", "run"):
        done = command(name, PARLEY_CONFIG=str(path))
        assert done.returncode == 1
        assert done.stderr == f"gateway: {path}: gateway: object contains unknown field `nonsense`\n"


@pytest.mark.parametrize(
    ("address", "by_name"),
    [
        ("parley:1", True),
        ("127.0.0.1:1", False),
        ("[::1]:1", False),
        ("unix:/run/p", False),
        ("127.0.0.1:1,unix:/run/p", False),
        ("127.0.0.1:1,parley:1", True),
    ],
)
def test_each_kind_of_upstream(address: str, *, by_name: bool) -> None:
    cluster = build_cluster(load_config({"PARLEY_UPSTREAM_ADDRESS": address}))
    kind = cluster.type.name if cluster.type is not None else getattr(cluster.cluster_type, "name", None)
    assert kind == ("envoy.clusters.dns" if by_name else "STATIC")
    assert cluster.load_assignment is not None
    assert len(cluster.load_assignment.endpoints[0].lb_endpoints) == len(address.split(","))


@pytest.mark.parametrize(
    ("address", "setting", "expected"),
    [
        ("127.0.0.1:1,[::1]:1", "{}", ["--concurrency", "3"]),
        ("unix:/run/p", "{}", ["--concurrency", "3"]),
        ("127.0.0.1:1,192.0.2.1:1", "{}", []),
        ("parley:1", "{}", []),
        ("parley:1", "{workers: 2}", ["--concurrency", "2"]),
        ("127.0.0.1:1", "{workers: 7}", ["--concurrency", "7"]),
    ],
)
def test_beside_the_service_envoy_leaves_it_half_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, setting: str, expected: list[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    path = tmp_path / "parley.yaml"
    path.write_text(f"gateway: {setting}")
    free = dict.fromkeys(("PARLEY_HTTP_ADDRESS", "PARLEY_GATEWAY_METRICS_ADDRESS"), "127.0.0.1:0")
    launch = prepare(load_config({"PARLEY_CONFIG": str(path), "PARLEY_UPSTREAM_ADDRESS": address, **free}))
    for descriptor in launch.descriptors:
        os.close(descriptor)
    at = launch.command.index("--concurrency") if "--concurrency" in launch.command else len(launch.command)
    assert launch.command[at : at + 2] == expected


def test_with_one_core_envoy_has_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with running_gateway(tmp_path, "127.0.0.1:1") as gateway:
        assert gateway.stat("server.concurrency") == 1


def test_check_accepts_what_can_be_configured(tmp_path: Path) -> None:
    section = {"cors_origins": ["*"], "max_body_mib": 1, "stream_idle_timeout_s": 0.5, "drain_grace_s": 0}
    section |= {"metrics_address": "[::]:0", "max_heap_mib": None, "max_connections": 1, "max_open_calls": 1}
    section |= {"dns_resolvers": ["::1"], "max_connection_age_s": 0.1, "workers": 1}
    telemetry = {"otlp": {"endpoint": "https://collector:4317"}, "traces": {"sample_ratio": 0.001}}
    path = tmp_path / "parley.yaml"
    path.write_text(yaml.safe_dump({"gateway": section, "auth": {"allow_open": True}, "telemetry": telemetry}))
    done = command(
        "check", PARLEY_CONFIG=str(path), PARLEY_HTTP_ADDRESS="[::]:0", PARLEY_UPSTREAM_ADDRESS="unix:/x,[::1]:1"
    )
    assert done.returncode == 0, done.stderr


def test_without_origins_there_is_no_cors() -> None:
    assert "allow_origin_string_match" not in render(load_config({}))


def test_two_gateways_run_side_by_side(gateway: Gateway, tmp_path: Path) -> None:
    with running_gateway(tmp_path, "127.0.0.1:1") as other:
        assert httpx.get(f"http://{other.address}/healthz").status_code == 200
        assert httpx.get(f"http://{other.address}/readyz").status_code == 503
        assert httpx.get(f"http://{gateway.address}/readyz").status_code == 200
    assert other.process.returncode == 0


def test_the_upstream_may_be_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/grpc.sock"
    with running_service(address) as service, running_gateway(tmp_path, service.address) as gateway:
        wait_until(lambda: httpx.get(f"http://{gateway.address}/readyz").status_code == 200)
        assert httpx.get(f"http://{gateway.address}/v1/models").status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_hint_prints_a_line_that_works(gateway: Gateway, service: Service, script: Scratch) -> None:
    done = command("hint", PARLEY_HTTP_ADDRESS=gateway.address)
    assert done.returncode == 0
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("curl "))
    ran = subprocess.run([*_shell(), f"{line} --silent"], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == '{"id":"echo","object":"chat.completion","model":"smollm2"}'


def test_hint_ends_silently_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "gateway", "hint"],
        cwd=ROOT,
        env=clean_environ({"PARLEY_HTTP_ADDRESS": "127.0.0.1:1"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: b"poll" in _wait_channel(process.pid) or b"sleep" in _wait_channel(process.pid))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_hint_gives_up_plainly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hint, "PATIENCE_S", 0)
    assert hint.hint(load_config({})) == 1
    assert "127.0.0.1:8080 was not ready within 0 s" in capsys.readouterr().err


def test_the_line_fits_the_configuration(tmp_path: Path) -> None:
    def line(text: str, **environ: str) -> str:
        path = tmp_path / "parley.yaml"
        path.write_text(text)
        config: Config = load_config({"PARLEY_CONFIG": str(path), **environ})
        return hint.curl_line(config, config.listener)

    assert "authorization" not in line("")
    assert "-H 'authorization: Bearer YOUR_KEY'" in line("auth: {keys: [{name: a, sha256: '00'}]}")
    assert "curl https://127.0.0.1:8080/" in line("gateway: {tls: {cert_file: a, key_file: b}}")
    assert "curl http://[::1]:81/" in line("", PARLEY_HTTP_ADDRESS="[::1]:81")


def _shell() -> list[str]:
    return [os.environ.get("SHELL", "/bin/sh"), "-c"]


def _wait_channel(pid: int) -> bytes:
    """What the kernel says a process waits for."""
    return Path(f"/proc/{pid}/wchan").read_bytes()


def test_hint_ends_in_silence_when_its_parent_has_ended() -> None:
    """As after an early Ctrl-C, which a shell's background jobs do not see."""
    done = command("hint", "--parent", "1", PARLEY_HTTP_ADDRESS="127.0.0.1:1")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
