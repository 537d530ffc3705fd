"""How calls end, and what is told of it: by this a caller can prove that an answer is complete."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.catalogue import Capabilities, Prices
from service.dispatch.call import Attempt, Journal
from service.errors import Interrupted, Reason, Unavailable
from service.limits import Limits, Retries
from service.routing import Target
from service.rpc.accounting import Account
from service.rpc.call import Call
from service.rpc.usage_estimate import may_have_cost, prompt_bytes
from tests.support.asking import REST, SOON_S, Played, read_to_end, stub_of, until
from tests.support.chunks import ending, opening, saying, usage_of, whole
from tests.support.in_process import FakeProvider, in_process
from tests.support.json_form import to_proto
from tests.support.sessions import chunks_without_session

REQUEST = to_proto({"model": "m", "messages": [{"role": "user", "content": "x" * 9}]})
ANSWER = [opening(), saying("Hello "), saying("world"), ending(), usage_of(7, 5)]
QUICK_RETRIES = Limits(retries=Retries(backoff_s=0.001), breaker=None)


async def test_a_complete_stream_proves_that_it_is() -> None:
    async with in_process({"m": Played(ANSWER)}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST))
        (line,) = service.calls()

    assert chunks_without_session(ended.chunks) == ANSWER
    told = {"x-parley-target": "m/m", "x-parley-attempts": "1"}
    assert ended.initial.items() >= told.items()
    assert ended.trailing.items() >= (told | {"x-parley-tokens-out": "5", "x-parley-finish": "stop"}).items()
    assert "x-parley-usage" not in ended.trailing
    assert (line["target"], line["attempts"], line["tokens_out"], line["finish_reason"]) == ("m/m", 1, 5, "stop")
    assert not line.keys() & {"tried", "usage_estimated", "drained"}


async def test_usage_that_the_provider_does_not_tell_is_estimated_and_marked() -> None:
    async with in_process({"m": Played(ANSWER[:-1])}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST))
        (line,) = service.calls()

    assert ended.trailing["x-parley-usage"] == "estimated"
    assert ended.trailing["x-parley-tokens-out"] == "3"  # 11 bytes
    assert (line["tokens_in"], line["tokens_out"], line["usage_estimated"]) == (3, 3, True)
    assert not any(chunk.HasField("usage") for chunk in ended.chunks)


async def test_each_choices_ending_is_told() -> None:
    chunks = [opening(index=1), opening(), saying("a"), ending("length", index=1), ending("stop"), usage_of()]
    async with in_process({"m": Played(chunks)}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST))

    assert ended.trailing["x-parley-finish"] == "stop,length"


async def test_an_ending_of_the_providers_own_that_no_metadata_can_carry_fails_no_call() -> None:
    chunks = [opening(), saying("a"), ending("größe\n")]
    async with in_process({"m": Played(chunks)}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST))

    assert ended.error is None
    assert ended.trailing["x-parley-finish"] == "gr??e?"


async def _broken(_request: ChatCompletionRequest) -> Any:
    for chunk in ANSWER[:3]:
        yield deepcopy(chunk)
    raise Interrupted("The provider broke off.")


@pytest.mark.parametrize("is_rest", [True, False])
async def test_what_came_before_an_error_is_told_before_it_and_nothing_proves_it_complete(*, is_rest: bool) -> None:
    async with in_process({"m": FakeProvider(chunks=_broken)}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST, metadata=REST if is_rest else ()))
        (line,) = service.calls()

    assert ended.text == "Hello world"
    assert ended.chunks[-1].HasField("error") == is_rest
    assert ended.error is not None
    assert ended.trailing["x-parley-target"] == "m/m"
    assert not ended.trailing.keys() & {"x-parley-tokens-out", "x-parley-finish"}
    assert (line["reason"], line["tokens_out"], line["usage_estimated"]) == ("UPSTREAM_INTERRUPTED", 3, True)


async def test_behind_a_rest_stream_stands_the_mark_of_its_end() -> None:
    async with in_process({"m": Played(ANSWER)}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST, metadata=REST))

    assert chunks_without_session(ended.chunks) == [*ANSWER[:-1], ChatCompletionChunk()]


async def test_ahead_of_a_sign_of_life_only_the_request_id_is_told() -> None:
    provider = Played([opening(), None, *ANSWER[1:]])
    async with in_process({"m": provider}, sse_keepalive_s=0.1) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(REQUEST, metadata=REST)
        assert (await call.read()).keepalive
        provider.go.set()
        ended = await read_to_end(call)

    assert [name for name in ended.initial if name.startswith("x-")] == ["x-request-id"]
    assert ended.trailing["x-parley-finish"] == "stop"


async def test_what_was_tried_is_told() -> None:
    fails = iter([True, True, False])

    def answer(_request: ChatCompletionRequest) -> ChatCompletion:
        if next(fails):
            raise Unavailable("It can't answer.")
        return whole()

    providers = {"a": FakeProvider(answer=answer), "b": FakeProvider(answer=answer)}
    async with (
        in_process(providers, models={"m": ("a", "b")}, limits=QUICK_RETRIES) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.CreateChatCompletion(REQUEST)
        await call
        initial: Any = dict(await call.initial_metadata())
        (line,) = service.calls()

    assert (initial["x-parley-target"], initial["x-parley-attempts"]) == ("b/b", "3")
    assert (line["target"], line["attempts"]) == ("b/b", 3)
    outcomes = [(each["target"], each["outcome"]) for each in line["tried"]]
    assert outcomes == [("a/a", "UPSTREAM_UNAVAILABLE"), ("a/a", "UPSTREAM_UNAVAILABLE"), ("b/b", "OK")]
    assert all(each["ms"] >= 0 for each in line["tried"])


async def test_where_all_have_failed_the_last_and_the_number_of_attempts_are_told() -> None:
    def answer(_request: ChatCompletionRequest) -> ChatCompletion:
        raise Unavailable("It can't answer.")

    async with (
        in_process({"m": FakeProvider(answer=answer)}, limits=QUICK_RETRIES) as service,
        stub_of(service.address) as stub,
    ):
        ended = await _failed(stub.CreateChatCompletion(REQUEST))
        (line,) = service.calls()

    assert (ended["x-parley-target"], ended["x-parley-attempts"]) == ("m/m", "2")
    assert line["attempts"] == 2
    assert (line["tokens_in"], "usage_estimated" in line) == (None, False), "nobody worked"


async def _failed(call: Any) -> dict[str, Any]:
    try:
        await call
    except Exception:  # noqa: BLE001 - the metadata tell which
        return dict(await call.trailing_metadata())
    raise AssertionError("it did not fail")


async def test_a_call_that_comes_during_the_shutdown_may_go_elsewhere() -> None:
    provider = Played([opening(), saying("a"), None, *ANSWER[2:]])
    server = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=SOON_S, drain_notice_s=0)
    async with in_process({"m": provider}, server=server) as service, stub_of(service.address) as stub:
        running = stub.StreamChatCompletion(REQUEST)
        await running.read()
        draining = asyncio.ensure_future(service.drain())
        await until(lambda: service.in_flight.is_closed)
        refused = await _failed(stub.CreateChatCompletion(REQUEST))
        provider.go.set()
        ended = await read_to_end(running)
        await draining

    assert refused["x-parley-refused"] == "1"
    assert _retry_s(refused) == 1
    assert ended.error is None, "what runs may finish"


async def test_a_call_that_outlasts_the_grace_period_is_told_when_to_come_again() -> None:
    provider = Played([opening(), saying("a"), None])
    server = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=0.2, drain_notice_s=0)
    async with in_process({"m": provider}, server=server) as service, stub_of(service.address) as stub:
        running = stub.StreamChatCompletion(REQUEST)
        await running.read()
        draining = asyncio.ensure_future(service.drain())
        ended = await read_to_end(running)
        await draining

    assert _retry_s(ended.trailing) == 1
    assert (ended.trailing["retry-after"], ended.trailing["x-error-code"]) == ("1", "shutting_down")
    assert "x-parley-refused" not in ended.trailing, "it was not untouched"


def _retry_s(trailing: dict[str, Any]) -> float:
    info = RetryInfo()
    for detail in Status.FromString(trailing["grpc-status-details-bin"]).details:
        detail.Unpack(info)
    return info.retry_delay.ToMilliseconds() / 1000


# What is estimated.


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "four"}]}, 4),
        ({"messages": [{"role": "user", "content": "größe"}]}, 7),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "abc"}]}]}, 3),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "x" * 900}}]}
                ]
            },
            0,
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    }
                ]
            },
            3,
        ),
        ({"messages": [{"role": "assistant", "reasoning_content": "abcde", "content": "f"}]}, 6),
    ],
)
def test_a_prompt_is_as_long_as_its_texts(body: dict[str, Any], expected: int) -> None:
    assert prompt_bytes(to_proto(body)) == expected


def test_tools_and_schemas_count_as_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "title": "x" * 100}}}
    assert prompt_bytes(to_proto({"tools": [tool]})) > 100


OUTCOMES = {
    None: True,
    "OK": True,
    "CANCELLED": True,
    "HEDGED": True,
    Reason.UPSTREAM_TIMEOUT.value: True,
    Reason.UPSTREAM_INTERRUPTED.value: True,
    Reason.UPSTREAM_UNAVAILABLE.value: False,
    Reason.UPSTREAM_RATE_LIMITED.value: False,
    Reason.UPSTREAM_AUTH_FAILED.value: False,
    Reason.PARAMETER_UNSUPPORTED.value: False,
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_what_a_provider_may_have_worked_on_costs(outcome: str | None) -> None:
    assert may_have_cost([Attempt(Target("p", "m"), 0.0, outcome=outcome)]) == OUTCOMES[outcome]
    assert not may_have_cost([])


def test_estimated_usage_has_a_cost_too() -> None:
    target = Target("p", "m", Capabilities(prices=Prices(input=1000, output=2000)))
    call = Call("r", "m", journal=Journal([Attempt(target, 0.0)], target))
    account = Account(call, to_proto({"messages": [{"role": "user", "content": "x" * 40}]}))
    account.take(saying("y" * 400))
    account.settle(is_complete=False)

    assert call.usage is not None
    assert (call.usage.prompt_tokens, call.usage.completion_tokens, call.usage.total_tokens) == (10, 100, 110)
    assert call.usage.cost_usd == pytest.approx(0.21)
    assert call.is_usage_estimated
    assert not call.is_complete
