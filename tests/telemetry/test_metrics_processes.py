"""Several processes that tell their figures together, as Prometheus' client has it with PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.telemetry.definitions import ALL
from tests.conftest import stack_config
from tests.support.envoy import ROOT
from tests.support.faces import ask
from tests.support.scraping import parsed, scraped, wait_for_value
from tests.support.stack import running
from tests.support.upstream import FakeUpstream

ECHO = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}


def test_two_services_tell_their_figures_together(upstream: FakeUpstream, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with ExitStack() as stacks:
        services = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            environ = {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
            config = stack_config(upstream)
            services.append(stacks.enter_context(running(config, tmp_path / name, gateway=False, environ=environ)))
        for service, calls in zip(services, (1, 2), strict=True):
            for _ in range(calls):
                assert ask(service, "grpc", ECHO).failure is None
        for service in services:
            wait_for_value(service, 3, "parley_attempts_total", gen_ai_request_model="echo")
            wait_for_value(service, 3, "gen_ai_server_request_duration_seconds_count", gen_ai_request_model="echo")
            wait_for_value(service, 1, "parley_ready")
            wait_for_value(service, 1, "parley_build_info")
            wait_for_value(service, 1, "parley_target_state", gen_ai_request_model="echo")
        left = services[0]
        services[1].service.stop()
        assert scraped(left).value("parley_attempts_total", gen_ai_request_model="echo") == 3
        # Its gauges went with it: else this one would not be ready as long as the folder is there.
        assert not list(shared.glob(f"gauge_live*_{services[1].service.process.pid}.db"))
        wait_for_value(left, 1, "parley_ready")


PROGRAM = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from service.telemetry.definitions import ALL
from service.telemetry.series import Gauges, IS_MULTI_PROCESS, counter, gauge, histogram

assert IS_MULTI_PROCESS
registry = CollectorRegistry()
value = float(sys.argv[1])
for each in ALL:
    made = {"histogram": histogram, "counter": counter, "gauge": gauge}[each.kind](each, registry)
    if each.kind == "gauge" and each.labels:
        gauges = Gauges(made)
        gauges.set_all({("x",) * len(each.labels): value, ("gone",) * len(each.labels): 1.0})
        gauges.set_all({("x",) * len(each.labels): value})
        continue
    child = made.labels(*["x"] * len(each.labels)) if each.labels else made
    {"histogram": lambda: child.observe(value), "counter": lambda: child.inc(value)}.get(each.kind, lambda: child.set(value))()
told = CollectorRegistry()
MultiProcessCollector(told)
sys.stdout.write(generate_latest(told).decode())
sys.stdout.flush()
sys.stdin.read()
"""
TOGETHER = {"livesum": 7.0, "livemin": 2.0, "livemax": 5.0}


def test_every_metric_can_be_told_by_several_processes(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    first = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        cwd=ROOT,
        text=True,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline()
        second = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, "5"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environ,
            cwd=ROOT,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        first.communicate(timeout=20)
    assert second.returncode == 0, second.stderr
    found = parsed(second.stdout)

    for each in ALL:
        labels: Any = dict.fromkeys(each.labels, "x")
        match each.kind:
            case "histogram":
                assert found.value(f"{each.name}_count", **labels) == 2, each.name
                assert found.value(f"{each.name}_sum", **labels) == 7, each.name
            case "counter":
                assert found.value(each.name, **labels) == 7, each.name
            case "gauge":
                assert found.value(each.name, **labels) == TOGETHER[each.across], each.name
                gone = dict.fromkeys(each.labels, "gone")
                assert not gone or found.value(each.name, **gone) == 0, each.name


@pytest.mark.parametrize("folder", ["no/such/folder", "a-file"])
def test_a_folder_that_cant_be_used_ends_the_start(upstream: FakeUpstream, tmp_path: Path, folder: str) -> None:
    (tmp_path / "a-file").write_text("")
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / folder)}
    with (
        pytest.raises(
            AssertionError, match="PROMETHEUS_MULTIPROC_DIR: expected a folder that can be written"
        ) as caught,
        running(stack_config(upstream), tmp_path, gateway=False, environ=environ),
    ):
        pass
    assert "Traceback" not in str(caught.value)
