"""The drain, to the last byte: what SIGTERM does to calls at any stage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Choice
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.health import LIVENESS, NOT_SERVING, SERVING, Health
from service.limits import Limits
from tests.conftest import KEY, stack_config
from tests.support.faces import grpc_failure
from tests.support.health import health_stub
from tests.support.in_process import FakeProvider, in_process
from tests.support.json_form import to_proto
from tests.support.stack import gateway_beside, running
from tests.support.upstream import FakeUpstream

REQUEST = to_proto({"model": "m", "messages": [{"role": "user", "content": "x"}]})
SOON = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=0.2, drain_notice_s=0)
LATE = config.Server(grpc_address="127.0.0.1:0", drain_grace_s=20, drain_notice_s=0)


async def test_a_drain_waits_until_a_large_answer_has_left() -> None:
    big = "x" * 20_000_000

    def answer(_request: ChatCompletionRequest) -> ChatCompletion:
        choice = Choice(index=0, finish_reason="stop")
        choice.message.content = big
        return ChatCompletion(id="x", choices=[choice])

    provider = FakeProvider(answer=answer)
    options = [("grpc.max_receive_message_length", -1)]
    async with (
        in_process({"m": provider}, server=LATE) as service,
        grpc.aio.insecure_channel(service.address, options=options) as channel,
    ):
        call = asyncio.ensure_future(_create(channel))
        while not provider.asked:  # noqa: ASYNC110 - gRPC sets no event
            await asyncio.sleep(0.001)
        await service.drain()

        assert (await call).choices[0].message.content == big


async def test_sigterm_waits_until_a_slow_link_has_taken_the_answer(upstream: FakeUpstream, tmp_path: Path) -> None:
    big = "x" * 6_000_000
    request = to_proto({"model": "echo", "messages": [{"role": "user", "content": big}]})
    options = [("grpc.max_receive_message_length", -1)]
    config_of_stack = stack_config(upstream, drain_grace_s=20)
    with running(config_of_stack, tmp_path, gateway=False) as stack:
        async with (
            slow_link(stack.grpc_address, bytes_per_s=4_000_000) as link,
            grpc.aio.insecure_channel(link.address, options=options) as channel,
        ):
            call: Any = ChatServiceStub(channel).CreateChatCompletion(request, metadata=(("x-api-key", KEY),))
            answered = asyncio.ensure_future(_answer(call))
            async with asyncio.timeout(20):
                await link.answering.wait()
            stack.service.process.terminate()

            assert await answered == big
            assert await asyncio.to_thread(stack.service.process.wait, 10) == 0


async def _answer(call: Any) -> str:
    answer = await call
    content: str = answer.choices[0].message.content
    return content


class SlowLink:
    """A relay that lets answers pass at a bounded rate."""

    def __init__(self, target: str, bytes_per_s: int) -> None:
        self.address = ""
        self.answering = asyncio.Event()
        """Set when more than a few frames of an answer have passed."""
        self._target, self._bytes_per_s, self._passed = target, bytes_per_s, 0
        self._relays: list[asyncio.Task[None] | None] = []

    async def ended(self) -> None:
        """Wait until every connection is closed on both sides."""
        await asyncio.gather(*(task for task in self._relays if task))

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relays.append(asyncio.current_task())
        host, port = self._target.split(":")
        theirs, ours = await asyncio.open_connection(host, int(port), limit=65536)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, ours, slow=False))
            group.create_task(self._pump(theirs, writer, slow=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                if slow:
                    self._passed += len(data)
                    if self._passed > 300_000:
                        self.answering.set()
                    await asyncio.sleep(len(data) / self._bytes_per_s)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def slow_link(target: str, bytes_per_s: int) -> AsyncIterator[SlowLink]:
    link = SlowLink(target, bytes_per_s)
    server = await asyncio.start_server(link.relay, "127.0.0.1", 0, limit=65536)
    host, port = server.sockets[0].getsockname()[:2]
    link.address = f"{host}:{port}"
    try:
        yield link
    finally:
        server.close()
        async with asyncio.timeout(10):
            await link.ended()


async def _create(channel: grpc.aio.Channel) -> ChatCompletion:
    answer: Any = await ChatServiceStub(channel).CreateChatCompletion(REQUEST, timeout=30)
    completion: ChatCompletion = answer
    return completion


async def _endless(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
    chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
    chunk.choices.add(index=0).delta.content = "x" * 10_000
    while True:
        yield chunk


async def test_a_rest_stream_blocked_by_its_reader_is_told_of_the_shutdown_when_it_reads(tmp_path: Path) -> None:
    async with (
        in_process({"m": FakeProvider(chunks=_endless)}, server=SOON) as service,
        gateway_beside(service.address, tmp_path) as address,
    ):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        while not len(service.in_flight):  # noqa: ASYNC110 - gRPC sets no event
            await asyncio.sleep(0.01)
        draining = asyncio.ensure_future(service.drain())
        await asyncio.sleep(1)  # past the grace period, while nothing is read
        async with asyncio.timeout(20):
            received = await reader.read(-1)
            await draining
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    last = received.rpartition(b"data: ")[2]
    assert b"shutting_down" in last
    assert b"[DONE]" not in received
    assert [line["reason"] for line in service.calls()] == ["SHUTTING_DOWN"]


async def test_a_grpc_stream_blocked_by_its_reader_is_told_of_the_shutdown_when_it_reads() -> None:
    async with (
        in_process({"m": FakeProvider(chunks=_endless)}, server=SOON) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        call: Any = ChatServiceStub(channel).StreamChatCompletion(REQUEST)
        await call.read()
        draining = asyncio.ensure_future(service.drain())
        await asyncio.sleep(1)  # past the grace period, while nothing is read
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_all(call)
        await draining

    assert grpc_failure(caught.value).code == "shutting_down"


async def _read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_caller_that_never_reads_does_not_hold_the_end_back() -> None:
    async with (
        in_process({"m": FakeProvider(chunks=_endless)}, server=SOON) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        call: Any = ChatServiceStub(channel).StreamChatCompletion(REQUEST)
        await call.read()
        async with asyncio.timeout(15):
            await service.drain()
            await service.in_flight.wait_idle()


@pytest.mark.parametrize("grace", ["long", "short"])
async def test_an_answer_that_is_read_on_has_the_grace_period_as_calls_have(grace: str) -> None:
    gate = asyncio.Event()
    ended: list[str] = []

    async def held_back(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        try:
            yield _chunk("a")
            await gate.wait()
            yield _chunk("b")
            end = _chunk("")
            end.choices[0].finish_reason.string_value = "stop"
            yield end
            ended.append("complete")
        finally:
            ended.append("closed")

    limits = Limits(on_disconnect="drain")
    settings = LATE if grace == "long" else SOON
    async with (
        in_process({"m": FakeProvider(chunks=held_back)}, server=settings, limits=limits) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        call: Any = ChatServiceStub(channel).StreamChatCompletion(REQUEST)
        await call.read()
        call.cancel()
        async with asyncio.timeout(10):
            while not len(service.drains):  # noqa: ASYNC110 - gRPC sets no event
                await asyncio.sleep(0.001)
            draining = asyncio.ensure_future(service.drain())
            await asyncio.sleep(0.05)
            assert not draining.done()
            if grace == "long":
                gate.set()
            await draining

        assert len(service.drains) == 0
        assert ended == (["complete", "closed"] if grace == "long" else ["closed"])
        (line,) = service.calls()
        assert (line["status"], line["drained"]) == ("CANCELLED", True)


def _chunk(content: str) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x", object="chat.completion.chunk", created=1, model="m")
    chunk.choices.add(index=0).delta.content = content
    return chunk


async def test_a_health_watcher_learns_every_change_and_holds_no_drain_back() -> None:
    async with (
        in_process({"m": FakeProvider()}, server=LATE) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        watched = health_stub(channel).Watch(HealthCheckRequest(service="parley.v1.ChatService"))
        assert (await watched.read()).status == SERVING
        unknown = health_stub(channel).Watch(HealthCheckRequest(service="no.such"))
        assert (await unknown.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
        async with asyncio.timeout(5):
            await service.drain()

        assert (await watched.read()).status == NOT_SERVING


async def test_health_is_final_after_a_shutdown() -> None:
    health = Health()
    states = []
    for is_serving in (True, False, True):
        health.set_serving(takes_calls=is_serving, answers_chats=is_serving)
        states.append((await health.Check(HealthCheckRequest(), None)).status)  # type: ignore[arg-type]
    health.shut_down()
    health.set_serving(takes_calls=True, answers_chats=True)
    states.append((await health.Check(HealthCheckRequest(), None)).status)  # type: ignore[arg-type]

    assert states == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
    alive = await health.Check(HealthCheckRequest(service=LIVENESS), None)  # type: ignore[arg-type]
    assert alive.status == SERVING, "nobody shall end it before the drain is over"
