"""Connections: how many there may be, and for how long."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from service import server
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service.open_files import allow_open_files
from tests.support.in_process import FakeProvider, in_process
from tests.support.quick_upstream import quick_upstream
from tests.support.stack import running

AGE_MS = 500


def _request(text: str = "a", *, model: str = "m") -> ChatCompletionRequest:
    request = ChatCompletionRequest(model=model)
    request.messages.add(role="user").content.string_value = text
    return request


def test_the_soft_limit_of_open_files_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1], 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_no_target_is_blamed_where_the_service_has_no_file_descriptors_left(tmp_path: Path) -> None:
    with quick_upstream() as upstream:
        config = {
            "providers": upstream.providers(),
            "models": {"m": {"targets": [{"provider": "openai", "model": "m"}], "breaker": {"failures": 2}}},
            "telemetry": {"metrics": {"address": None}},
        }
        with running(config, tmp_path, gateway=False) as stack:
            pid = stack.service.process.pid
            async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
                stub: Any = ChatServiceStub(channel)
                await stub.CreateChatCompletion(_request())
                streams = [stub.StreamChatCompletion(_request("say:1000:100:held"))]
                await streams[0].read()
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 3,) * 2)
                streams += [stub.StreamChatCompletion(_request(f"say:1000:100:more{number}")) for number in range(12)]
                ends = await asyncio.gather(*(_beginning(stream) for stream in streams[1:]))
                failures = [end for end in ends if end is not None]
                assert len(failures) >= 6, "it had descriptors enough"
                for error in failures:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    assert "this replica has too many connections" in (error.details() or "").lower()
                for stream in streams:
                    stream.cancel()
                await stub.CreateChatCompletion(_request())  # the circuit is closed


async def _beginning(stream: Any) -> grpc.aio.AioRpcError | None:
    try:
        await stream.read()
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_a_connection_that_is_too_old_is_replaced_without_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    age = "grpc.max_connection_age_ms"
    monkeypatch.setattr(server, "_OPTIONS", [*(each for each in server._OPTIONS if each[0] != age), (age, AGE_MS)])
    texts = [f"{number} " for number in range(20)]

    async def chunks(_request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk]:
        for text in texts:
            await asyncio.sleep(AGE_MS / 4000)
            chunk = ChatCompletionChunk()
            choice = chunk.choices.add()
            choice.delta.content = text
            choice.finish_reason.string_value = "stop" if text is texts[-1] else ""
            yield chunk

    provider = FakeProvider(lambda _request: ChatCompletion(), chunks)
    async with in_process({"m": provider}) as parts, grpc.aio.insecure_channel(parts.address) as channel:
        stub: Any = ChatServiceStub(channel)
        reading = asyncio.create_task(_read(stub.StreamChatCompletion(_request())))
        end, ports = time.monotonic() + 4 * AGE_MS / 1000, set[int]()
        while time.monotonic() < end:
            await stub.CreateChatCompletion(_request())
            ports |= _ports_of_callers(parts.address)
        text = await reading

    assert text == "".join(texts)
    assert len(ports) > 2


def _ports_of_callers(address: str) -> set[int]:
    port = int(address.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return {each.raddr.port for each in found if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED}


async def _read(stream: Any) -> str:
    return "".join([choice.delta.content async for chunk in stream for choice in chunk.choices])
