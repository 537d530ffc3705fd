"""What becomes of the provider's answer when its caller has gone: closed at once, or read on to its usage."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.limits import Concurrency, LeavingPolicy, Limits, OnDisconnect, Retries
from service.rpc.auth import CallerKey, Keys
from tests.support.asking import SOON_S, Played, read_to_end, stub_of, until
from tests.support.chunks import ending, opening, saying, usage_of
from tests.support.in_process import FakeProvider, InProcess, in_process
from tests.support.json_form import to_proto

KEY = "a-key"
WITH_KEY = (("x-api-key", KEY),)
STREAM = [opening(), saying("Hello"), None, saying("x" * 400), ending(), usage_of(7, 5)]


def request_of(**fields: Any) -> ChatCompletionRequest:
    return to_proto({"model": "m", "messages": [{"role": "user", "content": "x" * 40}], **fields})


def limits_of(on_disconnect: LeavingPolicy | OnDisconnect = "cancel", **fields: Any) -> Limits:
    return Limits(retries=Retries(max_attempts=1), breaker=None, on_disconnect=on_disconnect, **fields)


def keys_of(policy: LeavingPolicy | None) -> Keys:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return Keys([(CallerKey("a", policy), digest)])


async def leave(call: Any) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await (call if hasattr(call, "__await__") else call.read())


async def line_of(service: InProcess) -> dict[str, Any]:
    """The one line of the access log."""
    async with asyncio.timeout(SOON_S):
        await service.in_flight.wait_idle()
        await service.drains.wait_idle()
    await until(service.calls)
    (line,) = service.calls()
    return line


POLICIES: list[tuple[str | None, LeavingPolicy | None, LeavingPolicy, bool]] = [
    (None, None, "cancel", False),
    (None, None, "drain", True),
    (None, "cancel", "drain", False),
    (None, "drain", "cancel", True),
    ("cancel", "drain", "drain", False),
    ("drain", "cancel", "cancel", True),
]


@pytest.mark.parametrize("is_unary", [True, False])
@pytest.mark.parametrize(("request_says", "key_says", "model_says", "is_drained"), POLICIES)
async def test_the_requests_policy_counts_before_the_keys_and_the_models(
    *,
    request_says: str | None,
    key_says: LeavingPolicy | None,
    model_says: LeavingPolicy,
    is_drained: bool,
    is_unary: bool,
) -> None:
    provider = Played(STREAM)
    async with (
        in_process({"m": provider}, limits=limits_of(model_says), keys=keys_of(key_says)) as service,
        stub_of(service.address) as stub,
    ):
        request = request_of(**({"on_disconnect": request_says} if request_says else {}))
        method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
        call = method(request, metadata=WITH_KEY)
        await asyncio.wait_for(provider.began.wait(), SOON_S)
        await leave(call)
        await asyncio.wait_for(service.in_flight.wait_idle(), SOON_S)
        assert len(service.drains) == is_drained
        provider.go.set()
        line = await line_of(service)

    assert provider.was_cut != is_drained
    assert line["status"] == "CANCELLED"
    assert line.get("drained", False) == is_drained
    assert line.get("usage_estimated", False) != is_drained
    assert line["tokens_in"] == (7 if is_drained else 10)


async def test_a_caller_that_leaves_amid_a_stream_closes_the_provider_and_is_charged_by_estimate() -> None:
    provider = Played(STREAM)
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(request_of())
        await call.read()
        await call.read()
        await leave(call)
        await asyncio.wait_for(provider.closed.wait(), SOON_S)
        line = await line_of(service)

    assert provider.was_cut
    assert (line["status"], line["tokens_in"], line["tokens_out"], line["usage_estimated"]) == (
        "CANCELLED",
        10,
        2,
        True,
    )


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_drained_stream_is_logged_once_with_the_providers_own_usage(*, has_begun: bool) -> None:
    provider = Played(STREAM if has_begun else [None, *STREAM])
    async with in_process({"m": provider}, limits=limits_of("drain")) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(request_of())
        await asyncio.wait_for(provider.began.wait(), SOON_S)
        if has_begun:
            await call.read()
        await leave(call)
        await asyncio.wait_for(service.in_flight.wait_idle(), SOON_S)
        assert service.calls() == []
        provider.go.set()
        line = await line_of(service)

    assert not provider.was_cut
    assert (line["status"], line["drained"], line["finish_reason"]) == ("CANCELLED", True, "stop")
    assert (line["tokens_in"], line["tokens_out"]) == (7, 5)
    assert "usage_estimated" not in line


@pytest.mark.parametrize("is_unary", [True, False])
async def test_a_deadline_drains_as_well(*, is_unary: bool) -> None:
    provider = Played(STREAM)
    async with in_process({"m": provider}, limits=limits_of("drain")) as service, stub_of(service.address) as stub:
        method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
        call = method(request_of(), metadata=(("x-request-timeout-ms", "200"),))
        if not is_unary:
            await read_to_end(call)
        async with asyncio.timeout(SOON_S):
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(service.drains) == 1
        provider.go.set()
        line = await line_of(service)

    assert (line["status"], line["reason"], line["drained"]) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", True)
    assert (line["tokens_in"], line["tokens_out"]) == (7, 5)
    assert not provider.was_cut


async def test_a_drain_behind_a_blocked_reader_begins_at_the_deadline() -> None:
    provider = Played([opening(), *[saying("x" * 100_000)] * 400, usage_of(7, 5)])
    limits = limits_of(OnDisconnect(policy="drain", max_tokens=10**9))
    async with in_process({"m": provider}, limits=limits) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(request_of(), metadata=(("x-request-timeout-ms", "1000"),))
        await call.read()
        async with asyncio.timeout(SOON_S):
            await provider.closed.wait()
        assert not provider.was_cut, "all was read, though nobody took it"
        call.cancel()
        line = await line_of(service)

    assert (line["drained"], line["tokens_out"]) == (True, 5)


async def _talking(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
    yield opening()
    while True:
        await asyncio.sleep(0)
        yield saying("abcd")


@pytest.mark.parametrize(
    "bounds", [OnDisconnect(policy="drain", max_tokens=50), OnDisconnect(policy="drain", max_tokens=10**6, max_s=0.2)]
)
async def test_a_drain_is_bounded_by_tokens_and_by_time(bounds: OnDisconnect) -> None:
    async with (
        in_process({"m": FakeProvider(chunks=_talking)}, limits=limits_of(bounds)) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.StreamChatCompletion(request_of())
        await call.read()
        await leave(call)
        line = await line_of(service)

    assert (line["status"], line["drained"], line["usage_estimated"]) == ("CANCELLED", True, True)
    assert line["tokens_out"] > 0
    assert line["finish_reason"] is None


@pytest.mark.parametrize("is_unary", [True, False])
async def test_a_shutdown_waits_for_drains_and_ends_them_with_the_grace_period(*, is_unary: bool) -> None:
    provider = Played(STREAM)
    server = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=0.3, drain_notice_s=0)
    async with (
        in_process({"m": provider}, limits=limits_of("drain"), server=server) as service,
        stub_of(service.address) as stub,
    ):
        call = (stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion)(request_of())
        await asyncio.wait_for(provider.began.wait(), SOON_S)
        await leave(call)
        await until(lambda: len(service.drains))
        await asyncio.wait_for(service.drain(), SOON_S)

        assert provider.was_cut
        assert len(service.drains) == 0
        assert [line["status"] for line in service.calls()] == ["CANCELLED"]


async def test_nothing_is_read_on_into_a_shutdown() -> None:
    provider = Played(STREAM)
    server = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=0.2, drain_notice_s=0)
    async with (
        in_process({"m": provider}, limits=limits_of("drain"), server=server) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.StreamChatCompletion(request_of())
        await call.read()
        await asyncio.wait_for(service.drain(), SOON_S)
        line = await line_of(service)

    assert provider.was_cut
    assert (line["reason"], "drained" in line) == ("SHUTTING_DOWN", False)


@pytest.mark.parametrize("is_unary", [True, False])
async def test_a_call_that_only_waits_in_the_queue_is_not_asked_for_nobody(*, is_unary: bool) -> None:
    provider = Played(STREAM)
    limits = limits_of("drain", concurrency=Concurrency(limit=1))
    async with in_process({"m": provider}, limits=limits) as service, stub_of(service.address) as stub:
        (state,) = service.served.models["m"].targets
        first = stub.CreateChatCompletion(request_of())
        await asyncio.wait_for(provider.began.wait(), SOON_S)
        second = (stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion)(request_of())
        await until(lambda: state.slots.waiting)
        await leave(second)
        await until(service.calls)
        (line,) = service.calls()
        provider.go.set()
        await first

    assert provider.asked == 1
    assert (line["status"], line["attempts"], line["tokens_in"], "drained" in line) == ("CANCELLED", 0, None, False)


async def test_a_drained_answer_that_fails_is_logged_as_what_its_caller_did() -> None:
    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        yield opening()
        yield saying("Hello")
        await go.wait()
        raise RuntimeError("anything")

    go = asyncio.Event()
    async with (
        in_process({"m": FakeProvider(chunks=chunks)}, limits=limits_of("drain")) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.StreamChatCompletion(request_of())
        await call.read()
        await leave(call)
        await until(lambda: len(service.drains))
        go.set()
        line = await line_of(service)

    assert (line["status"], line["drained"], line["usage_estimated"]) == ("CANCELLED", True, True)
