"""Envoy's own refusals in OpenAI's form of an error."""

from __future__ import annotations

from dataclasses import dataclass

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    HeaderFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.names import GRPC_CONTENT_TYPE, QUERY_STATUS

ENVOYS_TEXT = "%LOCAL_REPLY_BODY%"
OVERLOADED = "gateway_overloaded"
SERVICE_UNAVAILABLE = "The service is not available; try again later."
INVALID, SERVER = "invalid_request_error", "server_error"


@dataclass(frozen=True)
class Refusal:
    """How a status that Envoy answers with is told."""

    status: int
    type: str
    code: str
    message: str
    shown_status: int | None = None


def _refusals(max_body_mib: int) -> list[Refusal]:
    """Fixed texts, except where Envoy's own names what is wrong with the body or the URL."""
    return [
        Refusal(QUERY_STATUS, INVALID, "unknown_parameter", ENVOYS_TEXT, shown_status=400),
        # Of the transcoder; the Lua filter takes out what it quotes of the body, and fills `param`.
        Refusal(400, INVALID, "invalid_request_body", ENVOYS_TEXT),
        Refusal(404, INVALID, "unknown_url", ENVOYS_TEXT),
        Refusal(405, INVALID, "method_not_supported", ENVOYS_TEXT),
        Refusal(408, INVALID, "request_timeout", "The request did not arrive in time."),
        Refusal(413, INVALID, "request_too_large", f"The request body is larger than {max_body_mib} MiB."),
        Refusal(415, INVALID, "unsupported_media_type", ENVOYS_TEXT),
        Refusal(429, "rate_limit_error", "rate_limit_exceeded", "Too many requests; try again later."),
        Refusal(431, INVALID, "request_headers_too_large", "The request's headers are too large."),
        Refusal(500, SERVER, "internal_error", "The gateway failed to answer the request."),
        # Of the HTTP/1 parser, for any but "chunked": the caller's fault, and none that passes.
        Refusal(
            501,
            INVALID,
            "unsupported_transfer_encoding",
            "Unsupported transfer-encoding: expected chunked.",
            shown_status=400,
        ),
        Refusal(504, SERVER, "timeout", "The service did not answer in time."),
    ]


def build_local_reply(max_body_mib: int) -> LocalReplyConfig:
    """The form of every answer that Envoy makes itself.

    gRPC and gRPC-Web calls come first: there Envoy's text is the message of the status. The
    transcoder gives REST requests the content-type of gRPC, and this header, which clients can't
    send (it begins with x-envoy-).
    """
    is_grpc = _header_filter(
        HeaderMatcher(name="content-type", string_match=StringMatcher(safe_regex=RegexMatcher(regex=GRPC_CONTENT_TYPE)))
    )
    not_transcoded = _header_filter(HeaderMatcher(name="x-envoy-original-path", present_match=True, invert_match=True))
    plain = SubstitutionFormatString(text_format_source=DataSource(inline_string=ENVOYS_TEXT))
    grpc = ResponseMapper(
        filter=AccessLogFilter(and_filter=AndFilter(filters=[is_grpc, not_transcoded])), body_format_override=plain
    )
    # /healthz and /readyz are answered by a filter, too.
    fine = ResponseMapper(filter=_status_filter(ComparisonFilterOp.LE, 399), body_format_override=plain)
    mappers = [grpc, fine, *_full(), *(_mapper(refusal) for refusal in _refusals(max_body_mib))]
    server_side = ResponseMapper(
        filter=_status_filter(ComparisonFilterOp.GE, 500),
        body_format_override=_envelope(SERVER, "service_unavailable", "The gateway can't answer the request."),
    )
    return LocalReplyConfig(
        mappers=[*mappers, server_side],
        body_format=_envelope(INVALID, "invalid_request", "The request can't be answered."),
    )


def _mapper(refusal: Refusal) -> ResponseMapper:
    return ResponseMapper(
        filter=_status_filter(ComparisonFilterOp.EQ, refusal.status),
        status_code=refusal.shown_status,
        body_format_override=_envelope(refusal.type, refusal.code, refusal.message),
    )


def _full() -> list[ResponseMapper]:
    """Where there is no room for another call: the cluster's limit of calls, and the overload manager.

    The latter has no flag of the access log, as every other 503 has; what it cuts off while it sends, Envoy answers with
    a 500.
    """
    any_503 = _status_filter(ComparisonFilterOp.EQ, 503)
    has_flag = AccessLogFilter(response_flag_filter=ResponseFlagFilter())
    cut_off = _expression_filter('response.code_details == "overload"')
    service = _envelope(SERVER, "service_unavailable", SERVICE_UNAVAILABLE)
    too_many = _envelope(SERVER, OVERLOADED, "The gateway has too many open calls; try again later.")
    short = _envelope(SERVER, OVERLOADED, "The gateway is short of memory; try again later.")
    return [
        ResponseMapper(
            filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["UO"])), body_format_override=too_many
        ),
        ResponseMapper(
            filter=AccessLogFilter(and_filter=AndFilter(filters=[any_503, has_flag])), body_format_override=service
        ),
        ResponseMapper(filter=any_503, body_format_override=short),
        ResponseMapper(filter=cut_off, status_code=503, body_format_override=short),
    ]


def _header_filter(matcher: HeaderMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def _expression_filter(expression: str) -> AccessLogFilter:
    cel = Any.pack(ExpressionFilter(expression=expression))
    return AccessLogFilter(
        extension_filter=ExtensionFilter(name="envoy.access_loggers.extension_filters.cel", typed_config=cel)
    )


def _status_filter(operator: ComparisonFilterOp, status: int) -> AccessLogFilter:
    # The runtime key can't be left out; nothing sets it.
    value = RuntimeUInt32(default_value=status, runtime_key=f"parley.local_reply.{status}")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=operator, value=value)))


def _envelope(error_type: str, code: str, message: str) -> SubstitutionFormatString:
    error = {"message": message, "type": error_type, "param": None, "code": code}
    return SubstitutionFormatString(json_format=Struct.from_dict({"error": error}))
