"""A scripted gRPC service behind the gateway, and Envoy in front of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service._gen.parley.v1 import chat_completion_pb2, chat_service_pb2, model_service_pb2, session_service_pb2
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceServicer, add_ChatServiceServicer_to_server
from service._gen.parley.v1.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from service._gen.parley.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from tests.support.envoy import ROOT, start_envoy

PATIENCE_S = 60
MESSAGE_BYTES = 40 * 1024 * 1024

Context = aio.ServicerContext[Any, Any]
Unary = Callable[[chat_service_pb2.ChatCompletionRequest, Context], Awaitable[chat_completion_pb2.ChatCompletion]]
Stream = Callable[[chat_service_pb2.ChatCompletionRequest, Context], Awaitable[None]]
Answer = Callable[[Any, Context], Awaitable[Any]]
# What is answered to requests for what is stored, unless a test says otherwise.
STORED: dict[str, Message] = {
    "ListModels": model_service_pb2.ListModelsResponse(object="list"),
    "ListChatCompletions": chat_service_pb2.ListChatCompletionsResponse(object="list", has_more=False),
    "GetChatCompletion": chat_service_pb2.StoredChatCompletion(id="chatcmpl-1", object="chat.completion"),
    "ListChatCompletionMessages": chat_service_pb2.ListChatCompletionMessagesResponse(object="list", has_more=False),
    "UpdateChatCompletion": chat_service_pb2.StoredChatCompletion(id="chatcmpl-1", object="chat.completion"),
    "DeleteChatCompletion": chat_service_pb2.DeleteChatCompletionResponse(
        id="chatcmpl-1", object="chat.completion.deleted", deleted=True
    ),
    "ListSessions": session_service_pb2.ListSessionsResponse(object="list", has_more=False),
    "GetSession": session_service_pb2.Session(id="1", object="session"),
    "DeleteSession": session_service_pb2.DeleteSessionResponse(id="1", object="session.deleted", deleted=True),
}


class Scratch(ChatServiceServicer, ModelServiceServicer, SessionServiceServicer):
    """Does what a test tells it, and remembers what came."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.unary: Unary = self.echo
        self.stream: Stream = self.one_chunk
        self.stored: dict[str, Message | Answer] = dict(STORED)
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.method = ""
        self.model = ""

    async def echo(self, request: Any, context: Context) -> chat_completion_pb2.ChatCompletion:
        return chat_completion_pb2.ChatCompletion(id="echo", object="chat.completion", model=request.model)

    async def one_chunk(self, request: Any, context: Context) -> None:
        await context.write(chat_completion_pb2.ChatCompletionChunk(id="chunk"))
        if self.metadata.get("x-parley-sse"):
            await context.write(chat_completion_pb2.ChatCompletionChunk())

    def _note(self, method: str, context: Context) -> None:
        self.method = method
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}

    async def CreateChatCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note("CreateChatCompletion", context)
        self.requests.append(request)
        return await self.unary(request, context)

    async def StreamChatCompletion(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self._note("StreamChatCompletion", context)
        self.requests.append(request)
        await self.stream(request, context)

    async def _of_store(self, method: str, request: Any, context: Context) -> Any:
        self._note(method, context)
        self.requests.append(request)
        answer = self.stored[method]
        return await answer(request, context) if callable(answer) else answer

    async def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("ListModels", request, context)

    async def ListChatCompletions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("ListChatCompletions", request, context)

    async def GetChatCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("GetChatCompletion", request, context)

    async def ListChatCompletionMessages(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("ListChatCompletionMessages", request, context)

    async def UpdateChatCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("UpdateChatCompletion", request, context)

    async def DeleteChatCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("DeleteChatCompletion", request, context)

    async def ListSessions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("ListSessions", request, context)

    async def GetSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("GetSession", request, context)

    async def DeleteSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._of_store("DeleteSession", request, context)

    async def GetModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note("GetModel", context)
        self.model = request.model
        return model_service_pb2.Model(id=request.model, object="model", created=0)


@dataclass
class Service:
    """A running scratch service. `loop` is the loop of its thread."""

    script: Scratch
    address: str
    loop: asyncio.AbstractEventLoop
    health: health.aio.HealthServicer

    def set_serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        asyncio.run_coroutine_threadsafe(self.health.set("", status), self.loop).result(PATIENCE_S)


@contextmanager
def running_service(
    address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> Iterator[Service]:
    """A scratch service in a thread with an event loop of its own."""
    started: Future[tuple[Service, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(address, credentials, started)))
    thread.start()
    service, ended = started.result(PATIENCE_S)
    try:
        yield service
    finally:
        service.loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE_S)


async def _serve(
    address: str, credentials: grpc.ServerCredentials | None, started: Future[tuple[Service, asyncio.Event]]
) -> None:
    server = aio.server(
        options=[("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    )
    script, healthy, ended = Scratch(), health.aio.HealthServicer(), asyncio.Event()
    add_ChatServiceServicer_to_server(script, server)
    add_ModelServiceServicer_to_server(script, server)
    add_SessionServiceServicer_to_server(script, server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    started.set_result((Service(script, bound, asyncio.get_running_loop(), healthy), ended))
    await ended.wait()
    await server.stop(None)


@dataclass
class Gateway:
    """A running Envoy."""

    process: subprocess.Popen[bytes]
    admin: str
    address: str
    log_path: Path
    operations: str = ""

    def stat(self, name: str) -> int:
        """One of Envoy's numbers; 0 where it has none of that name yet."""
        text = httpx.get(f"http://{self.admin}/stats?filter=^{re.escape(name)}$").text
        return int(text.rpartition(": ")[2] or 0)

    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]


@contextmanager
def running_gateway(
    folder: Path, upstream: str, max_open_files: int | None = None, /, **environ: str
) -> Iterator[Gateway]:
    """`python -m gateway run` on ports of the system's choice."""
    admin_path, log_path = folder / "admin", folder / "envoy.log"
    settings = {
        "PARLEY_UPSTREAM_ADDRESS": upstream,
        "PARLEY_HTTP_ADDRESS": "127.0.0.1:0",
        "PARLEY_GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0",
        "PARLEY_ENVOY_ADMIN_ADDRESS_PATH": str(admin_path),
        **environ,
    }
    with log_path.open("wb") as log:
        environment = clean_environ(settings)
        if max_open_files is None:
            process = start_envoy(environment, stdout=log, stderr=log)
        else:
            limited = ["sh", "-c", f'ulimit -n {max_open_files}; exec "$@"', "sh"]
            command = [*limited, sys.executable, "-m", "gateway", "run"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: admin_path.exists() and ":" in admin_path.read_text(), process, log_path)
        admin = admin_path.read_text().strip()
        listeners: dict[str, str] = {}

        def is_listening() -> bool:
            listeners.update(_listeners(admin))
            return "http" in listeners and _takes_connections(listeners["http"])

        wait_until(is_listening, process, log_path)
        yield Gateway(process, admin, listeners["http"], log_path, listeners.get("operations", ""))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def _listeners(admin: str) -> dict[str, str]:
    """Envoy's addresses by the listeners' names, as far as it has them."""
    try:
        statuses = httpx.get(f"http://{admin}/listeners?format=json").json().get("listener_statuses", [])
    except httpx.ConnectError:  # its address is told a moment before it listens there
        return {}
    addresses = {status["name"]: status["local_address"]["socket_address"] for status in statuses}
    return {name: f"{address['address']}:{address['port_value']}" for name, address in addresses.items()}


def _takes_connections(address: str) -> bool:
    """Envoy tells of a listener a moment before its threads listen."""
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def clean_environ(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with no setting of Parley's but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return {**kept, **settings}


def wait_until(
    condition: Callable[[], bool],
    process: subprocess.Popen[bytes] | None = None,
    log_path: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Poll something outside of this process or in another thread, which can't be awaited."""
    end = time.monotonic() + patience_s
    while not condition():
        log = log_path.read_text() if log_path else ""
        assert process is None or process.poll() is None, f"Envoy ended: {log}"
        assert time.monotonic() < end, f"did not come true within {patience_s} s {log}"
        time.sleep(0.02)


def wait_until_ready(gateway: Gateway) -> None:
    wait_until(lambda: httpx.get(f"http://{gateway.address}/readyz").status_code == 200)
