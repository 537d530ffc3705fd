"""What calls move, through the real service: its metrics before and after."""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.model_service_pb2 import ListModelsRequest
from service.rpc.call import Call
from service.telemetry import definitions
from service.telemetry.calls import CallMetrics
from tests.conftest import KEY, PLAIN, stack_config
from tests.support.faces import ask
from tests.support.json_form import to_proto
from tests.support.scraping import Scrape, scraped
from tests.support.stack import Stack, running, wait_for
from tests.support.tool_projects import SERVER, UP_S, answering, calling
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

METADATA = (("authorization", f"Bearer {KEY}"),)
DURATION = "gen_ai_server_request_duration_seconds_count"
FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds_count"
PACE = "gen_ai_server_time_per_output_token_seconds_count"
TOKENS = "gen_ai_client_token_usage_sum"
ATTEMPT = "gen_ai_client_operation_duration_seconds_count"
ATTEMPTS = "parley_attempts_total"
OVERHEAD = "parley_overhead_seconds_count"

Moved = tuple[str, dict[str, str], float]
"""A metric, some of its labels, and by how much it has to go up: exactly."""


@dataclass
class Counted:
    """The service, before the scripted provider."""

    stack: Stack
    upstream: FakeUpstream

    def ask(self, script: Script, *, stream: bool = False, **fields: Any) -> Any:
        """Ask by the script; any failure is the outcome's."""
        with self.upstream.scripted(script):
            return ask(self.stack, "grpc", _body(script, stream=stream, **fields))


@pytest.fixture(scope="module")
def counted(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """Models of all kinds."""
    folder = tmp_path_factory.mktemp("counted")
    config = stack_config(upstream)
    echo = config["models"]["echo"]
    config["models"] |= {
        "priced": {**echo, "capabilities": {"prices": PLAIN["prices"]}},
        "drained": {**echo, "on_disconnect": "drain"},
        "narrow": {**echo, "concurrency": {"limit": 1, "queue": 0}},
        "hedged": {**config["models"]["two"], "hedge": {"after_s": 0.2, "budget": 1}},
        "broken": {**config["models"]["dead"], "breaker": {"failures": 1, "open_s": 600}},
    }
    command = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal")]
    config["projects"] = {
        "shop": {"default_model": "own", "models": {"own": "echo"}, "tools": {"store": {"command": command}}},
        "trial": {
            "default_model": "own",
            "models": {"own": "echo"},
            "campaigns": {"spring": {"arms": {"red": {"model": "own"}}}},
        },
    }
    config["storage"] = {"data_dir": str(folder / "data")}
    with running(config, folder, gateway=False) as stack:
        # The tool server has to be up, and says so by no failure.
        wait_for(lambda: Counted(stack, upstream).ask(Script(body=completion(), model="shop")).failure is None, UP_S)
        yield Counted(stack, upstream)


def _body(script: Script, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    body = {"model": script.model, "messages": [{"role": "user", "content": "Hello"}], "user": script.user}
    return {**body, "stream": stream, **fields}


def _streamed(**fields: Any) -> Script:
    events = [chunk(delta={"role": "assistant", "content": ""}), chunk("Hel"), chunk("lo"), chunk(finish="stop")]
    return Script(events=[*events, usage_chunk(7, 5)], **fields)


def _of_chat(status: str, reason: str = "", *, stream: bool = False, model: str = "echo") -> dict[str, str]:
    return {
        "gen_ai_operation_name": "chat",
        "gen_ai_request_model": model,
        "stream": str(stream).lower(),
        "status": status,
        "error_type": reason,
    }


def _answer(counted: Counted) -> None:
    assert counted.ask(Script(body=completion())).failure is None


def _stream(counted: Counted) -> None:
    assert counted.ask(_streamed(), stream=True).failure is None


def _ask_wrongly(counted: Counted) -> None:
    assert counted.ask(Script(body=completion()), temperature=7).failure.param == "temperature"


def _ask_for_another_model(counted: Counted) -> None:
    assert counted.ask(Script(model="no-such-model")).failure.code == "model_not_found"


def _ask_without_key(counted: Counted) -> None:
    assert ask(counted.stack, "grpc", _body(Script()), key=None).failure is not None


def _be_refused_by_the_provider(counted: Counted) -> None:
    assert counted.ask(Script(status=500, body={"error": {"message": "no"}})).failure is not None


def _be_cut_amid_a_stream(counted: Counted) -> None:
    cut = Script(events=[chunk("Hel"), chunk("lo")], ending="cut")
    assert counted.ask(cut, stream=True).failure.code == "upstream_interrupted"


def _repeat(counted: Counted) -> None:
    assert counted.ask(Script(status=500, body={}, model="retried")).failure is not None


def _fall_back(counted: Counted) -> None:
    assert counted.ask(Script(body=completion(), model="fallback")).failure is None


def _have_no_usage_told(counted: Counted) -> None:
    script = Script(events=[chunk("Hello you there"), chunk(finish="stop")])
    assert counted.ask(script, stream=True).failure is None


def _pay(counted: Counted) -> None:
    assert counted.ask(Script(body=completion(), model="priced")).failure is None


def _take_part(counted: Counted) -> None:
    script = Script(body=completion(), model="trial")
    assert counted.ask(script, ab_campaign="spring").failure is None


def _use_tools(counted: Counted) -> None:
    turns = [answering("", calling("store__echo", text="hi"), stream=False), answering("Done", stream=False)]
    script = Script(turns=turns, model="shop")
    outcome = counted.ask(script)
    assert (outcome.failure, outcome.text()) == (None, "Done")


def _store(counted: Counted) -> None:
    assert counted.ask(Script(body=completion()), store=True).failure is None


def _run_into_the_open_circuit(counted: Counted) -> None:
    for _ in range(2):
        assert counted.ask(Script(model="broken")).failure is not None


def _list(counted: Counted) -> None:
    with counted.stack.models() as stub:
        stub.ListModels(ListModelsRequest(), metadata=METADATA, timeout=20)


ECHO = {"gen_ai_request_model": "echo", "gen_ai_provider_name": "scripted"}
CASES: dict[str, tuple[Callable[[Counted], None], list[Moved]]] = {
    "an answer": (
        _answer,
        [
            (DURATION, _of_chat("OK"), 1),
            (FIRST_TOKEN, ECHO, 0),
            (PACE, ECHO, 0),
            (TOKENS, {**ECHO, "gen_ai_token_type": "input"}, 7),
            (TOKENS, {**ECHO, "gen_ai_token_type": "output"}, 5),
            (ATTEMPT, {"gen_ai_request_model": "echo", "target": "scripted/echo-1", "outcome": "OK"}, 1),
            (ATTEMPTS, {"gen_ai_request_model": "echo", "target": "scripted/echo-1", "outcome": "OK"}, 1),
            (OVERHEAD, {"stream": "false"}, 1),
            ("parley_rpc_calls_total", {"method": "CreateChatCompletion", "status": "OK"}, 1),
            ("parley_retries_total", {}, 0),
            ("parley_disconnects_total", {}, 0),
            ("parley_stored_total", {}, 0),
        ],
    ),
    "a stream": (
        _stream,
        [
            (DURATION, _of_chat("OK", stream=True), 1),
            (FIRST_TOKEN, ECHO, 1),
            (PACE, ECHO, 1),
            (TOKENS, {**ECHO, "gen_ai_token_type": "output"}, 5),
            (OVERHEAD, {"stream": "true"}, 1),
            ("parley_rpc_calls_total", {"method": "StreamChatCompletion", "status": "OK"}, 1),
            ("parley_usage_estimated_total", {}, 0),
        ],
    ),
    "the caller's fault": (
        _ask_wrongly,
        [
            (DURATION, _of_chat("INVALID_ARGUMENT", "PARAMETER_INVALID", model=""), 1),
            (ATTEMPTS, {}, 0),
            (OVERHEAD, {}, 0),
        ],
    ),
    "a model that is not there": (
        _ask_for_another_model,
        [(DURATION, _of_chat("NOT_FOUND", "MODEL_NOT_FOUND", model=""), 1)],
    ),
    "a call without a key": (
        _ask_without_key,
        [
            (DURATION, _of_chat("UNAUTHENTICATED", "API_KEY_INVALID", model=""), 1),
            ("parley_rpc_calls_total", {"method": "CreateChatCompletion", "status": "UNAUTHENTICATED"}, 1),
        ],
    ),
    "the provider's fault": (
        _be_refused_by_the_provider,
        [
            (DURATION, _of_chat("UNAVAILABLE", "UPSTREAM_UNAVAILABLE") | ECHO, 1),
            (ATTEMPTS, {"gen_ai_request_model": "echo", "outcome": "UPSTREAM_UNAVAILABLE"}, 1),
            ("parley_retries_total", {}, 0),
        ],
    ),
    "a cut stream": (
        _be_cut_amid_a_stream,
        [
            (DURATION, _of_chat("UNAVAILABLE", "UPSTREAM_INTERRUPTED", stream=True), 1),
            (FIRST_TOKEN, ECHO, 1),
            (PACE, ECHO, 0),
            (ATTEMPTS, {"outcome": "UPSTREAM_INTERRUPTED"}, 1),
            ("parley_usage_estimated_total", {"gen_ai_request_model": "echo"}, 1),
        ],
    ),
    "a repeat": (
        _repeat,
        [
            ("parley_retries_total", {"gen_ai_request_model": "retried"}, 1),
            ("parley_fallbacks_total", {}, 0),
            (ATTEMPTS, {"gen_ai_request_model": "retried", "outcome": "UPSTREAM_UNAVAILABLE"}, 2),
            (ATTEMPT, {"gen_ai_request_model": "retried"}, 2),
        ],
    ),
    "another target": (
        _fall_back,
        [
            ("parley_fallbacks_total", {"gen_ai_request_model": "fallback"}, 1),
            ("parley_retries_total", {}, 0),
            (ATTEMPTS, {"target": "dead/dead-1", "outcome": "UPSTREAM_UNAVAILABLE"}, 1),
            (ATTEMPTS, {"target": "scripted/echo-1", "outcome": "OK"}, 1),
            (OVERHEAD, {"stream": "false"}, 1),
        ],
    ),
    "no usage told": (
        _have_no_usage_told,
        [
            ("parley_usage_estimated_total", {"gen_ai_request_model": "echo"}, 1),
            ("gen_ai_client_token_usage_count", ECHO, 2),
            (PACE, ECHO, 0),
        ],
    ),
    "a price": (
        _pay,
        [("parley_cost_usd_total", {"gen_ai_request_model": "priced", "key": "team-a"}, (7 * 3 + 5 * 15) / 1e6)],
    ),
    "a campaign": (
        _take_part,
        [("parley_campaign_calls_total", {"project": "trial", "campaign": "spring", "arm": "red"}, 1)],
    ),
    "tools": (
        _use_tools,
        [
            ("parley_tool_calls_total", {"project": "shop", "server": "store", "status": "ok"}, 1),
            ("parley_tool_call_duration_seconds_count", {"project": "shop", "server": "store", "status": "ok"}, 1),
            (ATTEMPTS, {"gen_ai_request_model": "echo", "outcome": "OK"}, 2),
            ("parley_retries_total", {}, 0),
            ("parley_fallbacks_total", {}, 0),
        ],
    ),
    "a stored answer": (
        _store,
        [("parley_stored_total", {"outcome": "stored"}, 1), ("parley_stored_total", {}, 1)],
    ),
    "an open circuit": (
        _run_into_the_open_circuit,
        [
            (DURATION, _of_chat("UNAVAILABLE", "CIRCUIT_OPEN", model="broken"), 1),
            (ATTEMPTS, {"gen_ai_request_model": "broken"}, 1),
            ("parley_target_state", {"gen_ai_request_model": "broken", "state": "unavailable"}, 1),
            ("parley_target_state", {"gen_ai_request_model": "broken", "state": "available"}, -1),
        ],
    ),
    "another method": (
        _list,
        [("parley_rpc_calls_total", {"method": "ListModels", "status": "OK"}, 1), (DURATION, {}, 0)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_calls_move_what_they_should(counted: Counted, name: str) -> None:
    act, expected = CASES[name]
    before = _settled(counted)
    act(counted)

    _wait_moved(counted, before, expected)


@pytest.mark.parametrize(("is_complete", "outcome"), [(True, "stored"), (False, "partial")])
def test_what_is_stored_after_its_caller_has_left_counts_as_what_it_is(*, is_complete: bool, outcome: str) -> None:
    registry = CollectorRegistry()
    metrics = CallMetrics(registry)
    call = Call("request-1", "/parley.v1.ChatService/StreamChatCompletion", ended=time.monotonic())
    call.is_stored, call.is_complete = "later", is_complete

    metrics.ended(call, "CANCELLED", None)

    assert registry.get_sample_value("parley_stored_total", {"outcome": outcome}) == 1


def _settled(counted: Counted) -> Scrape:
    """The metrics once no call of another test is under way."""
    wait_for(lambda: scraped(counted.stack).value("parley_open_calls") == 0)
    return scraped(counted.stack)


def _wait_moved(counted: Counted, before: Scrape, expected: list[Moved]) -> None:
    def wrong() -> list[str]:
        now = scraped(counted.stack)
        moves = [
            (name, labels, now.value(name, **labels) - before.value(name, **labels)) for name, labels, _ in expected
        ]
        pairs = zip(moves, expected, strict=True)
        return [f"{move}, not {case[2]}" for move, case in pairs if move[2] != pytest.approx(case[2], abs=1e-9)]

    try:
        wait_for(lambda: not wrong())
    except AssertionError:
        raise AssertionError("\n".join(wrong())) from None


@pytest.mark.parametrize(("winner", "result"), [(1, "won"), (0, "lost")])
def test_of_two_that_were_asked_one_has_won(counted: Counted, winner: int, result: str) -> None:
    before = _settled(counted)
    held = b": held\n\n"
    answer = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n" for event in (chunk("Hi"), chunk(finish="stop"), usage_chunk())
    )
    turns = [[answer] if number == winner else [held, answer] for number in range(2)]
    gates = {0: threading.Event(), 1: threading.Event()}
    script = Script(model="hedged", turns=turns, gates=gates)
    with counted.upstream.scripted(script):
        thread = threading.Thread(target=lambda: ask(counted.stack, "grpc", _body(script, stream=True)))
        thread.start()
        wait_for(lambda: len(script.received) == 2)
        gates[0].set()
        thread.join(30)

    outcomes = {"first": "OK" if winner == 0 else "HEDGED", "second": "OK" if winner == 1 else "HEDGED"}
    moved: list[Moved] = [
        ("parley_hedges_total", {"gen_ai_request_model": "hedged", "result": result}, 1),
        ("parley_hedges_total", {}, 1),
        *((ATTEMPTS, {"target": f"scripted/{name}", "outcome": outcome}, 1) for name, outcome in outcomes.items()),
        ("parley_retries_total", {}, 0),
        ("parley_fallbacks_total", {}, 0),
    ]
    _wait_moved(counted, before, moved)


@pytest.mark.parametrize(
    ("model", "policy", "outcome", "estimated"), [("echo", "cancel", "CANCELLED", 1), ("drained", "drain", "OK", 0)]
)
def test_a_caller_that_leaves_is_counted_once_the_answer_is_over(
    counted: Counted, model: str, policy: str, outcome: str, estimated: int
) -> None:
    before = _settled(counted)
    script = _streamed(model=model, gates={2: threading.Event()})
    with counted.upstream.scripted(script), counted.stack.chat() as stub:
        call: Any = stub.StreamChatCompletion(to_proto(_body(script, stream=True)), metadata=METADATA, timeout=30)
        assert next(call)
        _wait_moved(counted, before, [("parley_open_streams", {}, 1), ("parley_open_calls", {}, 1)])
        _wait_moved(counted, before, [("parley_target_in_flight", {"gen_ai_request_model": model}, 1)])
        call.cancel()
        _wait_moved(counted, before, [("parley_open_streams", {}, 0)])
        script.gates[2].set()
        moved: list[Moved] = [
            ("parley_disconnects_total", {"gen_ai_request_model": model, "policy": policy}, 1),
            ("parley_disconnects_total", {}, 1),
            (DURATION, _of_chat("CANCELLED", stream=True, model=model), 1),
            (ATTEMPTS, {"gen_ai_request_model": model, "outcome": outcome}, 1),
            ("parley_usage_estimated_total", {"gen_ai_request_model": model}, estimated),
            (OVERHEAD, {}, 0),
        ]
        _wait_moved(counted, before, moved)


def test_a_target_that_is_full_shows_it(counted: Counted) -> None:
    before = _settled(counted)
    script = Script(model="narrow", events=[chunk("Hi"), chunk(finish="stop"), usage_chunk()])
    script.gates[0] = threading.Event()
    with counted.upstream.scripted(script), counted.stack.chat() as stub:
        call: Any = stub.StreamChatCompletion(to_proto(_body(script, stream=True)), metadata=METADATA, timeout=30)
        assert script.began.wait(20)
        assert ask(counted.stack, "grpc", _body(script)).failure is not None
        _wait_moved(
            counted,
            before,
            [
                ("parley_target_in_flight", {"gen_ai_request_model": "narrow", "target": "scripted/echo-1"}, 1),
                (DURATION, _of_chat("RESOURCE_EXHAUSTED", "CONCURRENCY_EXHAUSTED", model="narrow"), 1),
                (ATTEMPTS, {"gen_ai_request_model": "narrow"}, 0),
            ],
        )
        script.gates[0].set()
        assert len(list(call)) > 1


def test_whatever_callers_send_makes_no_series(counted: Counted) -> None:
    names = _send_anything(counted)
    before = _settled(counted)
    names |= _send_anything(counted)

    after = _settled(counted)
    assert after.samples.keys() == before.samples.keys()
    told = {value for _, labels in after.samples for _, value in labels}
    assert not [name for name in names if any(name in value for value in told)]


def _send_anything(counted: Counted, times: int = 500) -> set[str]:
    """Make calls with random names of models, keys, requests and methods; returns the names."""
    names = {uuid.uuid4().hex for _ in range(times)}
    failed = 0
    with counted.stack.channel() as channel:
        stub = ChatServiceStub(channel)
        for number, name in enumerate(names):
            is_stream = bool(number % 2)
            body: Any = to_proto(_body(Script(model=f"shop/{name}" if number % 3 else name), stream=is_stream))
            metadata = (("authorization", f"Bearer {KEY if number % 5 else name}"), ("x-request-id", name))
            method: Any = stub.StreamChatCompletion if is_stream else stub.CreateChatCompletion
            if number % 7 == 0:
                method, body = channel.unary_stream(f"/parley.v1.ChatService/{name}"), b""
            try:
                list(method(body, metadata=metadata, timeout=20))
            except grpc.RpcError:
                failed += 1
    assert failed == times
    return names


def test_every_definition_was_moved_by_these_tests_or_is_looked_at_elsewhere() -> None:
    told = {name for _, moves in CASES.values() for name, _, _ in moves}
    told |= {"parley_hedges_total", "parley_open_streams", "parley_open_calls", "parley_target_in_flight"}
    elsewhere = {
        "parley_target_queue_depth",
        "parley_event_loop_lag_seconds",
        "parley_storage_up",
        "parley_storage_queue_depth",
        "parley_storage_lost_total",
        "parley_config_reloads_total",
        "parley_config_last_adopted_timestamp_seconds",
        "parley_ready",
        "parley_build_info",
    }
    families = {name.removesuffix("_count").removesuffix("_sum") for name in told}

    assert families | elsewhere == {each.name for each in definitions.ALL}
