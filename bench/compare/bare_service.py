"""Parley's parts without Parley: `python -m bench.compare.bare_service ADDRESS PROVIDER`.

grpc.aio and the HTTP client, set up as the service has them, and no step between that could be left out: a request's bytes
are not read, the provider is asked the same each time, and what the caller gets was made before. No key is looked at,
nothing is validated, routed, translated, limited, counted or logged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.compare.answers import CREATED, MODEL, TEXT
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service.grpc_wakeups import grpc_that_never_waits
from service.providers.transport import Timeouts, UpstreamRequest
from service.providers.transport_http1 import Http1Transport
from service.server import MAX_REQUEST_BYTES

_MOST_BYTES: Final = 2**20
_HEADERS: Final = {"authorization": "Bearer provider-key", "content-type": "application/json"}


def _answer() -> bytes:
    answer = ChatCompletion(id="chatcmpl-1", object="chat.completion", created=CREATED, model=MODEL)
    choice = answer.choices.add(index=0, finish_reason="stop")
    choice.message.role = "assistant"
    choice.message.content = TEXT
    return answer.SerializeToString()


async def _serve(address: str, provider: str) -> None:
    transport = Http1Transport(Timeouts())
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * 900}]}).encode()
    request = UpstreamRequest(url=f"http://{provider}/v1/chat/completions", body=body, headers=_HEADERS)
    answer = _answer()
    metadata = (("x-request-id", "bare"), ("x-parley-target", "mock/bare"), ("x-parley-attempts", "1"))

    async def complete(_requests: object, context: Any) -> bytes:
        await context.read()
        async with transport.send(request) as response:
            await response.read(_MOST_BYTES)
        await context.send_initial_metadata(metadata)
        return answer

    with grpc_that_never_waits():
        await _answer_calls(address, complete)


async def _answer_calls(address: str, complete: Any) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_REQUEST_BYTES)])
    handlers: dict[str, Any] = {"CreateChatCompletion": grpc.stream_unary_rpc_method_handler(complete)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("parley.v1.ChatService", handlers),))
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(address)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
