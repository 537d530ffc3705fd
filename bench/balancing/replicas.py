"""Replicas that only hold calls open: what they were given, and when."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from bench.balancing.clock import Clock
from bench.balancing.policies import REPORT_PERIOD_S, Policy
from bench.balancing.reports import METHOD, SERVICE, TRAILER, Rate, Telling, report

REPLICA: Final = "bench.Replica"
_ORDER: Final = struct.Struct("<dd")
Context = grpc.aio.ServicerContext[bytes, bytes]
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[bytes, bytes]]"


def order(lifetime_s: float, events_per_s: float) -> bytes:
    """A request."""
    return _ORDER.pack(lifetime_s, events_per_s)


@dataclass
class Held:
    """A call at a replica."""

    came_s: float
    events_per_s: float
    began_s: float | None = None
    """When it had a slot; None: it never had."""
    ended_s: float | None = None
    has_failed: bool = False


@dataclass
class Replica:
    """One of them; `slots` is None where it serves all calls at once."""

    clock: Clock
    policy: Policy
    slowness: float = 1.0
    slots: asyncio.Semaphore | None = None
    fails_from_s: float | None = None
    """From when on every call fails at once, while the health check passes."""
    held: list[Held] = field(default_factory=list)
    port: int = 0
    _open: int = 0
    _rate: Rate = field(default_factory=Rate)
    _failures: Rate = field(default_factory=Rate)
    _health: HealthServicer = field(default_factory=HealthServicer)

    @asynccontextmanager
    async def serving(self, *, healthy: bool) -> AsyncIterator[None]:
        """It, at a port of its own."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers: Handlers = {
            "Call": grpc.unary_unary_rpc_method_handler(self._call),
            "Stream": grpc.unary_stream_rpc_method_handler(self._stream),
        }
        telling: Handlers = {METHOD: grpc.unary_stream_rpc_method_handler(self._tell)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(REPLICA, handlers),))
        if self.policy.by_stream:
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, telling),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        await self.set_health(healthy=healthy)
        self.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def set_health(self, *, healthy: bool) -> None:
        """What the gateways' health checks find."""
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if healthy else status.NOT_SERVING)

    async def _call(self, request: bytes, context: Context) -> bytes:
        await self._hold(request, context)
        return b""

    async def _stream(self, request: bytes, context: Context) -> None:
        await self._hold(request, context)
        await context.write(b"")

    async def _hold(self, request: bytes, context: Context) -> None:
        lifetime_s, events_per_s = _ORDER.unpack(request)
        now_s = self.clock.now_s()
        held = Held(now_s, events_per_s)
        self.held.append(held)
        self._rate.count(now_s)
        if self.fails_from_s is not None and now_s >= self.fails_from_s:
            held.ended_s, held.has_failed = now_s, True
            self._failures.count(now_s)
            self._tell_in_trailers(context)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "failing")
        self._open += 1
        try:
            if self.slots is None:
                await self._serve(held, lifetime_s)
            else:
                async with self.slots:
                    await self._serve(held, lifetime_s)
        finally:
            self._open -= 1
            held.ended_s = self.clock.now_s()
        self._tell_in_trailers(context)

    def _tell_in_trailers(self, context: Context) -> None:
        if self.policy.telling is not Telling.NOTHING and not self.policy.by_stream:
            context.set_trailing_metadata(((TRAILER, self._report()),))

    async def _serve(self, held: Held, lifetime_s: float) -> None:
        held.began_s = self.clock.now_s()
        await self.clock.sleep(lifetime_s * self.slowness)

    async def _tell(self, request: bytes, context: Any) -> None:
        """Out of band; the period that is asked for is known."""
        del request
        while True:
            await context.write(self._report())
            await self.clock.sleep(REPORT_PERIOD_S)

    def _report(self) -> bytes:
        now_s = self.clock.now_s()
        calls_per_s = self._rate.per_s(now_s)
        failing = self._failures.per_s(now_s) / calls_per_s if calls_per_s > 0 else 0.0
        return report(self.policy.telling, self._open, calls_per_s, failing)
