"""Answers with `store: true`: kept before their end is told, or else as what had come of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal
from uuid import UUID

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.ids import choice_id, completion_name, message_name
from service.answers.joining import Joining
from service.errors import Interrupted, Unavailable
from service.limits import Limits, OnDisconnect, Retries
from tests.support.asking import REST, SOON_S, Played, read_to_end, stub_of, until
from tests.support.chunks import ending, opening, saying, usage_of, whole
from tests.support.in_process import FakeProvider, InProcess, in_process
from tests.support.json_form import to_proto
from tests.support.shelf import Shelf, text_of

SESSION = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
ANSWER = [opening(), saying("Hel"), saying("lo!"), ending(), usage_of()]
BOTH = pytest.mark.parametrize("face", ["grpc", "rest"])
Face = Literal["grpc", "rest"]


def request_of(**fields: Any) -> ChatCompletionRequest:
    return to_proto({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": True, **fields})


def fresh(chunks: list[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """Copies: the service writes names into what it is given."""
    return [ChatCompletionChunk.FromString(chunk.SerializeToString()) for chunk in chunks]


def provider_of(*chunks: ChatCompletionChunk, error: BaseException | None = None) -> FakeProvider:
    """One whose stream ends with `error`, where there is one."""

    async def stream(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        for chunk in fresh(list(chunks)):
            yield chunk
        if error is not None:
            raise error

    def answer(_request: ChatCompletionRequest) -> ChatCompletion:
        if error is not None:
            raise error
        return whole()

    return FakeProvider(answer=answer, chunks=stream)


def joined(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    joining = Joining()
    for chunk in chunks:
        joining.take(chunk)
    return joining.completion()


def id_of(name: str) -> UUID:
    return UUID(name.removeprefix("chatcmpl-"))


async def line_of(service: InProcess) -> dict[str, Any]:
    await until(service.calls)
    (line,) = service.calls()
    return line


async def idle(service: InProcess) -> None:
    async with asyncio.timeout(SOON_S):
        await service.in_flight.wait_idle()
        await service.drains.wait_idle()


async def test_an_answer_in_one_piece_is_kept_with_all_that_is_known_of_it() -> None:
    shelf, began = Shelf(), int(time.time())
    request = request_of(
        session_id=SESSION.upper(), user="ada", labels={"team": "blue"}, tags=["a", "b", "a"], temperature=0.5
    )
    async with (
        in_process({"m": provider_of()}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        answer = await stub.CreateChatCompletion(request, metadata=(("x-request-id", "r-1"),))
        line = await line_of(service)

    record = shelf.only
    assert completion_name(record.id) == answer.id
    assert record.completion == answer
    assert record.request == request
    assert (record.tenant, record.model, record.session_id) == ("default", "m", UUID(SESSION))
    assert (record.user, record.labels, record.tags) == ("ada", {"team": "blue"}, ("a", "b"))
    assert (record.status, record.error_reason, record.request_id) == ("completed", None, "r-1")
    assert (record.provider, record.upstream_model) == ("m", "m")
    assert began <= record.created <= time.time()
    assert record.first_token_ms is not None
    assert record.duration_ms is not None
    assert 0 <= record.first_token_ms <= record.duration_ms
    assert not record.is_usage_estimated
    assert line["stored"] is True


async def test_the_record_shows_nothing_of_the_conversation_or_the_user() -> None:
    shelf = Shelf()
    async with (
        in_process({"m": provider_of()}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        await stub.CreateChatCompletion(request_of(user="CANARY", labels={"CANARY": "CANARY"}, tags=["CANARY"]))

    assert "CANARY" not in repr(shelf.only)
    assert "Hello" not in repr(shelf.only)


@BOTH
async def test_a_stream_is_kept_as_its_caller_got_it(face: Face) -> None:
    shelf = Shelf()
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.StreamChatCompletion(
            request_of(stream_options={"include_usage": True}), metadata=REST if face == "rest" else ()
        )
        ended = await read_to_end(call)
        line = await line_of(service)

    assert ended.error is None
    assert shelf.only.completion == joined(ended.chunks)
    assert text_of(shelf.only.completion) == "Hello!"
    assert shelf.only.status == "completed"
    assert completion_name(shelf.only.id) == ended.chunks[0].id
    assert line["stored"] is True


async def test_the_usage_is_kept_where_the_caller_did_not_ask_for_it() -> None:
    shelf = Shelf()
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        ended = await read_to_end(stub.StreamChatCompletion(request_of(), metadata=REST))

    assert not any(chunk.HasField("usage") for chunk in ended.chunks)
    assert shelf.only.completion.usage.completion_tokens == 5


@pytest.mark.parametrize("is_unary", [True, False])
async def test_a_usage_that_the_provider_does_not_tell_is_kept_as_an_estimate(*, is_unary: bool) -> None:
    shelf, provider = Shelf(), provider_of(*ANSWER[:-1])
    provider.answer = lambda _request: whole(has_usage=False)
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        if is_unary:
            answer = await stub.CreateChatCompletion(request_of())
            assert not answer.HasField("usage")
        else:
            await read_to_end(stub.StreamChatCompletion(request_of()))

    assert shelf.only.is_usage_estimated
    assert shelf.only.completion.usage.completion_tokens == 2


async def test_every_choice_has_a_name_of_its_own() -> None:
    shelf = Shelf()
    chunks = [opening(), opening(index=1), saying("a"), saying("b", index=1), ending(), ending(index=1)]
    async with (
        in_process({"m": provider_of(*chunks)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        ended = await read_to_end(stub.StreamChatCompletion(request_of(n=2)))

    made = shelf.only.id
    told = [(choice.completion_id, choice.delta.id) for chunk in ended.chunks for choice in chunk.choices]
    names = [(str(choice_id(made, index)), message_name(made, index)) for index in (0, 1)]
    assert told == [*names, *[("", "")] * 4]
    kept = shelf.only.completion.choices
    assert [(choice.completion_id, choice.message.id) for choice in kept] == names


async def test_the_metadata_are_the_labels_by_another_name() -> None:
    shelf = Shelf()
    async with (
        in_process({"m": provider_of()}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        await stub.CreateChatCompletion(request_of(metadata={"team": "blue"}))
        await stub.CreateChatCompletion(request_of(metadata={"team": "blue"}, labels={"team": "blue"}))

    assert [record.labels for record in shelf.kept] == [{"team": "blue"}] * 2


@pytest.mark.parametrize("is_unary", [True, False])
async def test_nothing_is_kept_of_who_does_not_want_it(*, is_unary: bool) -> None:
    shelf = Shelf(is_known_to_be_down=True)
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        for request in (request_of(store=False), request_of(store=None)):
            if is_unary:
                answer = await stub.CreateChatCompletion(request)
                assert (answer.id, answer.choices[0].completion_id, answer.choices[0].message.id) == ("x", "", "")
                assert str(UUID(answer.session_id)) == answer.session_id
            else:
                ended = await read_to_end(stub.StreamChatCompletion(request))
                assert {chunk.id for chunk in ended.chunks} == {"x"}
                assert [bool(chunk.session_id) for chunk in ended.chunks] == [True, *[False] * (len(ended.chunks) - 1)]
        await until(lambda: len(service.calls()) == 2)
        assert all("stored" not in line for line in service.calls())

    assert shelf.kept == []


@BOTH
async def test_a_stream_ends_after_the_commit(face: Face) -> None:
    shelf = Shelf()
    shelf.may_commit.clear()
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        call = stub.StreamChatCompletion(
            request_of(stream_options={"include_usage": True}), metadata=REST if face == "rest" else ()
        )
        chunks = [await asyncio.wait_for(call.read(), SOON_S) for _ in ANSWER]
        assert chunks[-1].HasField("usage")
        end = asyncio.ensure_future(call.read())
        await asyncio.wait_for(shelf.is_asked.wait(), SOON_S)
        done, _ = await asyncio.wait({end}, timeout=0.1)
        assert not done
        shelf.may_commit.set()
        last = await asyncio.wait_for(end, SOON_S)
        assert last == (ChatCompletionChunk() if face == "rest" else grpc.aio.EOF)
        assert await call.code() is grpc.StatusCode.OK


async def test_an_answer_in_one_piece_comes_after_the_commit() -> None:
    shelf = Shelf()
    shelf.may_commit.clear()
    async with (
        in_process({"m": provider_of()}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        call = asyncio.ensure_future(stub.CreateChatCompletion(request_of()))
        await asyncio.wait_for(shelf.is_asked.wait(), SOON_S)
        done, _ = await asyncio.wait({call}, timeout=0.1)
        assert not done
        shelf.may_commit.set()
        assert completion_name(shelf.only.id) == (await asyncio.wait_for(call, SOON_S)).id


def check_unavailable(code: grpc.StatusCode, trailing: dict[str, Any]) -> None:
    assert code is grpc.StatusCode.UNAVAILABLE
    status = Status.FromString(trailing["grpc-status-details-bin"])
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() > 0


@BOTH
async def test_a_stream_that_cannot_be_kept_ends_as_an_error(face: Face) -> None:
    shelf = Shelf(is_down=True)
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        ended = await read_to_end(stub.StreamChatCompletion(request_of(), metadata=REST if face == "rest" else ()))
        line = await line_of(service)

    assert ended.text == "Hello!"
    assert ended.error is not None
    check_unavailable(ended.error.code(), ended.trailing)
    if face == "rest":
        assert ended.chunks[-1].error.code.string_value == "storage_unavailable"
        assert ChatCompletionChunk() not in ended.chunks
    assert (line["reason"], line["stored"], line["finish_reason"]) == ("STORAGE_UNAVAILABLE", False, "stop")
    assert shelf.kept == []


@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_an_answer_that_cannot_be_kept_is_an_error(policy: Literal["cancel", "drain"]) -> None:
    shelf = Shelf(is_down=True)
    async with (
        in_process({"m": provider_of()}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateChatCompletion(request_of(on_disconnect=policy))

    check_unavailable(caught.value.code(), dict(caught.value.trailing_metadata() or ()))


@pytest.mark.parametrize("is_unary", [True, False])
async def test_nobody_is_asked_for_an_answer_that_cannot_be_kept(*, is_unary: bool) -> None:
    shelf, provider = Shelf(is_known_to_be_down=True), provider_of(*ANSWER)
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        call = stub.CreateChatCompletion(request_of()) if is_unary else stub.StreamChatCompletion(request_of()).read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

    check_unavailable(caught.value.code(), dict(caught.value.trailing_metadata() or ()))
    assert provider.asked == []


@pytest.mark.parametrize("is_unary", [True, False])
async def test_where_storing_is_best_effort_callers_get_their_answers(*, is_unary: bool) -> None:
    shelf = Shelf(policy="best_effort", is_down=True, is_known_to_be_down=True)
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        if is_unary:
            assert text_of(await stub.CreateChatCompletion(request_of())) == "Hello!"
        else:
            ended = await read_to_end(stub.StreamChatCompletion(request_of()))
            assert (ended.text, ended.error) == ("Hello!", None)
        line = await line_of(service)

    assert line["stored"] is False


FAILURES: dict[str, tuple[Callable[[], BaseException], str]] = {
    "the provider breaks off": (lambda: Interrupted("broken off"), "UPSTREAM_INTERRUPTED"),
    "a fault of the service": (lambda: RuntimeError("CANARY"), "INTERNAL"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_stream_that_fails_is_kept_as_far_as_it_had_come(case: str) -> None:
    make, reason = FAILURES[case]
    shelf = Shelf()
    provider = provider_of(opening(), saying("Hel"), error=make())
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(request_of()))
        line = await line_of(service)

    assert ended.error is not None
    assert line["stored"] == "later"
    record = shelf.only
    assert (record.status, record.error_reason) == ("partial", reason)
    assert (text_of(record.completion), record.completion.choices[0].finish_reason) == ("Hel", "")
    assert record.is_usage_estimated
    assert record.completion.usage.completion_tokens == 1


@pytest.mark.parametrize("is_unary", [True, False])
async def test_nothing_is_kept_where_nothing_has_come(*, is_unary: bool) -> None:
    shelf = Shelf()
    provider = provider_of(error=Unavailable("down"))
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        if is_unary:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CreateChatCompletion(request_of())
        else:
            assert (await read_to_end(stub.StreamChatCompletion(request_of()))).error is not None
        line = await line_of(service)

    assert shelf.kept == []
    assert line["stored"] is False


HELD = [opening(), saying("Hel"), None, saying("lo!"), ending(), usage_of()]


async def begun(stub: Any) -> Any:
    """A stream of which two chunks have come."""
    call = stub.StreamChatCompletion(request_of())
    for _ in range(2):
        await asyncio.wait_for(call.read(), SOON_S)
    return call


async def test_a_stream_whose_caller_leaves_is_kept_as_far_as_it_had_come() -> None:
    shelf, provider = Shelf(), Played(HELD)
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        call = await begun(stub)
        call.cancel()
        await idle(service)

    assert (shelf.only.status, shelf.only.error_reason) == ("partial", "CANCELLED")
    assert text_of(shelf.only.completion) == "Hel"
    assert completion_name(shelf.only.id) == shelf.only.completion.id


async def test_a_stream_whose_time_is_over_is_kept_as_far_as_it_had_come() -> None:
    shelf, provider = Shelf(), Played(HELD)
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(request_of(), metadata=(("x-request-timeout-ms", "300"),))
        ended = await read_to_end(call)
        await idle(service)

    assert ended.error is not None
    assert ended.error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (shelf.only.status, shelf.only.error_reason) == ("partial", "DEADLINE_EXCEEDED")
    assert text_of(shelf.only.completion) == "Hel"


async def test_a_stream_that_a_shutdown_ends_is_kept_as_far_as_it_had_come() -> None:
    shelf, provider = Shelf(), Played(HELD)
    async with in_process({"m": provider}, store=shelf.as_store()) as service, stub_of(service.address) as stub:
        call = await begun(stub)
        drain = asyncio.ensure_future(service.drain())
        assert (await read_to_end(call)).error is not None
        await asyncio.wait_for(drain, SOON_S)

    assert (shelf.only.status, shelf.only.error_reason) == ("partial", "SHUTTING_DOWN")


@pytest.mark.parametrize("is_unary", [True, False])
async def test_an_answer_whose_caller_leaves_during_the_commit_is_kept_as_complete(*, is_unary: bool) -> None:
    shelf = Shelf()
    shelf.may_commit.clear()
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
        call = method(request_of())
        if not is_unary:
            await asyncio.wait_for(call.read(), SOON_S)
        await asyncio.wait_for(shelf.is_asked.wait(), SOON_S)
        call.cancel()
        await idle(service)
        line = await line_of(service)

    assert (shelf.only.status, text_of(shelf.only.completion)) == ("completed", "Hello!")
    assert line["stored"] == "later"


def draining(**bounds: Any) -> Limits:
    leaving = OnDisconnect(policy="drain", **bounds)
    return Limits(retries=Retries(max_attempts=1), breaker=None, on_disconnect=leaving)


@pytest.mark.parametrize("is_unary", [True, False])
async def test_an_answer_that_is_read_on_without_its_caller_is_kept_as_complete(*, is_unary: bool) -> None:
    shelf, provider = Shelf(), Played(HELD)
    async with (
        in_process({"m": provider}, limits=draining(), store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        if is_unary:
            call = stub.CreateChatCompletion(request_of())
            await asyncio.wait_for(provider.began.wait(), SOON_S)
        else:
            call = await begun(stub)
        call.cancel()
        await asyncio.wait_for(service.in_flight.wait_idle(), SOON_S)
        assert shelf.kept == []
        provider.go.set()
        await idle(service)
        line = await line_of(service)

    assert (shelf.only.status, text_of(shelf.only.completion)) == ("completed", "Hello!")
    assert (line["drained"], line["stored"]) == (True, True)


async def test_an_answer_that_is_too_long_to_be_read_on_is_kept_as_far_as_it_was_read() -> None:
    shelf = Shelf()
    provider = Played([opening(), saying("Hel"), None, saying("x" * 400), saying("y"), ending(), usage_of()])
    async with (
        in_process({"m": provider}, limits=draining(max_tokens=50), store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        call = await begun(stub)
        call.cancel()
        await asyncio.wait_for(service.in_flight.wait_idle(), SOON_S)
        provider.go.set()
        await idle(service)

    assert (shelf.only.status, shelf.only.error_reason) == ("partial", "CANCELLED")
    assert text_of(shelf.only.completion) == "Hel" + "x" * 400


async def test_the_log_has_nothing_of_what_is_kept() -> None:
    shelf = Shelf()
    async with (
        in_process({"m": provider_of(*ANSWER)}, store=shelf.as_store()) as service,
        stub_of(service.address) as stub,
    ):
        await read_to_end(stub.StreamChatCompletion(request_of(user="CANARY", labels={"a": "CANARY"})))
        line = await line_of(service)

    assert "CANARY" not in json.dumps(line)
