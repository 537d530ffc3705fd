"""How errors look to callers: the one table, and what is built from it.

gRPC callers get a google.rpc.Status with ErrorInfo, and BadRequest and RetryInfo where they fit.
REST clients get it as the gateway reads it from trailing metadata: `x-error-type`, `x-error-code`,
`x-error-param`, and `x-error-status` where the HTTP status is not the one that Envoy derives from
the gRPC code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, Value
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk, ErrorBody
from service.errors import ParleyError, Reason

DOMAIN: Final = "parley"
Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """How a reason looks on both faces."""

    code: grpc.StatusCode
    http_status: int
    type: str
    """OpenAI's `error.type`."""
    error_code: str
    """OpenAI's `error.code`."""
    should_retry: bool | None = None
    """What OpenAI's SDKs are told (`x-should-retry`); None leaves it to them: they retry 408, 409, 429 and 5xx."""


_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_REQUEST = "invalid_request_error"
_SERVER = "server_error"

TABLE: Final[dict[Reason, Row]] = {
    Reason.PARAMETER_INVALID: Row(_INVALID, 400, _REQUEST, "invalid_value"),
    Reason.PARAMETER_MISSING: Row(_INVALID, 400, _REQUEST, "missing_required_parameter"),
    Reason.PARAMETER_UNSUPPORTED: Row(_INVALID, 400, _REQUEST, "unsupported_parameter"),
    Reason.REQUEST_UNDECODABLE: Row(_INVALID, 400, _REQUEST, "invalid_request_body"),
    Reason.API_KEY_INVALID: Row(grpc.StatusCode.UNAUTHENTICATED, 401, _REQUEST, "invalid_api_key"),
    Reason.MODEL_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "model_not_found"),
    Reason.UPSTREAM_REJECTED: Row(_INVALID, 400, _REQUEST, "upstream_rejected"),
    Reason.CONTEXT_LENGTH_EXCEEDED: Row(_INVALID, 400, _REQUEST, "context_length_exceeded"),
    Reason.CONTENT_FILTERED: Row(_INVALID, 400, _REQUEST, "content_filter"),
    Reason.UPSTREAM_AUTH_FAILED: Row(
        grpc.StatusCode.INTERNAL, 502, _SERVER, "upstream_auth_failed", should_retry=False
    ),
    Reason.UPSTREAM_MODEL_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "model_not_found"),
    Reason.UPSTREAM_RATE_LIMITED: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "rate_limit_exceeded"
    ),
    Reason.UPSTREAM_QUOTA_EXHAUSTED: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "insufficient_quota", "insufficient_quota", should_retry=False
    ),
    Reason.UPSTREAM_UNAVAILABLE: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "upstream_unavailable"),
    Reason.UPSTREAM_TIMEOUT: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, _SERVER, "upstream_timeout"),
    Reason.UPSTREAM_MALFORMED: Row(grpc.StatusCode.INTERNAL, 502, _SERVER, "upstream_malformed"),
    Reason.UPSTREAM_INTERRUPTED: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "upstream_interrupted"),
    Reason.DEADLINE_EXCEEDED: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, _SERVER, "deadline_exceeded"),
    Reason.SHUTTING_DOWN: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "shutting_down"),
    Reason.INTERNAL: Row(grpc.StatusCode.INTERNAL, 500, _SERVER, "internal_error"),
    Reason.MAX_TTFT_EXCEEDED: Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, _SERVER, "max_ttft_exceeded"),
    Reason.CONCURRENCY_EXHAUSTED: Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "concurrency_exhausted"
    ),
    Reason.CIRCUIT_OPEN: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "circuit_open"),
    Reason.COMPLETION_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "completion_not_found"),
    Reason.SESSION_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "session_not_found"),
    Reason.CAMPAIGN_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "campaign_not_found"),
    Reason.TOOL_NOT_FOUND: Row(grpc.StatusCode.NOT_FOUND, 404, _REQUEST, "tool_not_found"),
    Reason.STORAGE_UNAVAILABLE: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "storage_unavailable"),
    Reason.TOOL_SERVER_UNAVAILABLE: Row(grpc.StatusCode.UNAVAILABLE, 503, _SERVER, "tool_server_unavailable"),
    Reason.TOOL_TURNS_EXCEEDED: Row(grpc.StatusCode.INTERNAL, 502, _SERVER, "tool_turns_exceeded", should_retry=False),
    Reason.SYSTEM_PROMPT_FAILED: Row(_INVALID, 400, _REQUEST, "system_prompt_failed"),
}

ENVOY_HTTP_STATUS: Final[dict[grpc.StatusCode, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""What Envoy's transcoder makes of the codes in use.

Source: grpc_json_transcoder's `convert_grpc_status`, by google/rpc/code.proto (Envoy 1.40, run here).
"""

_ANOTHER_REPLICA_S: Final = 1.0
"""By then a balancer has seen that this replica is not serving."""
_BAD_REQUEST = {Reason.PARAMETER_INVALID, Reason.PARAMETER_MISSING, Reason.PARAMETER_UNSUPPORTED}


def trailing_metadata(error: ParleyError) -> Metadata:
    """All that callers learn of an error besides code and message."""
    row = TABLE[error.reason]
    metadata: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", _status(error, row).SerializeToString()),
        ("x-error-type", row.type),
        ("x-error-code", row.error_code),
    ]
    if error.param is not None:
        metadata.append(("x-error-param", header_value(error.param)))
    if row.http_status != ENVOY_HTTP_STATUS[row.code]:
        metadata.append(("x-error-status", str(row.http_status)))
    if row.should_retry is not None:
        metadata.append(("x-should-retry", "true" if row.should_retry else "false"))
    if (seconds := _retry_after_s(error)) is not None:
        metadata.append(("retry-after", str(math.ceil(seconds))))
        metadata.append(("retry-after-ms", str(_milliseconds(seconds))))
    return tuple(metadata)


def error_chunk(error: ParleyError) -> ChatCompletionChunk:
    """The last chunk of a REST stream that fails after it has begun."""
    row = TABLE[error.reason]
    param = Value(null_value=NULL_VALUE) if error.param is None else Value(string_value=error.param)
    body = ErrorBody(message=error.message, type=row.type, param=param, code=Value(string_value=row.error_code))
    return ChatCompletionChunk(error=body)


def _status(error: ParleyError, row: Row) -> Status:
    metadata = dict(error.metadata)
    if error.param is not None:
        metadata["param"] = error.param
    details: list[Message] = [ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata)]
    if error.reason in _BAD_REQUEST and error.param is not None:
        violation = BadRequest.FieldViolation(field=error.param, description=error.message)
        details.append(BadRequest(field_violations=[violation]))
    if (seconds := _retry_after_s(error)) is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(_milliseconds(seconds))
        details.append(retry)
    return Status(code=row.code.value[0], message=error.message, details=[_packed(detail) for detail in details])


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _retry_after_s(error: ParleyError) -> float | None:
    if error.reason is Reason.SHUTTING_DOWN:
        return _ANOTHER_REPLICA_S
    return error.retry_after_s


def _milliseconds(seconds: float) -> int:
    """Rounded up, but not for what binary fractions add."""
    return math.ceil(round(seconds * 1000, 3))


def header_value(text: str) -> str:
    """`text` as metadata can carry it: printable ASCII; anything else becomes `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)
