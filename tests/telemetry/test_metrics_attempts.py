"""What several attempts of one call count as, and what the service itself took of its time."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.dispatch.call import Attempt, ToolRun
from service.routing import Target
from service.rpc.call import Call
from service.telemetry.attempts import AttemptMetrics
from service.telemetry.calls import CallMetrics

A, B, C = (Target("p", name) for name in "abc")
FAILED = "UPSTREAM_UNAVAILABLE"


def attempt(target: Target, outcome: str | None, *, is_hedge: bool = False, token: float | None = None) -> Attempt:
    made = Attempt(target, 1.0, is_hedge)
    made.outcome, made.first_token, made.ended = outcome, token, 2.0
    return made


def hedge(target: Target, outcome: str | None, token: float | None = None) -> Attempt:
    return attempt(target, outcome, is_hedge=True, token=token)


CASES: dict[str, tuple[list[Attempt], tuple[int, int, int, int]]] = {
    "one": ([attempt(A, "OK")], (0, 0, 0, 0)),
    "a repeat": ([attempt(A, FAILED), attempt(A, "OK")], (1, 0, 0, 0)),
    "another target": ([attempt(A, FAILED), attempt(B, "OK")], (0, 1, 0, 0)),
    "a repeat, and then two others": (
        [attempt(A, FAILED), attempt(A, FAILED), attempt(B, FAILED), attempt(C, "OK")],
        (1, 2, 0, 0),
    ),
    "two turns": ([attempt(A, "OK"), attempt(A, "OK")], (0, 0, 0, 0)),
    "a turn that falls back, and another": (
        [attempt(A, FAILED), attempt(B, "OK"), attempt(A, "OK")],
        (0, 1, 0, 0),
    ),
    "a turn that is repeated after another": (
        [attempt(A, "OK"), attempt(A, FAILED), attempt(A, "OK")],
        (1, 0, 0, 0),
    ),
    "a hedge that wins": ([attempt(A, "HEDGED"), hedge(B, "OK")], (0, 0, 1, 0)),
    "a hedge that loses": ([attempt(A, "OK"), hedge(B, "HEDGED")], (0, 0, 0, 1)),
    "a hedge that wins, and another turn": (
        [attempt(A, "HEDGED"), hedge(B, "OK"), attempt(A, "OK")],
        (0, 0, 1, 0),
    ),
    "a hedge that loses, and another turn": (
        [attempt(A, "OK"), hedge(B, "HEDGED"), attempt(A, "OK")],
        (0, 0, 0, 1),
    ),
    "a hedge that has answered and is then cut": (
        [attempt(A, "HEDGED"), hedge(B, "UPSTREAM_INTERRUPTED", token=1.5)],
        (0, 0, 1, 0),
    ),
    "a hedge that wins against one whose turn never came": ([hedge(B, "OK")], (0, 0, 1, 0)),
    "both fail, and the first is asked again": (
        [attempt(A, FAILED), hedge(B, FAILED), attempt(A, "OK")],
        (1, 0, 0, 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_attempts_are_told_apart(name: str) -> None:
    attempts, expected = CASES[name]
    registry = CollectorRegistry()
    AttemptMetrics(registry).take("m", attempts, 3.0)

    def count(metric: str, **labels: str) -> float:
        return registry.get_sample_value(metric, {"gen_ai_request_model": "m", **labels}) or 0

    assert (
        count("parley_retries_total"),
        count("parley_fallbacks_total"),
        count("parley_hedges_total", result="won"),
        count("parley_hedges_total", result="lost"),
    ) == expected


def overhead_s(call: Call, stream: str) -> float:
    registry = CollectorRegistry()
    CallMetrics(registry).ended(call, "OK", None)
    assert registry.get_sample_value("parley_overhead_seconds_count", {"stream": stream}) == 1
    return registry.get_sample_value("parley_overhead_seconds_sum", {"stream": stream}) or 0.0


def call_of(method: str, *attempts: Attempt) -> Call:
    call = Call("r", f"/parley.v1.ChatService/{method}", started=10.0)
    call.journal.attempts.extend(attempts)
    call.journal.asked = 10.5
    call.ended = 30.0
    return call


def timed(outcome: str, asked: float, started: float, token: float, ended: float) -> Attempt:
    made = attempt(A, outcome, token=token)
    made.asked, made.started, made.ended = asked, started, ended
    return made


def test_of_an_answer_the_service_took_what_came_before_and_after_its_provider_but_for_the_store() -> None:
    call = call_of("CreateChatCompletion", timed("OK", 10.5, 15.0, 20.0, 21.0))
    call.kept_s = 8.0

    assert overhead_s(call, "false") == pytest.approx(0.5 + (30 - 21) - 8)


def test_of_a_stream_it_took_what_came_before_and_from_the_providers_first_token_to_the_callers() -> None:
    call = call_of("StreamChatCompletion", timed("OK", 10.5, 15.0, 20.0, 29.0))
    call.first_token = 20.25

    assert overhead_s(call, "true") == pytest.approx(0.75)


def test_between_attempts_it_took_nothing() -> None:
    attempts = timed(FAILED, 10.5, 11.0, 0.0, 12.0), timed("OK", 18.0, 18.0, 20.0, 29.0)

    assert overhead_s(call_of("CreateChatCompletion", *attempts), "false") == pytest.approx(0.5 + 1)


def test_in_the_queue_of_a_target_that_was_given_up_it_took_nothing() -> None:
    call = call_of("CreateChatCompletion", timed("OK", 18.0, 18.0, 20.0, 29.0))

    assert overhead_s(call, "false") == pytest.approx(0.5 + 1)


def test_while_a_tool_ran_before_the_first_token_it_took_nothing() -> None:
    turns = timed("OK", 10.5, 11.0, 12.0, 13.0), timed("OK", 21.0, 21.0, 22.0, 29.0)
    call = call_of("StreamChatCompletion", *turns)
    call.journal.tools += [ToolRun("s", "t", "ok", 6.0, started=14.0), ToolRun("s", "t", "ok", 9.0, started=14.0)]
    call.first_token = 20.25

    assert overhead_s(call, "true") == pytest.approx(0.5 + 0.25)


def test_an_observer_that_can_make_nothing_of_a_call_does_not_fail_it(caplog: pytest.LogCaptureFixture) -> None:
    metrics = CallMetrics(CollectorRegistry())
    call = call_of("CreateChatCompletion")
    call.started = "secret text"  # type: ignore[assignment]  # what no call has
    for _ in range(3):
        metrics.ended(call, "OK", None)

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "TypeError" in caplog.text
    assert "secret text" not in caplog.text
