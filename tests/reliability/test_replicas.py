"""Two replicas of the service behind Envoy, one of which dies, or is told to end, under load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY, stack_config
from tests.support.json_form import to_proto
from tests.support.stack import Part, gateway_before, running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

METADATA = (("x-api-key", KEY),)
KINDS = [(face, stream) for face in ("rest", "grpc") for stream in (False, True)]
CALLS_PER_KIND = 55
PATIENCE_S = 60
"""Until every call has an end of some kind; they take four seconds where nothing is in the way."""
Ending = Literal["complete", "unavailable", "broken"]
"""Whole; refused as UNAVAILABLE or 503 before anything of the answer came; or visibly cut within the answer."""


@dataclass
class Replicas:
    """Processes of the service, and Envoy before them."""

    parts: list[Part]
    address: str


@contextmanager
def replicas(upstream: FakeUpstream, folder: Path) -> Iterator[Replicas]:
    config = stack_config(upstream, drain_notice_s=1.5)  # the default
    config["models"]["echo"]["retries"] = {"max_attempts": 1}  # so that a second request is Envoy's
    for name in ("a", "b", "gateway"):
        (folder / name).mkdir()
    with ExitStack() as stacks:
        started = [stacks.enter_context(running(config, folder / name, gateway=False)) for name in ("a", "b")]
        addresses = ",".join(stack.grpc_address for stack in started)
        address = stacks.enter_context(gateway_before(addresses, folder / "gateway"))
        yield Replicas([stack.service for stack in started], address)


class Caller:
    """Makes calls through Envoy, and tells how each one ended."""

    def __init__(self, client: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
        self._client = client
        self._stub = ChatServiceStub(channel)
        self.begun = 0
        """How many streams have begun to come."""

    async def call(self, face: str, *, stream: bool, user: str = "anyone") -> Ending:
        body = {"model": "echo", "stream": stream, "user": user, "messages": [{"role": "user", "content": "a b c"}]}
        if face == "rest":
            return await (self._rest_stream(body) if stream else self._rest(body))
        return await (self._grpc_stream(body) if stream else self._grpc(body))

    async def _rest(self, body: dict[str, Any]) -> Ending:
        response = await self._client.post("/v1/chat/completions", json=body)
        if response.status_code == 200:
            assert response.json()["choices"][0]["finish_reason"] == "stop"
            return "complete"
        return _told_by(response)

    async def _rest_stream(self, body: dict[str, Any]) -> Ending:
        text = ""
        try:
            async with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    return _told_by(response)
                async for piece in response.aiter_text():
                    self.begun += not text
                    text += piece
        except httpx.RemoteProtocolError:
            assert "[DONE]" not in text
            return "broken"
        assert text.endswith("data: [DONE]\n\n"), "a clean end without [DONE]"
        return "complete"

    async def _grpc(self, body: dict[str, Any]) -> Ending:
        try:
            await self._stub.CreateChatCompletion(to_proto(body), metadata=METADATA)
        except grpc.aio.AioRpcError as error:
            return _told_by_status(error, has_begun=False)
        return "complete"

    async def _grpc_stream(self, body: dict[str, Any]) -> Ending:
        has_begun = False
        try:
            async for _ in self._stub.StreamChatCompletion(to_proto(body), metadata=METADATA):
                self.begun += not has_begun
                has_begun = True
        except grpc.aio.AioRpcError as error:
            return _told_by_status(error, has_begun=has_begun)
        return "complete"


def _told_by(response: httpx.Response) -> Ending:
    assert response.status_code == 503, response.text
    assert response.json()["error"]["type"] == "server_error"
    return "unavailable"


def _told_by_status(error: grpc.aio.AioRpcError, *, has_begun: bool) -> Ending:
    # Envoy can but reset a stream that has begun, and gRPC makes INTERNAL of that.
    assert error.code() is (grpc.StatusCode.INTERNAL if has_begun else grpc.StatusCode.UNAVAILABLE), error
    return "broken" if has_begun else "unavailable"


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[Caller]:
    limits = httpx.Limits(max_connections=None)
    headers = {"x-api-key": KEY}
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", headers=headers, timeout=PATIENCE_S, limits=limits) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Caller(client, channel)


def _asked(scripts: list[Script]) -> int:
    return sum(script.began.is_set() for script in scripts)


def _script(*, stream: bool) -> Script:
    """Some seconds long, so that all calls are under way at once."""
    if not stream:
        return Script(body=completion(), delay_s=5)
    events = [chunk(delta={"role": "assistant", "content": ""}), *(chunk("a") for _ in range(10))]
    return Script(events=[*events, chunk(finish="stop"), usage_chunk()], gap_s=0.4)


async def test_a_killed_replica_loses_only_what_it_was_answering(upstream: FakeUpstream, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS for _ in range(CALLS_PER_KIND)]
    scripts = [_script(stream=stream) for _, stream in kinds]
    with ExitStack() as stack:
        for script in scripts:
            stack.enter_context(upstream.scripted(script))
        started = stack.enter_context(replicas(upstream, tmp_path))
        async with asyncio.timeout(PATIENCE_S), calling(started.address) as caller, asyncio.TaskGroup() as group:
            calls = [
                group.create_task(caller.call(face, stream=stream, user=script.user))
                for (face, stream), script in zip(kinds, scripts, strict=True)
            ]
            await asyncio.to_thread(wait_for, lambda: _asked(scripts) >= 200 and caller.begun >= 100, 20)
            victim = started.parts[0].process
            victim.kill()
            victim.wait()
            # Envoy's health checks need a second to find out.
            later = [group.create_task(caller.call(face, stream=stream)) for face, stream in KINDS * 20]
        assert Counter(call.result() for call in later) == {"complete": 80}

        endings = Counter((kind, call.result()) for kind, call in zip(kinds, calls, strict=True))
        assert {kind for kind, ending in endings if ending == "complete"} == set(KINDS)
        assert {kind for kind, ending in endings if ending == "unavailable"} >= {("rest", False), ("grpc", False)}
        assert {kind for kind, ending in endings if ending == "broken"} == {("rest", True), ("grpc", True)}
        assert max(len(script.received) for script in scripts) == 1, "Envoy sent a call twice"
        left = [script.left for script, call in zip(scripts, calls, strict=True) if call.result() != "complete"]
        wait_for(lambda: all(event.is_set() for event in left))


@pytest.mark.parametrize("long_calls", [20, 0])
async def test_a_replica_that_is_told_to_end_loses_nothing(
    upstream: FakeUpstream, tmp_path: Path, long_calls: int
) -> None:
    kinds = KINDS * (long_calls // len(KINDS))
    scripts = [_script(stream=stream) for _, stream in kinds]
    with ExitStack() as stack:
        for script in scripts:
            stack.enter_context(upstream.scripted(script))
        started = stack.enter_context(replicas(upstream, tmp_path))
        victim, over, endings = started.parts[0].process, asyncio.Event(), Counter[Ending]()

        async def call_on(face: str, *, stream: bool) -> None:
            while not over.is_set():
                endings[await caller.call(face, stream=stream)] += 1

        async with asyncio.timeout(PATIENCE_S), calling(started.address) as caller, asyncio.TaskGroup() as group:
            long = [
                group.create_task(caller.call(face, stream=stream, user=script.user))
                for (face, stream), script in zip(kinds, scripts, strict=True)
            ]
            for face, stream in KINDS * 5:
                group.create_task(call_on(face, stream=stream))
            await asyncio.to_thread(wait_for, lambda: _asked(scripts) == len(scripts) and endings["complete"] > 100, 20)
            victim.terminate()
            assert await asyncio.to_thread(victim.wait, 30) == 0
            count = endings["complete"]
            await asyncio.to_thread(wait_for, lambda: endings["complete"] > count + 100, 20)
            over.set()
        assert set(endings) == {"complete"}, endings
        assert [call.result() for call in long] == ["complete"] * len(long)
