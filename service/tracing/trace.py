"""The trace of one call, and what is noted of each request to a provider for it.

No span is begun here, and so none can be left open: ids are given out in advance, and spans are made of what was
noted when the call has ended (`service/telemetry/traces.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.joining import Joining
from service.tracing.content import Asked, Bounded, answered, asked
from service.tracing.context import TraceContext, parent_header

Headers = tuple[tuple[str, str], ...]

_PARAMETERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "n": "gen_ai.request.choice.count",
}
"""Numbers alone: a text of a request, such as `stop`, may be a part of a prompt."""


class Tracing(Protocol):
    """Decides which calls are recorded."""

    def begin(self, parent: TraceContext | None) -> CallTrace:
        """The trace of a call that begins now.

        Args:
            parent: As its caller told it.
        """


class AttemptTrace:
    """What is noted of one request to a provider.

    Args:
        span_id: Of its span.
        headers: Tell the provider of the trace.
        is_recorded: Whether anything is noted.
        request: What is asked, where that is to be told as well.
    """

    __slots__ = ("_joining", "answer", "asked", "base_url", "finish_reasons", "headers", "is_recorded", "response_id",
        "span_id", "upstream_status", "usage")  # fmt: skip

    def __init__(
        self, span_id: str, headers: Headers, *, is_recorded: bool, request: ChatCompletionRequest | None = None
    ) -> None:
        self.span_id = span_id
        self.headers = headers
        self.is_recorded = is_recorded
        self.base_url = ""
        """Where the provider was asked."""
        self.upstream_status: str | None = None
        """The HTTP status of a refusal."""
        self.response_id = ""
        self.usage: Usage | None = None
        self.finish_reasons: dict[int, str] = {}
        """By index of the choice."""
        self.asked: Asked | None = None
        self.answer: ChatCompletion | None = None
        self._joining: Joining | None = None
        if request is not None:
            self.asked = asked(request.messages)
            self._joining = Joining()

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Note a piece of the answer."""
        if not self.is_recorded:
            return
        if not self.response_id:
            self.response_id = chunk.id
        for choice in chunk.choices:
            if reason := choice.finish_reason.string_value:
                self.finish_reasons[choice.index] = reason
        if chunk.HasField("usage"):
            self._take_usage(chunk.usage)
        if self._joining is not None:
            self._joining.take(chunk)

    def take_whole(self, completion: ChatCompletion) -> None:
        """Note an answer in one piece."""
        if not self.is_recorded:
            return
        self.response_id = completion.id
        self.finish_reasons = {choice.index: choice.finish_reason for choice in completion.choices}
        if completion.HasField("usage"):
            self._take_usage(completion.usage)
        if self._joining is not None:
            self.answer = ChatCompletion()
            self.answer.CopyFrom(completion)

    def answered(self) -> Bounded | None:
        """What has come of the answer, where that is to be told."""
        if self._joining is None:
            return None
        answer = self.answer if self.answer is not None else self._joining.completion()
        return answered(answer) if answer.choices else None

    def _take_usage(self, usage: Usage) -> None:
        self.usage = Usage()
        self.usage.CopyFrom(usage)


@dataclass(slots=True)
class CallTrace:
    """The trace of one call."""

    trace_id: str
    span_id: str
    """Of the call's own span."""
    parent: TraceContext | None
    is_recorded: bool
    to_providers: bool
    """Whether providers are told of the trace."""
    has_content: bool
    """Whether what is asked and answered is noted as well."""
    began_ns: int = field(default_factory=time.time_ns)
    """Since 1970."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Of the request, by the names of attributes."""
    _unrecorded: AttemptTrace | None = None

    def asks(self, request: ChatCompletionRequest) -> None:
        """Note what kind of answer is wanted."""
        if self.is_recorded:
            given = ((attribute, request.HasField(name), name) for name, attribute in _PARAMETERS.items())  # type: ignore[arg-type] # the stubs want literals
            self.parameters = {attribute: getattr(request, name) for attribute, is_given, name in given if is_given}

    def attempt(self, request: ChatCompletionRequest) -> AttemptTrace | None:
        """For a request to a provider that begins now; None where there is nothing to note and nothing to tell."""
        if self.is_recorded:
            span_id = new_span_id()
            return AttemptTrace(
                span_id,
                self._headers(span_id) if self.to_providers else (),
                is_recorded=True,
                request=request if self.has_content else None,
            )
        if not self.to_providers:
            return None
        if self._unrecorded is None:  # all of them are told the same
            self._unrecorded = AttemptTrace(self.span_id, self._headers(self.span_id), is_recorded=False)
        return self._unrecorded

    def _headers(self, span_id: str) -> Headers:
        parent = ("traceparent", parent_header(self.trace_id, span_id, is_sampled=self.is_recorded))
        state = self.parent.state if self.parent is not None else ""
        return (parent, ("tracestate", state)) if state else (parent,)


def new_trace_id() -> str:
    """32 hexadecimal digits, not all of them 0."""
    return f"{random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """16 hexadecimal digits, not all of them 0."""
    return f"{random.getrandbits(64) or 1:016x}"
