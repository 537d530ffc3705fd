"""llmock judges the service as a client of failing providers.

llmock (PyPI) plays the providers, breaks them on demand, and tells from what it was sent whether its
client ignored a `retry-after`, stormed, repeated what can't succeed, or took a truncated stream for a
whole one. It can't see what the service tells its own caller, so each case has a caller that asks
again if, and only if, it was told of a failure: had a truncated stream been passed on as complete,
nobody would ask again, and the verdict would say so.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
import uvicorn
from llmock.chaos import StreamChaos
from llmock.journal import RequestRecord
from llmock.scenarios import Behavior, Fail, Match, Reply, SlowFirstToken, StreamFault
from llmock.testing import LLMockServer
from llmock.verdict import Verdict, judge

from tests.conftest import KEY
from tests.support.faces import Face, Outcome, ask
from tests.support.stack import Stack, running, wait_for

KINDS: Final = ("openai", "anthropic", "gemini", "cohere")
FACES: Final[tuple[Face, ...]] = ("rest", "grpc")
STALL_S: Final = 20.0
TEXT: Final = " ".join(f"word{number}" for number in range(40))
LIMITS: Final = {
    "retries": {"max_attempts": 2, "backoff_s": 0.2},
    "first_token_timeout_s": 2,
    "idle_timeout_s": 2,
}
ASKS: Final = 3
"""How often the caller asks at most."""

CALLERS_WAIT_S = 0.5
"""Longer than any wait of Parley's own (`backoff_s` below 0.2), so that all waits together grow."""


@dataclass(frozen=True)
class Case:
    """A fault, and what is to come of it."""

    fault: dict[str, Any]
    """Of `Fail`, of `StreamFault` where it has a `kind`, of `SlowFirstToken` where it has `seconds`."""
    asks: int = 1
    """How often the caller has to ask until it is answered; 0: it is told that there is no use."""
    requests: int = 2
    """How many requests the provider gets for all of that."""
    code: str | None = None
    """What the caller is told first where it has to ask again."""
    streams: tuple[bool, ...] = (False, True)
    is_strict: bool = True
    """Whether the verdict may not even warn."""
    least_s: float = 0.0
    kinds: tuple[str, ...] = KINDS


ONLY_STREAMS: Final = (True,)
# What a provider says first is not yet a token, so what breaks after it is repeated by the service; Gemini
# alone says none, and breaks at its first token.
CASES: Final = {
    "429, come in 1 s": Case({"status": 429, "retry_after": 1}, least_s=1.0),
    "429": Case({"status": 429}),
    "500": Case({"status": 500}),
    "502": Case({"status": 502}),
    "503": Case({"status": 503}),
    "503, come in 1 s": Case({"status": 503, "retry_after": 1}, least_s=1.0),
    "529": Case({"status": 529}),
    "408": Case({"status": 408}),
    # The third request is of the test's own second call: between them there is no backoff for llmock to see.
    "500 twice": Case({"status": 500, "times": 2}, asks=2, requests=3, code="upstream_unavailable", is_strict=False),
    # Not waited for, and not repeated before: the caller is told when to come. llmock warns of any 429 that
    # is never repeated; who waits for an hour is not among its clients.
    "429, come in an hour": Case(
        {"status": 429, "retry_after": 3600}, asks=0, requests=1, code="rate_limit_exceeded", is_strict=False
    ),
    "400": Case({"status": 400}, asks=0, requests=1, code="upstream_rejected"),
    "401": Case({"status": 401}, asks=0, requests=1, code="upstream_auth_failed"),
    "403": Case({"status": 403}, asks=0, requests=1, code="upstream_auth_failed"),
    "404": Case({"status": 404, "message": "model 'm' not found"}, asks=0, requests=1, code="model_not_found"),
    # Gemini has no 422; llmock's says FAILED_PRECONDITION, which there is about the place and the billing.
    "422": Case({"status": 422}, asks=0, requests=1, code="upstream_rejected", kinds=("openai", "anthropic", "cohere")),
    "truncated at once": Case({"kind": "truncate", "after_chunks": 0}, streams=ONLY_STREAMS),
    "truncated": Case({"kind": "truncate", "after_chunks": 6}, 2, 2, "upstream_interrupted", ONLY_STREAMS),
    "cut at once": Case({"kind": "disconnect", "after_chunks": 0}, streams=ONLY_STREAMS),
    "cut": Case({"kind": "disconnect", "after_chunks": 6}, 2, 2, "upstream_interrupted", ONLY_STREAMS),
    "garbage at once": Case({"kind": "malformed", "after_chunks": 0}, streams=ONLY_STREAMS),
    "garbage": Case({"kind": "malformed", "after_chunks": 6}, 2, 2, "upstream_malformed", ONLY_STREAMS),
    "stalled at once": Case({"kind": "stall", "after_chunks": 0, "stall_seconds": STALL_S}, streams=ONLY_STREAMS),
    "stalled": Case(
        {"kind": "stall", "after_chunks": 6, "stall_seconds": STALL_S}, 2, 2, "upstream_timeout", ONLY_STREAMS
    ),
    "slow first token": Case({"seconds": STALL_S}, streams=ONLY_STREAMS),
}


@dataclass
class Run:
    """A case before one provider, over one face."""

    name: str
    case: Case
    model: str
    face: Face
    stream: bool
    outcomes: list[Outcome] = field(default_factory=list)
    took_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}, {self.model}, {self.face}, {'stream' if self.stream else 'unary'}"


WAYS: Final = [
    (name, kind, face, stream)
    for name, kind, face, stream in itertools.product(CASES, KINDS, FACES, (False, True))
    if stream in CASES[name].streams and kind in CASES[name].kinds
]
RUNS: Final = [
    # A model of its own for each, by which llmock knows what to break.
    Run(name, CASES[name], f"{kind}-{number}", face, stream)
    for number, (name, kind, face, stream) in enumerate(WAYS)
]


@pytest.fixture(scope="module")
def provider() -> Iterator[LLMockServer]:
    with pytest.MonkeyPatch.context() as patched:
        # uvicorn closes a connection after 5 s without a request, and on a busy machine while one is on its way: the
        # service takes that for another failed attempt, of which the cases have not thought.
        patched.setattr(uvicorn, "Config", functools.partial(uvicorn.Config, timeout_keep_alive=600))
        with LLMockServer() as server:
            # With pauses, so that a client that stops reading is noticed before all has been sent.
            server.state.stream_chaos = StreamChaos(chunk_delay_ms=15)
            server.state.scenarios.add(Reply(TEXT, times=None))
            yield server


@pytest.fixture(scope="module")
def judged(provider: LLMockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = [run.model for run in RUNS] + [f"{kind}-down" for kind in KINDS]
    config = {
        "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
        "providers": {
            kind: {"kind": kind, "base_url": provider.base_url(kind) + ("/v1beta" if kind == "gemini" else "")}
            for kind in KINDS
        },
        "models": {
            model: {"targets": [{"provider": model.partition("-")[0], "model": model}], **LIMITS} for model in models
        },
    }
    with running(config, tmp_path_factory.mktemp("judged")) as stack:
        yield stack


@pytest.fixture(scope="module")
def runs(provider: LLMockServer, judged: Stack) -> list[Run]:
    """All of them, at the same time."""
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(lambda run: _play(provider, judged, run), RUNS):
            pass
    return RUNS


def _play(provider: LLMockServer, stack: Stack, run: Run) -> None:
    provider.state.scenarios.add(_behavior(run))
    body = {"model": run.model, "stream": run.stream, "messages": [{"role": "user", "content": str(run)}]}
    began = time.monotonic()
    for _ in range(ASKS):
        run.outcomes.append(ask(stack, run.face, body))
        if run.outcomes[-1].failure is None or run.case.asks == 0:
            break
        # As a caller does who is told that the provider failed.
        time.sleep(float(run.outcomes[-1].metadata.get("retry-after", CALLERS_WAIT_S)))
    run.took_s = time.monotonic() - began


def _behavior(run: Run) -> Behavior:
    fault, match = run.case.fault, Match(model=run.model)
    if "kind" in fault:
        return StreamFault(**fault, match=match)
    if "seconds" in fault:
        return SlowFirstToken(**fault, match=match)
    return Fail(**fault, match=match)


def _records(provider: LLMockServer, model: str) -> list[RequestRecord]:
    """What llmock has seen of a model; those that stall are recorded when llmock notices that they are over."""
    return [record for record in provider.state.journal.records() if record.model == model]


def test_the_verdict_is_clean(provider: LLMockServer, runs: list[Run]) -> None:
    wait_for(lambda: provider.state.journal.in_flight == 0, STALL_S + 10)
    verdicts = {str(run): (run.case, judge(_records(provider, run.model))) for run in runs}

    bad = {
        run: verdict.render() for run, (case, verdict) in verdicts.items() if _blames(verdict, is_strict=case.is_strict)
    }
    assert bad == {}, "\n".join(f"{run}\n{text}" for run, text in bad.items())
    assert sum(verdict.faults for _, verdict in verdicts.values()) >= len(runs)


def _blames(verdict: Verdict, *, is_strict: bool) -> bool:
    return bool(verdict.errors or (is_strict and verdict.warnings))


def test_callers_are_told_of_what_is_not_mended(runs: list[Run]) -> None:
    wrong = []
    for run in runs:
        first, last = run.outcomes[0], run.outcomes[-1]
        code = first.failure.code if first.failure else None
        asks = len(run.outcomes) if last.is_done else 0
        whole = not last.is_done or last.text() == TEXT
        if (asks, code, whole) != (run.case.asks, run.case.code, True) or run.took_s < run.case.least_s:
            wrong.append(f"{run}: answered at ask {asks}, first told {first.failure}, took {run.took_s:.1f} s")
    assert not wrong, "\n".join(wrong)


def test_the_provider_gets_no_request_more_than_needed(provider: LLMockServer, runs: list[Run]) -> None:
    wait_for(lambda: provider.state.journal.in_flight == 0, STALL_S + 10)

    seen = {str(run): len(_records(provider, run.model)) for run in runs}
    assert seen == {str(run): run.case.requests for run in runs}


@pytest.mark.parametrize("kind", KINDS)
def test_many_callers_of_a_provider_that_is_down_make_no_storm(
    provider: LLMockServer, judged: Stack, kind: str
) -> None:
    """Of 60 calls at most a fifth may be repeated, with a reserve of ten, and the circuit opens before."""
    calls, model = 60, f"{kind}-down"
    provider.state.scenarios.add(Fail(503, times=None, match=Match(model=model)))
    bodies = [{"model": model, "messages": [{"role": "user", "content": f"number {n}"}]} for n in range(calls)]

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda body: ask(judged, "grpc", body), bodies))

    assert {outcome.failure.http_status for outcome in outcomes if outcome.failure} == {503}
    assert all(outcome.failure for outcome in outcomes)
    records = _records(provider, model)
    assert 1 <= len(records) <= calls * 1.2 + 10
    assert judge(records).errors == ()


class Naive:
    """A client that does all of it wrong, before llmock itself."""

    def __init__(self, provider: LLMockServer) -> None:
        self._url = provider.base_url("openai") + "/chat/completions"

    def ask(self, model: str, times: int = 1, *, stream: bool = False) -> None:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "?"}]}
        with httpx.Client(timeout=10) as client:  # which takes long to make: a pause between the requests otherwise
            for _ in range(times):
                client.post(self._url, json=body)


@pytest.mark.parametrize(
    ("code", "behavior", "times", "stream"),
    [
        ("retry_after_ignored", {"status": 429, "retry_after": 5}, 2, False),
        ("retried_non_retryable", {"status": 400}, 2, False),
        ("retry_storm", {"status": 503, "times": None}, 11, False),
        ("truncated_stream_accepted", {"kind": "truncate", "after_chunks": 3}, 1, True),
        ("malformed_chunk_ignored", {"kind": "malformed", "after_chunks": 3}, 1, True),
        ("no_backoff", {"status": 500, "times": 3}, 4, False),
        ("gave_up", {"status": 500}, 1, False),
    ],
)
def test_the_verdict_blames_a_client_that_is_naive(
    provider: LLMockServer, code: str, behavior: dict[str, Any], times: int, *, stream: bool
) -> None:
    run = Run(code, Case(behavior), f"naive-{code}", "rest", stream)
    provider.state.scenarios.add(_behavior(run))

    Naive(provider).ask(run.model, times, stream=stream)

    wait_for(lambda: provider.state.journal.in_flight == 0)
    findings = judge(_records(provider, run.model)).findings
    assert code in {finding.code for finding in findings}
