"""The service with all calls traced, before the scripted provider and a receiver of OTLP."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY, ONCE, stack_config
from tests.support.json_form import to_proto
from tests.support.otlp import ReceivedSpan, Receiver
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"


@dataclass
class Caller:
    """A caller who has begun a trace."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a call."""
        return (("x-api-key", KEY), ("traceparent", self.traceparent))


@dataclass
class Traced:
    """The parts."""

    stack: Stack
    receiver: Receiver
    upstream: FakeUpstream

    def complete(self, caller: Caller, **fields: Any) -> ChatCompletion:
        """An answer in one piece."""
        with self.stack.channel() as channel:
            return ChatServiceStub(channel).CreateChatCompletion(body_of(**fields), metadata=caller.metadata)

    def stream(self, caller: Caller, **fields: Any) -> list[ChatCompletionChunk]:
        """All pieces of an answer."""
        with self.stack.channel() as channel:
            return list(ChatServiceStub(channel).StreamChatCompletion(body_of(**fields), metadata=caller.metadata))

    def failed(self, caller: Caller, *, stream: bool = False, **fields: Any) -> grpc.StatusCode:
        """With what status a call fails."""
        try:
            (self.stream if stream else self.complete)(caller, **fields)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        raise AssertionError("the call has not failed")

    def trace(self, caller: Caller, attempts: int, more: int = 0) -> tuple[ReceivedSpan, list[ReceivedSpan]]:
        """The call's own span, and those of its attempts; checks that they hang together.

        Args:
            caller: Of the call.
            attempts: How many there are to be.
            more: Further spans that there are.
        """
        spans = self.receiver.trace(caller.trace_id, 1 + attempts + more)
        (own,) = [span for span in spans if span.kind == "SERVER"]
        asked = [span for span in spans if span.kind == "CLIENT"]
        assert own.parent_id == caller.span_id
        assert len(spans) == 1 + attempts + more
        assert len(asked) == attempts
        assert all(span.parent_id == own.span_id for span in spans if span is not own)
        return own, asked


def body_of(**fields: Any) -> Any:
    """A request."""
    return to_proto({"model": "echo", "messages": [{"role": "user", "content": "Hello there"}], **fields})


def traced_config(upstream: FakeUpstream, receiver: Receiver, folder: Path, **traces: Any) -> dict[str, Any]:
    """A configuration with models for whatever may become of a call, and a project with tools."""
    config = stack_config(upstream)
    scripted = [{"provider": "scripted", "model": name} for name in ("first", "second")]
    config["models"] |= {
        "hedged": {"targets": scripted, **ONCE, "hedge": {"after_s": 0.1, "budget": 1}},
        "read-on": {**config["models"]["echo"], "on_disconnect": "drain"},
    }
    command = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal")]
    config["projects"] = {
        "shop": {"default_model": "own", "models": {"own": "echo"}, "tools": {"shop": {"command": command}}}
    }
    config["telemetry"] = {
        "service_name": "parley-under-test",
        "otlp": {"endpoint": receiver.endpoint},
        "traces": {"sample_ratio": 1, **traces},
    }
    return config


@contextmanager
def traced(
    upstream: FakeUpstream, receiver: Receiver, folder: Path, *, gateway: bool = False, **traces: Any
) -> Iterator[Traced]:
    """Run the service until the block is left; `traces` are of the section `telemetry.traces`."""
    with running(traced_config(upstream, receiver, folder, **traces), folder, gateway=gateway) as stack:
        yield Traced(stack, receiver, upstream)
