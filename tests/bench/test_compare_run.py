"""The whole benchmark, with Parley alone, for moments."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from bench.compare.figures import Found
from bench.compare.gateways import GATEWAYS
from bench.compare.report import report
from bench.compare.results import Slice
from bench.compare.runs import Options, Run
from bench.compare.use import Meter, listening_process, memory
from bench.compare.writing import draw

_FEW, _MANY = 4, 12
_UNARY = ("unary-1", "unary-32", "unary-256", "body-100kB", "body-5MB", "conversation-20", "conversation-200")
_PACED = (f"paced-{_FEW}", f"paced-{_MANY}")
_SATURATED = (f"saturated-{_FEW}", f"saturated-{_MANY}")
_CONTENDERS = ("parley-rest", "parley-grpc")


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (Debian's nghttp2-client)")
@pytest.mark.timeout(400)  # it starts service and gateway four times, on a machine that may be busy
def test_a_run_measures_everything_and_nothing_fails(tmp_path: Path) -> None:
    gateways = [gateway for gateway in GATEWAYS if gateway.name == "parley"]
    run = Run(Options(gateways, rounds=1, slice_s=0.3, few=_FEW, many=_MANY), tmp_path / "run")
    results = run.all()
    assert run.failures == {}
    slices = {(each.measure, each.contender): each for each in results.slices}
    assert {key: (each.failed, each.problems) for key, each in slices.items() if each.failed or each.problems} == {}
    measured = [*_UNARY, "steady", *_PACED, *_SATURATED]
    expected = {(measure, contender) for measure in measured for contender in (*_CONTENDERS, "direct")}
    assert set(slices) == expected | {("memory", contender) for contender in _CONTENDERS}
    for found in slices.values():
        _check(found)
    assert all(len(told.started_s) >= 3 and min(told.started_s) > 0 for told in results.gateways.values())
    assert Found(results).contenders == ["parley-rest", "parley-grpc", "direct"]
    assert "÷ plain Envoy" in report(results, [])


def test_who_takes_no_part_in_streams_is_not_started_for_them(tmp_path: Path) -> None:
    run = Run(Options(GATEWAYS, rounds=1, slice_s=0.3, few=_FEW, many=_MANY), tmp_path)
    assert [each.name for each in run.streaming()] == [each.name for each in GATEWAYS if each.name != "bare"]


def _check(found: Slice) -> None:
    key = (found.measure, found.contender)
    assert found.done > 0, key
    assert min(found.per_s, found.wall_s, found.load_cpu_s) > 0, key
    # A provider that never pauses may have written all before the slice begins.
    assert found.provider_cpu_s > 0 or found.measure in _SATURATED, key
    parts = {"parley-rest": {"service", "envoy"}, "parley-grpc": {"service"}, "direct": set()}
    assert set(found.cpu_s) == parts[found.contender], key
    assert sum(found.cpu_s.values()) > 0 or found.contender == "direct", key
    if found.measure not in _SATURATED:
        assert found.times is not None, key
        assert 0 < found.times.p50_us <= found.times.p99_us, key
    if found.measure in _PACED:
        assert found.first_token is not None, key
        assert found.first_token.p50_us > 0, key
    if found.measure in (*_PACED, "memory"):
        assert found.opened == (_FEW if found.measure == _PACED[0] else _MANY), key
    if found.measure == "memory":
        assert set(found.memory_before) == set(found.memory_open) == parts[found.contender], key


@pytest.mark.skipif(not Path(".bench/picture/bin/python").exists(), reason="matplotlib is installed by `make bench`")
def test_pictures_are_drawn_of_what_was_measured(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    slice_ = '{"measure":"%s","contender":"%s","round":0,"done":10,"per_s":%d,"cpu_s":{"a":1},"times":{"p50_us":9}}'
    names = ("unary-32", "steady", "paced-4", "paced-9")
    slices = [slice_ % (name, who, rate) for name in names for who, rate in (("envoy", 7), ("direct", 9))]
    machine = '{"cores":2,"processor":"a processor"}'
    head = f'"began":"2026-11-22","machine":{machine},"rounds":1,"few":4,"many":9'
    raw.write_text(f'{{{head},"slices":[{",".join(slices)}]}}')
    pictures = draw(raw, tmp_path)
    assert [picture.name for picture in pictures] == ["unary-requests.svg", "stream-events.svg"]
    assert all(picture.read_text().startswith("<?xml") for picture in pictures)
    written = [picture.read_bytes() for picture in pictures]
    draw(raw, tmp_path)
    assert [picture.read_bytes() for picture in pictures] == written


def test_a_meter_sees_a_process_and_what_it_uses() -> None:
    meter = Meter({"own": os.getpid()})
    while meter.spent().cpu_s["own"] < 0.05:
        pass
    spent = meter.spent()
    assert spent.cpu_s["own"] <= spent.wall_s * 8
    assert memory({"own": os.getpid()})["own"].rss_bytes > 10**6


def test_who_listens_is_found_by_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert listening_process(address) == os.getpid()
    with pytest.raises(LookupError, match="no process listens"):
        listening_process(address)
