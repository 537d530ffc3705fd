"""The service's own server in the test's event loop, in front of providers that the test writes."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service import config
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.health import Health
from service.providers.provider import Provider, ProviderCall
from service.routing import Model, Router, Target
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.models import ModelServicer
from service.server import HEALTH_NAMES, Server


@dataclass
class FakeProvider:
    """A provider that answers as the test says."""

    answer: Callable[[ChatCompletionRequest], ChatCompletion] | None = None
    chunks: Callable[[ChatCompletionRequest], AsyncGenerator[ChatCompletionChunk]] | None = None
    asked: list[ChatCompletionRequest] = field(default_factory=list)

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        self.asked.append(call.request)
        assert self.answer is not None
        return self.answer(call.request)

    def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        self.asked.append(call.request)
        assert self.chunks is not None
        return self.chunks(call.request)


@dataclass
class InProcess:
    """The running server."""

    address: str
    log: io.BytesIO
    in_flight: InFlight
    drain: Callable[[], Awaitable[None]]
    """What SIGTERM begins; done anyway at the block's end."""

    def calls(self) -> list[dict[str, Any]]:
        """The access log's lines."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def in_process(
    providers: Mapping[str, Provider],
    *,
    sse_keepalive_s: float = 15.0,
    server: config.Server | None = None,
    keys: Keys | None = None,
) -> AsyncIterator[InProcess]:
    """Serve models named like the providers, without keys unless given, until the block is left."""
    settings = server or config.Server(grpc_address="127.0.0.1:0", drain_grace_s=1.0)
    in_flight, health, log = InFlight(), Health(HEALTH_NAMES), io.BytesIO()
    router = Router({name: Model(name, Target(name, name), 0) for name in providers})
    running = Server(settings, Guard(keys or Keys([]), AccessLog(log), in_flight), in_flight, health)
    health.set_serving(is_serving=True)
    addresses = await running.start(ChatServicer(router, providers, sse_keepalive_s), ModelServicer(router))
    try:
        yield InProcess(addresses["grpc"], log, in_flight, running.drain)
    finally:
        await running.drain()
