"""The service's log: every line is JSON, and those of calls say of which."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from service.logs import JsonFormatter
from tests.support.envoy import ROOT
from tests.support.otlp import receiving
from tests.support.traced import Caller, traced
from tests.support.upstream import FakeUpstream


def test_every_line_of_a_traced_service_is_json(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as receiver, traced(upstream, receiver, folder) as parts:
        parts.complete(Caller())
        parts.failed(Caller(), model="dead")
        receiver.released.clear()
        parts.complete(Caller())
        parts.stack.service.stop()
        lines = parts.stack.service.lines

    assert len(lines) > 5
    for line in lines:
        assert json.loads(line)["event"] in {"call", "log"}, line


def test_a_line_that_belongs_to_a_call_says_so() -> None:
    record = logging.makeLogRecord({"name": "service.rpc.guard", "msg": "x", "request_id": "r-1", "trace_id": "ab"})
    line = json.loads(JsonFormatter().format(record))
    assert (line["request_id"], line["trace_id"]) == ("r-1", "ab")

    other = json.loads(JsonFormatter().format(logging.makeLogRecord({"name": "service.app", "msg": "x"})))
    assert not {"request_id", "trace_id"} & other.keys()


def test_without_traces_nothing_of_the_sdk_is_loaded() -> None:
    code = "import sys, service.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
