"""The health service: the overall name and one per service, all with the same state.

grpcio's own servicer writes to watchers while it holds the lock that a change of state needs: one
watcher that reads nothing would freeze the state for everybody.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """Tells whether calls can be answered. NOT_SERVING until told otherwise."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = frozenset(names)
        self._state: Any = NOT_SERVING  # a value of an enum that the stubs do not name
        self._is_final = False
        self._changed = asyncio.Event()

    def set_serving(self, *, is_serving: bool) -> None:
        """Set the state of all names; of no effect after `shut_down`."""
        state = SERVING if is_serving else NOT_SERVING
        if state == self._state or self._is_final:
            return
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def shut_down(self) -> None:
        """Set NOT_SERVING for good."""
        self._is_final = True
        self._state = NOT_SERVING
        self._changed.set()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802 - gRPC's name
        """The state of a name; NOT_FOUND for one that is none."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service here.")
        return HealthCheckResponse(status=self._state)

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802 - gRPC's name
        """The state of a name, now and whenever it changes; SERVICE_UNKNOWN for a name that is none.

        It ends after `shut_down`, so that no watcher holds the end of the process back.
        """
        is_known = request.service in self._names
        while True:
            changed, is_final = self._changed, self._is_final
            await context.write(HealthCheckResponse(status=self._state if is_known else _UNKNOWN))
            if is_final:
                return
            await changed.wait()
