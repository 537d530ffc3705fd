"""Makes the spans of a call that has ended, by OpenTelemetry's conventions for generative AI and for RPC.

Sources: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans and …/rpc/grpc (2026-11-22). Where they
have no name for something, it is `parley.…`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from service._gen.parley.v1.chat_completion_pb2 import Usage
from service.dispatch.call import Attempt, ToolRun
from service.rpc.call import Call
from service.telemetry.attempts import NO_FAULT
from service.tracing.content import Bounded
from service.tracing.context import TraceContext
from service.tracing.trace import AttemptTrace, CallTrace, new_span_id

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

_CHAT: Final = frozenset({"/parley.v1.ChatService/CreateChatCompletion", "/parley.v1.ChatService/StreamChatCompletion"})
_STREAMS: Final = "/parley.v1.ChatService/StreamChatCompletion"
_OURS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""With these a server's span is an error; others are the caller's own doing."""
_MOST_ID: Final = 128
"""Characters of an id that a provider chose; theirs have about 40."""
_PORTS: Final = {"http": 80, "https": 443}


class GivenIds(IdGenerator):
    """Gives spans the ids that were told to others before the spans were made. Of one thread."""

    def __init__(self) -> None:
        self.trace_id = ""
        self.span_id = ""

    def generate_trace_id(self) -> int:
        """The trace's; asked for only where nobody else has begun it."""
        return int(self.trace_id, 16)

    def generate_span_id(self) -> int:
        """The span's."""
        return int(self.span_id, 16)


class CallSpans:
    """Makes spans; to make one is to end it.

    Args:
        tracer: Takes them, all of them: what is to be recorded was decided as the call began.
        ids: The tracer's.
    """

    def __init__(self, tracer: Tracer, ids: GivenIds) -> None:
        self._tracer = tracer
        self._ids = ids

    def make(self, call: Call, trace: CallTrace, status: str, reason: str | None) -> None:
        """Make the spans of a call: its own, one for each request to a provider, one for each tool that ran."""
        ended = call.started if call.ended is None else call.ended
        clock = _Clock(trace.began_ns, call.started)
        self._ids.trace_id, self._ids.span_id = trace.trace_id, trace.span_id
        own = self._tracer.start_span(
            _name_of(call),
            context=_caller(trace.parent),
            kind=SpanKind.SERVER,
            attributes=dict(_of_call(call, trace, status, reason)),
            start_time=trace.began_ns,
        )
        if status in _OURS:
            own.set_status(Status(StatusCode.ERROR))
        frame = _Frame(set_span_in_context(own, Context()), clock, ended, trace.parameters, call.method == _STREAMS)
        for attempt in call.journal.attempts:
            if attempt.trace is not None:
                self._make_of_attempt(attempt, attempt.trace, frame)
        for run in call.journal.tools:
            self._make_of_tool(run, frame)
        own.end(clock.at(ended))

    def _make_of_attempt(self, attempt: Attempt, noted: AttemptTrace, frame: _Frame) -> None:
        self._ids.span_id = noted.span_id
        span = self._tracer.start_span(
            f"chat {attempt.target.model}",
            context=frame.within,
            kind=SpanKind.CLIENT,
            attributes=dict(_of_attempt(attempt, noted, frame)),
            start_time=frame.clock.at(attempt.started),
        )
        if attempt.outcome not in NO_FAULT:
            span.set_status(Status(StatusCode.ERROR))
        span.end(frame.clock.at(frame.ended if attempt.ended is None else attempt.ended))

    def _make_of_tool(self, run: ToolRun, frame: _Frame) -> None:
        self._ids.span_id = new_span_id()
        span = self._tracer.start_span(
            f"execute_tool {run.tool}",
            context=frame.within,
            kind=SpanKind.INTERNAL,
            attributes=dict(_of_tool(run)),
            start_time=frame.clock.at(run.started),
        )
        if run.status == "error":
            span.set_status(Status(StatusCode.ERROR))
        span.end(frame.clock.at(run.started + run.duration_s))


class _Clock:
    """From the clock of `time.monotonic` to nanoseconds since 1970."""

    __slots__ = ("_began", "_began_ns")

    def __init__(self, began_ns: int, began: float) -> None:
        self._began_ns = began_ns
        self._began = began

    def at(self, moment: float) -> int:
        return self._began_ns + round((moment - self._began) * 1e9)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the spans of a call share that belong to its own."""

    within: Context
    clock: _Clock
    ended: float
    """When the call had ended."""
    parameters: Mapping[str, float]
    is_stream: bool


def _caller(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    state = TraceState.from_header([parent.state]) if parent.state else None
    caller = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(1), trace_state=state
    )
    return set_span_in_context(NonRecordingSpan(caller), Context())


def _name_of(call: Call) -> str:
    if call.method not in _CHAT:
        return call.method.removeprefix("/")
    return "chat" if call.model is None else f"chat {call.model}"


def _of_call(call: Call, trace: CallTrace, status: str, reason: str | None) -> Iterator[tuple[str, Value]]:
    yield "rpc.system.name", "grpc"
    yield "rpc.method", call.method.removeprefix("/")
    yield "rpc.response.status_code", status
    yield "parley.request_id", call.request_id
    if status != "OK":
        yield "error.type", reason or status
    if call.key is not None:
        yield "parley.key", call.key.name
    if call.method not in _CHAT:
        return
    yield "gen_ai.operation.name", "chat"
    yield "gen_ai.request.stream", call.method == _STREAMS
    yield from trace.parameters.items()
    for name, text in (
        ("gen_ai.request.model", call.model),
        ("parley.project", call.project),
        ("parley.campaign", call.campaign),
        ("parley.arm", call.arm),
    ):
        if text is not None:
            yield name, text
    yield from _of_answer(call)


def _of_answer(call: Call) -> Iterator[tuple[str, Value]]:
    target = call.journal.target
    if target is not None:
        yield "gen_ai.provider.name", target.provider
        yield "gen_ai.response.model", target.model
        yield "parley.target", str(target)
    yield "parley.attempts", len(call.journal.attempts)
    if call.first_token is not None and call.method == _STREAMS and not _has_left_before(call, call.first_token):
        yield "gen_ai.response.time_to_first_chunk", call.first_token - call.started
    if call.finish_reason:
        yield "gen_ai.response.finish_reasons", call.finish_reason.split(",")
    if call.usage is not None:
        # Not under the conventions' names: a reader that sums them up over a trace would count all twice.
        yield from _of_usage(call.usage, "parley.usage")
        if call.usage.HasField("cost_usd"):
            yield "parley.cost_usd", call.usage.cost_usd
        if call.is_usage_estimated:
            yield "parley.usage.estimated", True
    if call.is_stored is not None:
        yield "parley.stored", str(call.is_stored).lower()
    if call.drain is not None:
        yield "parley.drained", True


def _has_left_before(call: Call, moment: float) -> bool:
    """Whether the caller was gone by then; the answer may have been read on."""
    return call.ended is not None and call.ended < moment


def _of_attempt(attempt: Attempt, noted: AttemptTrace, frame: _Frame) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", "chat"
    yield "gen_ai.provider.name", attempt.target.provider
    yield "gen_ai.request.model", attempt.target.model
    yield from frame.parameters.items()
    outcome = attempt.outcome or "CANCELLED"
    yield "parley.outcome", outcome
    if outcome not in NO_FAULT:
        yield "error.type", outcome
    if attempt.is_hedge:
        yield "parley.hedge", True
    yield "parley.waited_s", attempt.started - attempt.asked
    if attempt.first_token is not None and frame.is_stream:
        yield "gen_ai.response.time_to_first_chunk", attempt.first_token - attempt.started
    if noted.upstream_status is not None and noted.upstream_status.isdecimal():
        yield "http.response.status_code", int(noted.upstream_status)
    yield from _of_address(noted.base_url)
    if noted.response_id:
        yield "gen_ai.response.id", noted.response_id[:_MOST_ID]
    if noted.finish_reasons:
        yield "gen_ai.response.finish_reasons", [reason for _, reason in sorted(noted.finish_reasons.items())]
    if noted.usage is not None:
        yield from _of_usage(noted.usage, "gen_ai.usage")
    texts = {"gen_ai.output.messages": noted.answered()}
    if noted.asked is not None:
        texts["gen_ai.system_instructions"] = noted.asked.instructions
        texts["gen_ai.input.messages"] = noted.asked.messages
    yield from _of_content(texts)


def _of_tool(run: ToolRun) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", "execute_tool"
    yield "gen_ai.tool.name", run.tool
    yield "gen_ai.tool.type", "extension"
    yield "parley.tool.server", run.server
    yield "parley.outcome", run.status
    if run.status == "error":
        yield "error.type", "tool_error"
    yield from _of_content({"gen_ai.tool.call.arguments": run.arguments, "gen_ai.tool.call.result": run.result})


def _of_address(base_url: str) -> Iterator[tuple[str, Value]]:
    if not base_url:
        return
    url = urlsplit(base_url)
    if url.hostname:
        yield "server.address", url.hostname
        yield "server.port", url.port or _PORTS.get(url.scheme, 0)


def _of_usage(usage: Usage, prefix: str) -> Iterator[tuple[str, Value]]:
    yield f"{prefix}.input_tokens", usage.prompt_tokens
    yield f"{prefix}.output_tokens", usage.completion_tokens
    if cached := usage.prompt_tokens_details.cached_tokens:
        yield f"{prefix}.cache_read.input_tokens", cached
    if reasoning := usage.completion_tokens_details.reasoning_tokens:
        yield f"{prefix}.reasoning.output_tokens", reasoning


def _of_content(texts: Mapping[str, Bounded | None]) -> Iterator[tuple[str, Value]]:
    cut = []
    for name, bounded in texts.items():
        if bounded is not None:
            yield name, bounded.text
            if bounded.is_cut:
                cut.append(name)
    if cut:
        yield "parley.content.cut", cut
