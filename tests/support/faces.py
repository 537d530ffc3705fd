"""One request, asked of both faces, with answers in one form.

gRPC requests are made from the same JSON as REST's, by protobuf's own JSON reader, so that a case is
written once. `through` says which way a call goes: gRPC straight to the service, gRPC through
Envoy, or REST through Envoy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
import httpx
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.support.json_form import json_of, to_proto
from tests.support.stack import Stack

Face = Literal["grpc", "grpc-envoy", "rest"]
FACES: tuple[Face, ...] = ("grpc", "grpc-envoy", "rest")


@dataclass
class Failure:
    """What a failed call tells, the same on both faces."""

    http_status: int
    type: str | None
    code: str | None
    param: str | None
    message: str

    def identity(self) -> tuple[int, str | None, str | None, str | None, str]:
        return (self.http_status, self.type, self.code, self.param, self.message)


@dataclass
class Outcome:
    """What came of a call: an answer, or the chunks, or a failure after none or some of them."""

    answer: dict[str, Any] | None = None
    chunks: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None
    is_done: bool = False
    """REST: whether `[DONE]` came; gRPC: whether the status was OK."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Headers, or initial and trailing metadata."""

    def text(self) -> str:
        """The content of choice 0."""
        if self.answer is not None:
            return str(self.answer["choices"][0]["message"].get("content", ""))
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == 0]
        return "".join(delta.get("content") or "" for delta in deltas)


def ask(stack: Stack, face: Face, body: dict[str, Any], *, key: str | None = KEY) -> Outcome:
    """Ask for an answer, streamed where the body says `stream: true`."""
    if face == "rest":
        return _ask_rest(stack, body, key)
    with stack.channel(through_gateway=face == "grpc-envoy") as channel:
        return _ask_grpc(ChatServiceStub(channel), body, key)


def _ask_rest(stack: Stack, body: dict[str, Any], key: str | None) -> Outcome:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.stream("POST", f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=30) as response:
        text = response.read().decode()
    outcome = Outcome(metadata=dict(response.headers))
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/json"
        outcome.failure = _rest_failure(response.status_code, json.loads(text))
    elif response.headers["content-type"] == "text/event-stream":
        _read_events(text, outcome)
    else:
        assert response.headers["content-type"] == "application/json"
        outcome.answer = json.loads(text)
        outcome.is_done = True
    return outcome


def _read_events(text: str, outcome: Outcome) -> None:
    for event in text.split("\n\n")[:-1]:
        assert not outcome.is_done, "something follows [DONE]"
        if event.startswith(":"):
            continue
        assert event.startswith("data: "), event
        if event == "data: [DONE]":
            outcome.is_done = True
            continue
        value = json.loads(event.removeprefix("data: "))
        if "error" in value:
            assert list(value) == ["error"]
            outcome.failure = _rest_failure(200, value)
        else:
            assert outcome.failure is None, "something follows the error"
            outcome.chunks.append(value)


def _rest_failure(status: int, body: dict[str, Any]) -> Failure:
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return Failure(status, error["type"], error["code"], error["param"], error["message"])


def _ask_grpc(stub: ChatServiceStub, body: dict[str, Any], key: str | None) -> Outcome:
    request = to_proto(body)
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    outcome = Outcome()
    call: Any
    try:
        if body.get("stream"):
            call = stub.StreamChatCompletion(request, metadata=metadata, timeout=30)
            for chunk in call:
                outcome.chunks.append(json_of(chunk))
        else:
            answer, call = stub.CreateChatCompletion.with_call(request, metadata=metadata, timeout=30)
            outcome.answer = json_of(answer)
        outcome.is_done = True
        outcome.metadata = _metadata(call.initial_metadata(), call.trailing_metadata())
    except grpc.RpcError as caught:
        error: Any = caught  # the stubs don't say that it is a call, too
        outcome.failure = grpc_failure(error)
        outcome.metadata = _metadata(error.initial_metadata(), error.trailing_metadata())
    return outcome


def grpc_failure(error: Any) -> Failure:
    """What a gRPC error tells, with details and metadata checked against each other."""
    metadata = _metadata(error.trailing_metadata())
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert isinstance(raw, bytes), f"no details: {error}"
    status = Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info, violations = ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(violations)
    assert info.domain == "parley"
    param = info.metadata.get("param")
    if violations.field_violations:
        assert violations.field_violations[0].field == param
    http_status = int(metadata.get("x-error-status") or _HTTP[error.code()])
    return Failure(http_status, metadata["x-error-type"], metadata["x-error-code"], param, status.message)


_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def _metadata(*parts: Iterable[Any] | None) -> dict[str, str]:
    return {name: value for part in parts for name, value in part or () if isinstance(value, str)}
