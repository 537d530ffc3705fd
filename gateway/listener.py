"""The listener for clients: HTTP/1.1 and HTTP/2 on one port, with or without TLS."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    SubstitutionFormatString,
    TcpKeepalive,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.cluster import KEEPALIVE, WINDOW_BYTES, envoy_address
from gateway.config import Config
from gateway.filters import build_filters
from gateway.local_reply import build_local_reply
from gateway.names import INTERNAL_PREFIXES, NO_METADATA_KEY
from gateway.routes import build_routes
from gateway.tls import downstream_socket
from gateway.tracing import build_tracing

# One line per request. The path of a stream is the gateway's internal one, with ":stream". No query (it may hold a key), no header but the request id.
ACCESS_LOG = {
    "time": "%START_TIME%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "upstream_first_byte_ms": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "upstream": "%UPSTREAM_HOST%",
}
TRACED = {"trace_id": "%TRACE_ID%"}
# A client's, which nobody has looked at: no more of it than a valid one has.
UNTRACED = {"traceparent": "%REQ(TRACEPARENT):55%"}


def build_listener(config: Config) -> Listener:
    """The listener for REST, SSE, gRPC and gRPC-Web."""
    manager = Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(_connection_manager(config))
    )
    tls = config.gateway.tls
    return Listener(
        name="http",
        stat_prefix="http",
        address=envoy_address(config.listener),
        filter_chains=[
            FilterChain(filters=[manager], transport_socket=None if tls is None else downstream_socket(tls))
        ],
        per_connection_buffer_limit_bytes=WINDOW_BYTES,
        # Finds clients that went away without a word: HTTP/1.1 has no pings.
        tcp_keepalive=TcpKeepalive(keepalive_time=30, keepalive_interval=10, keepalive_probes=3),
    )


def _connection_manager(config: Config) -> HttpConnectionManager:
    keep_slashes = HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED
    return HttpConnectionManager(
        stat_prefix="http",
        route_config=build_routes(config),
        http_filters=build_filters(config),
        local_reply_config=build_local_reply(config.gateway.max_body_mib),
        early_header_mutation_extensions=[_strip_headers(is_traced=config.tracing is not None)],
        use_remote_address=True,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        # As it is, the id would get a digit that says whether the request is traced.
        # Nor does the id, which clients choose, decide that: the tracer's sampler does.
        request_id_extension=RequestIdExtension(
            typed_config=Any.pack(UuidRequestIdConfig(pack_trace_reason=False, use_request_id_for_trace_sampling=False))
        ),
        normalize_path=True,
        merge_slashes=True,
        # The SDKs send model ids with %2F.
        path_with_escaped_slashes_action=keep_slashes,
        # Underscores in header names stay allowed: gRPC metadata may have them, and neither Envoy nor
        # grpc takes `_` for `-`.
        common_http_protocol_options=_connection_limits(config.gateway.max_connection_age_s),
        # A connection that has its age is closed after the next answer, not when a request may be on its way.
        http1_safe_max_connection_duration=True,
        # nginx's proxies and old probes speak HTTP/1.0, without a host.
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True, default_host_for_http_10="parley"),
        http2_protocol_options=Http2ProtocolOptions(
            initial_stream_window_size=WINDOW_BYTES,
            initial_connection_window_size=16 * WINDOW_BYTES,
            max_concurrent_streams=1000,
            connection_keepalive=KEEPALIVE,
        ),
        max_request_headers_kb=60,
        request_headers_timeout=timedelta(seconds=10),
        # Until the whole request is there; 32 MiB at 1 Mbit/s take 270 s.
        request_timeout=timedelta(seconds=300),
        stream_idle_timeout=timedelta(seconds=config.gateway.stream_idle_timeout_s),
        tracing=None if config.tracing is None else build_tracing(config.tracing),
        access_log=[_access_log(is_traced=config.tracing is not None)],
    )


def _connection_limits(max_age_s: float) -> HttpProtocolOptions:
    """Where connections end; their open calls never do with them.

    A client of gRPC or HTTP/2 would keep to one of several gateways for ever, however busy, and new ones get nothing.
    The jitter keeps clients that came together from coming together again.
    """
    return HttpProtocolOptions(
        idle_timeout=timedelta(hours=1),
        max_headers_count=100,
        max_connection_duration=timedelta(seconds=max_age_s),
        max_connection_duration_jitter=Percent(value=20),
    )


def _strip_headers(*, is_traced: bool) -> TypedExtensionConfig:
    """Before anything reads them; what the gateway itself sets comes later."""
    matchers = [StringMatcher(prefix=prefix) for prefix in INTERNAL_PREFIXES]
    # Binary metadata, which no method reads: gRPC fails the whole call where it is no base64.
    matchers.append(StringMatcher(suffix="-bin"))
    # Fine in HTTP, but gRPC fails the whole call.
    matchers.append(StringMatcher(safe_regex=RegexMatcher(regex=NO_METADATA_KEY)))
    mutations = [
        HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher)) for matcher in matchers
    ]
    if is_traced:
        mutations.append(_shortened_tracestate())
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(EarlyHeaderMutation(mutations=mutations)),
    )


def _shortened_tracestate() -> HeaderMutation:
    """Spans hold it in full. W3C has no more than 512 characters passed on; who reads what is cut ignores it."""
    header = HeaderValue(key="tracestate", value="%REQ(TRACESTATE):512%")
    return HeaderMutation(
        append=HeaderValueOption(header=header, append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS)
    )


def _access_log(*, is_traced: bool) -> AccessLog:
    fields = ACCESS_LOG | (TRACED if is_traced else UNTRACED)
    log = StdoutAccessLog(log_format=SubstitutionFormatString(json_format=Struct.from_dict(fields)))
    return AccessLog(
        name="envoy.access_loggers.stdout",
        filter=AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
        typed_config=Any.pack(log),
    )
