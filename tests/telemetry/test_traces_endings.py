"""Spans of calls that others end: a caller who leaves, a deadline, a faster target, the end of the service."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.support.otlp import receiving
from tests.support.scraping import scraped
from tests.support.stack import running, wait_for
from tests.support.traced import Caller, Traced, body_of, traced, traced_config
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

EVENTS = [
    chunk(delta={"role": "assistant", "content": ""}),
    chunk("a"),
    chunk("b"),
    chunk(finish="stop"),
    usage_chunk(),
]


@pytest.fixture(scope="module")
def parts(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with receiving() as receiver, traced(upstream, receiver, tmp_path_factory.mktemp("traced")) as parts:
        yield parts


def test_spans_of_a_caller_who_leaves_amid_a_stream_end(parts: Traced) -> None:
    caller, script = Caller(), Script(events=EVENTS[:2], ending="hang")
    with parts.upstream.scripted(script):
        _leave_after_the_first_word(parts, caller, script)
        own, (asked,) = parts.trace(caller, 1)

    assert own.attributes["rpc.response.status_code"] == own.attributes["error.type"] == "CANCELLED"
    assert asked.attributes["parley.outcome"] == "CANCELLED"
    assert own.status == asked.status == "UNSET"
    assert own.attributes["parley.usage.estimated"] is True


def test_spans_of_a_late_call_end(parts: Traced) -> None:
    caller, script = Caller(), Script(delay_s=60, body=completion())
    with parts.upstream.scripted(script), parts.stack.chat() as chat, pytest.raises(grpc.RpcError):
        chat.CreateChatCompletion(body_of(user=script.user), metadata=caller.metadata, timeout=0.5)
    own, (asked,) = parts.trace(caller, 1)

    assert own.attributes["rpc.response.status_code"] == "DEADLINE_EXCEEDED"
    assert own.status == "ERROR"
    assert asked.attributes["parley.outcome"] == "CANCELLED"
    assert 0.3 < own.duration_s < 30


def test_a_call_that_is_read_on_ends_as_its_caller_leaves_and_its_attempt_goes_on(parts: Traced) -> None:
    caller, gate = Caller(), threading.Event()
    script = Script(model="read-on", events=EVENTS, gates={2: gate})
    with parts.upstream.scripted(script):
        _leave_after_the_first_word(parts, caller, script)
        left_at = time.time()
        wait_for(lambda: time.time() > left_at + 0.5)
        assert not [span for span in parts.receiver.spans if span.trace_id == caller.trace_id]
        gate.set()
        own, (asked,) = parts.trace(caller, 1)

    assert own.end_s < left_at + 0.4 < asked.end_s
    assert own.attributes["rpc.response.status_code"] == "CANCELLED"
    assert asked.attributes["parley.outcome"] == "OK"
    assert own.attributes["parley.drained"] is True
    assert own.attributes["parley.usage.output_tokens"] == asked.attributes["gen_ai.usage.output_tokens"] == 5


def test_a_first_token_that_comes_when_the_caller_has_left_is_the_attempts_alone(parts: Traced) -> None:
    caller, gate = Caller(), threading.Event()
    script = Script(model="read-on", events=EVENTS, gates={0: gate})
    with parts.upstream.scripted(script), parts.stack.chat() as chat:
        call = chat.StreamChatCompletion(body_of(model=script.model, user=script.user), metadata=caller.metadata)
        assert script.began.wait(20)
        call.cancel()
        wait_for(lambda: scraped(parts.stack).value("parley_open_streams") == 0)
        gate.set()
        own, (asked,) = parts.trace(caller, 1)

    assert own.attributes["parley.drained"] is True
    assert "gen_ai.response.time_to_first_chunk" not in own.attributes
    assert asked.attributes["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_the_slower_of_two_targets_ends_as_such(parts: Traced, *, stream: bool) -> None:
    caller = Caller()
    script = Script(model="hedged", events=EVENTS if stream else None, body=completion(), delays_s=[60, 0])
    with parts.upstream.scripted(script):
        (parts.stream if stream else parts.complete)(caller, model="hedged", user=script.user)
        own, (slow, fast) = parts.trace(caller, 2)

    assert [span.attributes["parley.outcome"] for span in (slow, fast)] == ["HEDGED", "OK"]
    assert [span.status for span in (own, slow, fast)] == ["UNSET"] * 3
    assert "parley.hedge" not in slow.attributes
    assert fast.attributes["parley.hedge"] is True
    assert slow.start_s < fast.start_s
    assert slow.end_s <= own.end_s
    assert own.attributes["parley.target"] == "scripted/second"


def test_a_stream_that_breaks_off_is_an_error_of_both_spans(parts: Traced) -> None:
    caller, script = Caller(), Script(events=EVENTS[:3], ending="cut")
    with parts.upstream.scripted(script):
        assert parts.failed(caller, stream=True, user=script.user) is grpc.StatusCode.UNAVAILABLE
    own, (asked,) = parts.trace(caller, 1)

    for span in (own, asked):
        assert (span.status, span.attributes["error.type"]) == ("ERROR", "UPSTREAM_INTERRUPTED")


def test_what_has_ended_is_sent_before_the_service_ends(upstream: FakeUpstream, folder: Path) -> None:
    interrupted, ended, script = Caller(), Caller(), Script(events=EVENTS[:2], ending="hang")
    with receiving() as receiver, upstream.scripted(script):
        config = traced_config(upstream, receiver, folder)
        config["server"]["drain_grace_s"] = 0.2
        with running(config, folder, gateway=False) as stack, stack.channel() as channel:
            parts = Traced(stack, receiver, upstream)
            call = ChatServiceStub(channel).StreamChatCompletion(
                body_of(user=script.user), metadata=interrupted.metadata
            )
            next(call)
            parts.complete(ended)
            assert stack.service.stop() == 0
            parts.trace(ended, 1)
            own, (asked,) = parts.trace(interrupted, 1)

    assert own.attributes["error.type"] == "SHUTTING_DOWN"
    assert asked.attributes["parley.outcome"] == "CANCELLED"


def _leave_after_the_first_word(parts: Traced, caller: Caller, script: Script) -> None:
    with parts.stack.chat() as chat:
        call = chat.StreamChatCompletion(body_of(model=script.model, user=script.user), metadata=caller.metadata)
        next(call)
        next(call)
        call.cancel()
