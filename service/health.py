"""The health service: the overall name, and one per service.

The overall name tells whether calls should be sent to this replica, which no failure of a provider changes: another
replica asks the same providers, and a gateway that sends no calls here could not tell callers why. Whether a
conversation can be answered at all, ChatService's name tells. `liveness` is SERVING as long as the process can answer:
whoever restarts what is broken must not do so while an embedded model loads, or running calls finish.

grpcio's own servicer writes to watchers while it holds the lock that a change of state needs: one
watcher that reads nothing would freeze the state for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service._gen.parley.v1 import chat_service_pb2, model_service_pb2, session_service_pb2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


OVERALL: Final = health.OVERALL_HEALTH
CHAT_SERVICE: Final = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
MODEL_SERVICE: Final = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
SESSION_SERVICE: Final = session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name
SERVICES: Final = (CHAT_SERVICE, MODEL_SERVICE, SESSION_SERVICE)
LIVENESS: Final = "liveness"


class Health(health_pb2_grpc.HealthServicer):
    """Tells whether calls can be answered. NOT_SERVING until told otherwise, `liveness` aside."""

    def __init__(self) -> None:
        # The values are of an enum that the stubs do not name.
        self._states: dict[str, Any] = {**dict.fromkeys((OVERALL, *SERVICES), NOT_SERVING), LIVENESS: SERVING}
        self._is_final = False
        self._changed = asyncio.Event()

    def set_serving(self, *, takes_calls: bool, answers_chats: bool) -> None:
        """Set the states: of this replica, and of conversations; of no effect after `shut_down`."""
        if not self._is_final:
            others = dict.fromkeys((OVERALL, MODEL_SERVICE, SESSION_SERVICE), takes_calls)
            self._set({**others, CHAT_SERVICE: answers_chats})

    @property
    def takes_calls(self) -> bool:
        """Whether calls should be sent to this replica."""
        return bool(self._states[OVERALL] == SERVING)

    def shut_down(self) -> None:
        """Set NOT_SERVING for good, `liveness` aside."""
        self._is_final = True
        self._set(dict.fromkeys((OVERALL, *SERVICES), False))
        self._changed.set()

    def _set(self, are_serving: Mapping[str, bool]) -> None:
        told = {name: SERVING if is_serving else NOT_SERVING for name, is_serving in are_serving.items()}
        states = {**self._states, **told}
        if states != self._states:
            self._states = states
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802 - gRPC's name
        """The state of a name; NOT_FOUND for one that is none."""
        if request.service not in self._states:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service here.")
        return HealthCheckResponse(status=self._states[request.service])

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802 - gRPC's name
        """The state of a name, now and whenever it changes; SERVICE_UNKNOWN for a name that is none.

        It ends after `shut_down`, so that no watcher holds the end of the process back.
        """
        told = None
        while True:
            changed, is_final = self._changed, self._is_final
            state = self._states.get(request.service, _UNKNOWN)
            if state != told:
                await context.write(HealthCheckResponse(status=state))
                told = state
            if is_final:
                return
            await changed.wait()
