"""Receivers of traces that fail: no call notices, the log tells once, and the end is not held up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from service.telemetry.traces import _Sending
from service.telemetry_settings import Otlp
from tests.conftest import KEY
from tests.support.certificates import make_certificates
from tests.support.otlp import Receiver, receiving
from tests.support.stack import running, wait_for
from tests.support.traced import Caller, Traced, traced, traced_config
from tests.support.upstream import FakeUpstream, Script, completion


def warnings_of(parts: Traced) -> list[str]:
    """What the log says of traces."""
    return [line["message"] for line in parts.stack.service.json_lines("log") if line["message"].startswith("traces: ")]


def test_an_unreachable_receiver_is_told_once_and_no_call_notices(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as gone:
        pass
    with traced(upstream, gone, folder) as parts:
        for _ in range(5):
            parts.complete(Caller())
        wait_for(lambda: warnings_of(parts), 30)
        for _ in range(5):
            parts.complete(Caller())
        began = time.monotonic()
        assert parts.stack.service.stop() == 0
        assert time.monotonic() - began < 15
        told = warnings_of(parts)

    address = gone.endpoint.removeprefix("http://")
    assert told[0] == f"traces: can't be sent to {address}: UNAVAILABLE; until they can, they are lost"
    assert told[1:] == [f"traces: 20 spans could not be sent to {address}"]


def test_a_receiver_that_comes_back_is_told_of_with_what_was_lost(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as receiver, traced(upstream, receiver, folder) as parts:
        receiver.refusing = grpc.StatusCode.PERMISSION_DENIED
        parts.complete(Caller())
        wait_for(lambda: warnings_of(parts), 30)
        receiver.refusing = None
        caller = Caller()
        parts.complete(caller)
        parts.trace(caller, 1)
        told = wait_for(lambda: found if len(found := warnings_of(parts)) == 3 else None, 30)

    address = receiver.endpoint.removeprefix("http://")
    assert told == [
        f"traces: can't be sent to {address}: PERMISSION_DENIED; until they can, they are lost",
        f"traces: are sent to {address} again",
        f"traces: 2 spans could not be sent to {address}",
    ]


def test_a_receiver_that_hangs_holds_up_neither_calls_nor_the_end(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as receiver, traced(upstream, receiver, folder) as parts:
        receiver.released.clear()
        parts.complete(Caller())
        wait_for(lambda: receiver.headers)
        began = time.monotonic()
        parts.complete(Caller())
        assert time.monotonic() - began < 5
        began = time.monotonic()
        assert parts.stack.service.stop() == 0
        assert time.monotonic() - began < 15
        assert warnings_of(parts)[-1].startswith("traces: 4 spans could not be sent to ")


def test_what_waits_is_bounded_and_what_is_beyond_is_counted(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as receiver, traced(upstream, receiver, folder, content=True) as parts:
        receiver.released.clear()
        for _ in range(300):
            parts.complete(Caller())
        receiver.released.set()
        assert parts.stack.service.stop() == 0
        lost = 600 - len(receiver.spans)
        told = warnings_of(parts)

    assert len(receiver.spans) == 512
    assert told == [f"traces: {lost} spans could not be sent to {receiver.endpoint.removeprefix('http://')}"]


class Exporting:
    """In the place of the one that speaks OTLP."""

    result = SpanExportResult.SUCCESS

    def export(self, _spans: object) -> SpanExportResult:
        return self.result


def test_what_still_waits_as_an_outage_ends_is_not_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, exporting, span = _Sending(Otlp("http://127.0.0.1:9"), 9), Exporting(), ReadableSpan("chat")
    monkeypatch.setattr(sending, "_exporter", exporting)
    assert all(sending.admit() for _ in range(9))
    exporting.result = SpanExportResult.FAILURE
    sending.export([span] * 2)
    exporting.result = SpanExportResult.SUCCESS
    sending.export([span] * 3)
    sending.export([span] * 3)
    sending.end()

    told = [record.getMessage() for record in caplog.records if "could not be sent" in record.getMessage()]
    assert told == [f"traces: {count} spans could not be sent to 127.0.0.1:9" for count in (2, 1)]


def test_what_is_lost_without_an_outage_is_told_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, span = _Sending(Otlp("http://127.0.0.1:9"), 2), ReadableSpan("chat")
    monkeypatch.setattr(sending, "_exporter", Exporting())
    for _ in range(3):
        assert [sending.admit() for _ in range(4)] == [True, True, False, False]
        sending.export([span] * 2)
    assert [record.args for record in caplog.records] == [(2, "127.0.0.1:9")]
    monkeypatch.setattr(sending, "_tell_from", time.monotonic())
    assert sending.admit()
    sending.export([span])

    assert [record.args for record in caplog.records] == [(2, "127.0.0.1:9"), (4, "127.0.0.1:9")]


def test_tls_and_headers_reach_the_receiver(upstream: FakeUpstream, folder: Path) -> None:
    certificates = make_certificates(folder)
    with receiving(certificates) as receiver:
        config = traced_config(upstream, receiver, folder)
        config["telemetry"]["otlp"] |= {"ca_file": str(certificates.ca), "headers_env": "OTLP_HEADERS"}
        environ = {"OTLP_HEADERS": "x-otlp-key=planted-secret-of-otlp,authorization=Bearer planted-secret-of-otlp"}
        with running(config, folder, gateway=False, environ=environ) as stack:
            parts, caller = Traced(stack, receiver, upstream), Caller()
            parts.complete(caller)
            parts.trace(caller, 1)

    assert receiver.headers[0]["x-otlp-key"] == "planted-secret-of-otlp"
    assert receiver.headers[0]["authorization"] == "Bearer planted-secret-of-otlp"


def test_content_is_told_where_it_is_configured_and_keys_never(upstream: FakeUpstream, folder: Path) -> None:
    with receiving() as receiver, traced(upstream, receiver, folder, content=True) as parts:
        caller, streaming = Caller(), Caller()
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x" * 50_000 + " end"}]
        parts.complete(caller, messages=messages)
        parts.stream(streaming)
        own, (asked,) = parts.trace(caller, 1)
        _, (streamed,) = parts.trace(streaming, 1)

    told = asked.attributes
    assert told["gen_ai.system_instructions"] == '[{"type":"text","content":"Be brief."}]'
    assert told["gen_ai.input.messages"].startswith('[{"role":"user","parts":[{"type":"text","content":"xxx')
    assert told["gen_ai.output.messages"].startswith('[{"role":"assistant","parts":[{"type":"text","content":"xxx')
    assert sorted(told["parley.content.cut"]) == ["gen_ai.input.messages", "gen_ai.output.messages"]
    assert '"content":"Hello there"' in streamed.attributes["gen_ai.output.messages"]
    assert "parley.content.cut" not in streamed.attributes
    assert not [name for name in own.attributes if "messages" in name]
    assert KEY.encode() not in b"".join(receiver.raw)


@pytest.mark.parametrize("traces", [{"to_providers": False}, {"to_providers": False, "sample_ratio": 0}])
def test_providers_are_told_nothing_where_that_is_configured(
    upstream: FakeUpstream, folder: Path, traces: dict[str, Any]
) -> None:
    script = Script(body=completion())
    with receiving() as receiver, traced(upstream, receiver, folder, **traces) as parts, upstream.scripted(script):
        caller = Caller()
        parts.complete(caller, user=script.user)
        parts.trace(caller, 1)
        parts.complete(Caller(is_sampled=False), user=script.user)

    assert not any("traceparent" in headers or "tracestate" in headers for headers in script.headers_received)


def test_untraced_calls_tell_providers_nothing_and_the_log_their_callers_trace(
    upstream: FakeUpstream, folder: Path
) -> None:
    script, caller = Script(body=completion()), Caller()
    config = traced_config(upstream, Receiver(), folder)
    del config["telemetry"]
    with running(config, folder, gateway=False) as stack, upstream.scripted(script):
        parts = Traced(stack, Receiver(), upstream)
        parts.complete(caller, user=script.user)
        (line,) = wait_for(lambda: stack.service.json_lines("call"))

    assert line["trace_id"] == caller.trace_id
    assert "span_id" not in line
    assert "traceparent" not in script.headers_received[0]
