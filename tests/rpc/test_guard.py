"""The outermost interceptor: what callers and the log learn, and what they don't."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import re
import sys
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Choice
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from service.errors import Interrupted, ParleyError, Reason
from service.logs import JsonFormatter
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from tests.conftest import KEY
from tests.support.faces import FACES, Face, ask, grpc_failure
from tests.support.health import health_stub
from tests.support.in_process import FakeProvider, in_process
from tests.support.json_form import to_proto
from tests.support.stack import Stack

SECRET = "CANARY-secret-prompt"
REQUEST = to_proto({"model": "m", "messages": [{"role": "user", "content": SECRET}]})
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _broken(_request: ChatCompletionRequest) -> ChatCompletion:
    raise RuntimeError(f"unexpected: {SECRET}")


async def _broken_chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
    chunk = ChatCompletionChunk(id="x")
    chunk.choices.add(index=0).delta.content = "a"
    yield chunk
    raise RuntimeError(f"unexpected: {SECRET}")


async def _call(address: str, *, stream: bool) -> grpc.aio.AioRpcError:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ChatServiceStub(channel)
        call = _read_all(stub) if stream else stub.CreateChatCompletion(REQUEST)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value


async def _read_all(stub: Any) -> None:
    async for _ in stub.StreamChatCompletion(REQUEST):
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unexpected_exception_shows_an_id_and_nothing_of_its_text(
    caplog: pytest.LogCaptureFixture,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    provider = FakeProvider(answer=_broken, chunks=_broken_chunks)
    with caplog.at_level(logging.ERROR):
        async with in_process({"m": provider}) as service:
            error = await _call(service.address, stream=stream)
            (line,) = service.calls()

    assert error.code() == grpc.StatusCode.INTERNAL
    assert line["request_id"] in (error.details() or "")
    assert SECRET not in str(error)
    assert (line["status"], line["reason"]) == ("INTERNAL", "INTERNAL")
    assert line["request_id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "_broken" in caplog.text, "the log tells where it happened"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("reason", Reason)
async def test_every_reason_reaches_grpc_callers_trailers_only(reason: Reason) -> None:
    def fail(_request: ChatCompletionRequest) -> ChatCompletion:
        raise ParleyError(reason, "What happened.", param="model", metadata={"provider": "p"})

    async with in_process({"m": FakeProvider(answer=fail)}) as service:
        error = await _call(service.address, stream=False)

    assert not error.initial_metadata()
    failure = grpc_failure(error)
    assert (failure.message, failure.param) == ("What happened.", "model")


async def test_a_cancellation_is_logged_and_not_swallowed() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        try:
            started.set()
            await asyncio.Event().wait()
            yield ChatCompletionChunk()
        finally:
            ended.set()

    async with in_process({"m": FakeProvider(chunks=chunks)}) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            call = ChatServiceStub(channel).StreamChatCompletion(REQUEST)
            await started.wait()
            call.cancel()
            async with asyncio.timeout(5):
                await ended.wait()
                await service.in_flight.wait_idle()

        assert [line["status"] for line in service.calls()] == ["CANCELLED"]


class GoneContext:
    """gRPC's, of a caller that leaves in the moment in which its status is sent."""

    async def read(self) -> bytes:
        return b""

    def time_remaining(self) -> None:
        return None

    def add_done_callback(self, _callback: object) -> None:
        pass

    async def abort(self, *_status: object) -> None:
        raise grpc.aio.InternalError("Failed execute_batch")


async def test_a_caller_that_leaves_as_it_is_told_of_a_failure_is_no_failure_of_the_service() -> None:
    async def fail(_request: object, _context: object) -> None:
        raise Interrupted("cut")

    async def continuation(_details: object) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(fail)

    log = io.BytesIO()
    guard = Guard(Keys([]), AccessLog(log), InFlight())
    details: Any = SimpleNamespace(method="/parley.v1.ChatService/CreateChatCompletion", invocation_metadata=())
    handler: Any = await guard.intercept_service(continuation, details)

    with pytest.raises(asyncio.CancelledError):  # as gRPC expects of a call whose caller has gone
        await handler.stream_unary(None, GoneContext())
    assert b"UPSTREAM_INTERRUPTED" in log.getvalue()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_callers_request_id_is_kept_or_one_is_made(
    stack: Stack,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    made = ask(stack, face, body).metadata["x-request-id"]

    assert UUID.fullmatch(made)
    assert stack.calls(made)[0]["status"] == "OK"


@pytest.mark.parametrize(("sent", "is_kept"), [("my-id-1", True), ("a b", True), ("x" * 256, True), ("x" * 257, False)])
async def test_a_request_id_is_taken_over_unless_it_is_too_long(
    sent: str,
    is_kept: bool,  # noqa: FBT001 - a column of the table
) -> None:
    provider = FakeProvider(answer=lambda _: ChatCompletion(choices=[Choice(index=0)]))
    async with in_process({"m": provider}) as service, grpc.aio.insecure_channel(service.address) as channel:
        call = ChatServiceStub(channel).CreateChatCompletion(REQUEST, metadata=(("x-request-id", sent),))
        await call
        returned = dict(await call.initial_metadata())["x-request-id"]
        (line,) = service.calls()

    assert line["request_id"] == returned
    assert (returned == sent) == is_kept
    assert is_kept or UUID.fullmatch(str(returned))


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_a_caller_that_sends_no_request_is_told_so(method: str) -> None:
    async def nothing() -> AsyncGenerator[bytes]:
        for request in list[bytes]():
            yield request

    async with in_process({"m": FakeProvider()}) as service, grpc.aio.insecure_channel(service.address) as channel:
        call: Any = channel.stream_unary(f"/parley.v1.ChatService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(nothing(), timeout=10)

    assert grpc_failure(caught.value).code == "invalid_request_body"


async def test_calls_that_fail_let_go_of_their_requests() -> None:
    """grpcio keeps what a handler raised until the collector comes, which counts objects and not bytes."""

    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        await asyncio.Event().wait()
        yield ChatCompletionChunk()

    provider = FakeProvider(chunks=chunks, asked=_Forgetful())
    big = ChatCompletionRequest(model="m", temperature=5)
    big.messages.add(role="user").content.string_value = "x" * 10_000_000
    process = psutil.Process()
    async with in_process({"m": provider}) as service, grpc.aio.insecure_channel(service.address) as channel:
        stub = ChatServiceStub(channel)
        before = process.memory_info().rss
        for _ in range(40):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CreateChatCompletion(big)
        big.ClearField("temperature")
        for _ in range(40):
            call = stub.StreamChatCompletion(big)
            reading = asyncio.ensure_future(call.read())
            while not len(service.in_flight):  # noqa: ASYNC110 - the server sets no event
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await service.in_flight.wait_idle()

        assert process.memory_info().rss - before < 400_000_000, "kept would be 800 MB"


class _Forgetful(list[ChatCompletionRequest]):
    def append(self, _request: ChatCompletionRequest) -> None:
        """Keep nothing."""


async def test_a_log_that_cannot_be_written_fails_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = FakeProvider(answer=lambda _: ChatCompletion(choices=[Choice(index=0)]))
    async with in_process({"m": provider}) as service, grpc.aio.insecure_channel(service.address) as channel:
        monkeypatch.setattr(service.log, "write", _no_space)
        await ChatServiceStub(channel).CreateChatCompletion(REQUEST)
        monkeypatch.undo()
        await ChatServiceStub(channel).CreateChatCompletion(REQUEST)

        assert [line["lost"] for line in service.calls()] == [1]


def _no_space(_data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_texts_of_other_packages_are_withheld_from_the_log() -> None:
    try:
        int(SECRET)
    except ValueError:
        error = sys.exc_info()
    theirs = logging.LogRecord("grpc._cython", logging.ERROR, "x.py", 7, "bad header %s", (SECRET,), error, "read")
    ours = logging.LogRecord("service.app", logging.ERROR, "x.py", 7, "call %s failed", ("id-1",), error, "read")

    lines = [JsonFormatter().format(record) for record in (theirs, ours)]

    assert SECRET not in "".join(lines)
    assert "text withheld; read, line 7" in lines[0]
    assert "call id-1 failed" in lines[1]
    assert all('"exception":"ValueError"' in line and "test_guard.py" in line for line in lines)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, BaseException, RuntimeError])
async def test_whatever_is_raised_the_caller_gets_a_status(kind: type[BaseException]) -> None:
    def fail(_request: ChatCompletionRequest) -> ChatCompletion:
        raise kind(SECRET)

    async with (
        in_process({"m": FakeProvider(answer=fail)}) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ChatServiceStub(channel).CreateChatCompletion(REQUEST, timeout=10)

    assert grpc_failure(caught.value).code == "internal_error"
    assert SECRET not in str(caught.value)


def test_the_access_log_holds_neither_prompt_nor_answer_nor_key(stack: Stack) -> None:
    body = {
        "model": "echo",
        "stream": True,
        "messages": [{"role": "user", "content": SECRET}],
        "user": "user-" + SECRET,
    }
    outcome = ask(stack, "rest", body)
    failed = ask(stack, "rest", body | {"temperature": 5})
    assert outcome.text() == SECRET
    assert failed.failure is not None
    (line,) = stack.calls(outcome.metadata["x-request-id"])
    stack.calls(failed.metadata["x-request-id"])

    assert line.keys() >= {"time", "method", "model", "provider", "status", "duration_ms", "ttft_ms"}
    assert (line["key"], line["model"], line["provider"]) == ("team-a", "echo", "scripted")
    assert (line["status"], line["tokens_in"], line["tokens_out"], line["finish_reason"]) == ("OK", 7, 5, "stop")
    assert 0 <= line["ttft_ms"] <= line["duration_ms"]
    assert stack.gateway is not None
    logs = "".join(stack.service.lines + stack.gateway.lines)
    assert SECRET not in logs
    assert KEY not in logs


async def test_health_needs_no_key_and_is_not_logged() -> None:
    keys = Keys([("a", "0" * 64)])
    async with (
        in_process({"m": FakeProvider()}, keys=keys) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        await health_stub(channel).Check(HealthCheckRequest())

        assert service.calls() == []


async def test_an_unknown_method_is_unimplemented() -> None:
    async with in_process({"m": FakeProvider()}) as service, grpc.aio.insecure_channel(service.address) as channel:
        call: Any = channel.unary_unary("/parley.v1.ChatService/NoSuchMethod")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_models_are_listed_and_found_on_both_faces(stack: Stack) -> None:
    metadata = (("x-api-key", KEY),)
    expected = {"id": "org/echo", "object": "model", "created": 0, "owned_by": "scripted"}
    with httpx.Client(base_url=stack.url, headers={"x-api-key": KEY}) as client, stack.models() as stub:
        for prefix in ("/v1", "/api/v1"):
            listed = client.get(f"{prefix}/models").json()
            assert listed["object"] == "list"
            assert expected in listed["data"]
            for name in ("org/echo", "org%2Fecho"):
                found = client.get(f"{prefix}/models/{name}").json()
                (target,) = found.pop("targets")
                assert found == expected
                assert (target["provider"], target["model"], target["state"]) == ("scripted", "echo-2", "available")
        assert [model.id for model in stub.ListModels(ListModelsRequest(), metadata=metadata).data] == [
            model["id"] for model in listed["data"]
        ]
        assert stub.GetModel(GetModelRequest(model="org/echo"), metadata=metadata).owned_by == "scripted"
        missing = client.get("/v1/models/nope")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModel(GetModelRequest(model="nope"), metadata=metadata)
        assert grpc_failure(caught.value).message == missing.json()["error"]["message"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListModels(ListModelsRequest())
        assert grpc_failure(caught.value).code == "invalid_api_key"
        assert httpx.get(f"{stack.url}/v1/models").status_code == 401
