"""What a call costs within the service, in instructions of the interpreter: by it a change that slows calls is seen.

Neither gRPC nor HTTP take part. The bounds are what was measured (3.11) and a tenth more: who makes a call dearer on purpose
raises them, and says why.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
import uvloop
from prometheus_client import CollectorRegistry

from service._gen.parley.v1 import chat_service_pb2_grpc
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.served import Current, Served
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.limits import Limits
from service.prompts.renderer import Renderer
from service.providers.http import HttpChatProvider
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import DIALECTS
from service.providers.transport import Timeouts, UpstreamRequest
from service.routing import Model, Target
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.leaving import Drains
from service.rpc.ordering import Ordering
from service.rpc.stored import StoredCompletions
from service.telemetry.calls import CallMetrics
from tests.support.opcodes import opcodes_of

KEY = "sk-parley-bench"
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "a-model-2026",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris.", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 24,
            "completion_tokens": 23,
            "total_tokens": 47,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
).encode()


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": "a-model-2026"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


class Exchange:
    """A provider's answer, that is there at once: a stream's events one by one."""

    status = 200

    def __init__(self, *, is_stream: bool, events: int) -> None:
        self._is_stream = is_stream
        self._events = events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def header(self, name: str) -> str | None:
        types = {False: "application/json", True: "text/event-stream"}
        return types[self._is_stream] if name == "content-type" else None

    async def read(self, _max_bytes: int) -> bytes:
        return ANSWER

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield event({"role": "assistant", "content": ""})
        piece = event({"content": "a word "})
        for _ in range(self._events):
            await asyncio.sleep(0)
            yield piece
        yield event({}, "stop")
        yield b"data: [DONE]\n\n"


class Transport:
    def __init__(self) -> None:
        self.events = 0

    def send(self, request: UpstreamRequest) -> Any:
        return Exchange(is_stream=b'"stream":true' in request.body, events=self.events)

    async def aclose(self) -> None:
        return


class Context:
    """What the service asks of gRPC, without it."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._done: list[Callable[[Any], object]] = []
        self.written = 0

    async def read(self) -> bytes:
        return self._request

    async def write(self, _message: object) -> None:
        self.written += 1

    async def send_initial_metadata(self, _pairs: object) -> None:
        return

    def set_trailing_metadata(self, _pairs: object) -> None:
        return

    def time_remaining(self) -> None:
        return None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._done.append(callback)

    def end(self) -> None:
        for callback in self._done:
            callback(self)


class Details:
    invocation_metadata = (("authorization", f"Bearer {KEY}"), ("user-agent", "tests"))

    def __init__(self, method: str) -> None:
        self.method = f"/parley.v1.ChatService/{method}"


class Handlers:
    """Takes the handlers that a server would get."""

    def __init__(self) -> None:
        self.by_method: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        return

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.by_method.update({f"/{service}/{name}": handler for name, handler in handlers.items()})


class Parts:
    """The service from its interceptor to its transport."""

    def __init__(self) -> None:
        self.transport = Transport()
        provider = HttpChatProvider(
            "p", lambda: ("http://provider/v1", {}), self.transport, openai_api(DIALECTS["openai"])
        )
        target, limits = Target("p", "a-model"), Limits()
        state = TargetState(
            target=target, provider=provider, limits=limits, timeouts=attempt_timeouts(limits, Timeouts())
        )
        served = Served({"m": Dispatcher(Model("m", (target,), 0, limits=limits), [state])})
        chat = ChatServicer(
            Current(served), Ordering(Renderer(), None), StoredCompletions(None), Drains(), sse_keepalive_s=15
        )
        handlers: Any = Handlers()
        chat_service_pb2_grpc.add_ChatServiceServicer_to_server(chat, handlers)
        self._handlers = handlers.by_method
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        metrics = CallMetrics(CollectorRegistry())
        self._guard = Guard(Keys([("key", digest)]), AccessLog(io.BytesIO()), InFlight(), [metrics])

    async def call(self, method: str, request: bytes) -> int:
        """How many messages came back."""

        async def found(details: grpc.HandlerCallDetails) -> Any:
            return self._handlers[details.method]

        details: Any = Details(method)
        handler: Any = await self._guard.intercept_service(found, details)
        context: Any = Context(request)
        if method == "CreateChatCompletion":
            assert b"Paris." in await handler.stream_unary(None, context)
            context.written = 1
        else:
            await handler.stream_stream(None, context)
        context.end()
        return int(context.written)


def request_of(messages: int) -> bytes:
    request = ChatCompletionRequest(model="m")
    for number in range(messages):
        message = request.messages.add(role="assistant" if number % 2 else "user")
        message.content.string_value = "What is the capital of France?"
    return request.SerializeToString()


def measured(work: Callable[[Parts], Awaitable[int]]) -> int:
    async def run() -> int:
        return await work(Parts())

    return uvloop.run(run())


async def of_a_call(parts: Parts, messages: int) -> int:
    request = request_of(messages)
    for _ in range(30):  # what is done once, and what only later calls do
        await asyncio.create_task(parts.call("CreateChatCompletion", request))

    async def work() -> None:
        for _ in range(10):
            await asyncio.create_task(parts.call("CreateChatCompletion", request))

    return await opcodes_of(work) // 10


async def of_an_event(parts: Parts, streams: int) -> int:
    """Of `streams` at once."""
    request = request_of(1)

    async def all_streams() -> None:
        counts = await asyncio.gather(*(parts.call("StreamChatCompletion", request) for _ in range(streams)))
        assert min(counts) > 2

    async def with_events(events: int) -> int:
        parts.transport.events = events
        return await opcodes_of(all_streams)

    await with_events(2)
    few = await with_events(10)
    return (await with_events(20) - few) // (10 * streams)


MOST_OF_A_CALL = 5_700
MOST_OF_AN_EVENT = 1_050
MOST_TIMES_WITH_STREAMS = 1.1


def test_a_call_takes_no_more_instructions_than_it_did() -> None:
    assert measured(partial(of_a_call, messages=1)) < MOST_OF_A_CALL


def test_a_conversation_ten_times_as_long_takes_at_most_ten_times_as_many() -> None:
    short, long = (measured(partial(of_a_call, messages=count)) for count in (20, 200))
    assert long <= 10 * short


def test_an_event_takes_no_more_than_it_did_and_hardly_more_beside_many_streams() -> None:
    alone, beside = (measured(partial(of_an_event, streams=count)) for count in (1, 100))
    assert alone < MOST_OF_AN_EVENT
    assert beside <= MOST_TIMES_WITH_STREAMS * alone


def test_the_count_sees_what_is_added() -> None:
    async def nothing() -> None:
        return

    async def something() -> None:
        textwrap.dedent("a\n" * 1000)

    assert uvloop.run(opcodes_of(something)) > uvloop.run(opcodes_of(nothing)) + 50
