"""The routes: what is gRPC, what is REST, and what is refused."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Metadata,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.cluster import CLUSTER
from gateway.config import Config
from gateway.names import (
    CORS_FILTER,
    GRPC_CONTENT_TYPE,
    LIKE_GRPC_CONTENT_TYPE,
    LUA_FILTER,
    QUERY_KEY,
    QUERY_STATUS,
    REFUSED_HEADER,
    SSE_HEADER,
    TRANSCODER_FILTER,
)
from gateway.urls import URLS, RestUrl

MIB = 1024 * 1024
# What makes REST of gRPC; the first waits for the end of a body.
REST_FILTERS = (LUA_FILTER, TRANSCODER_FILTER)
# gRPC's own headers have no meaning in a REST request: a client must not choose what the service
# reads in them, nor have it compress answers, which the transcoder could not read.
GRPC_REQUEST_HEADERS = ["grpc-timeout", "grpc-encoding", "grpc-accept-encoding"]
# The SDKs' own headers stand in full: browsers read "*" in this list only literally.
CORS_REQUEST_HEADERS = (
    "authorization,x-api-key,content-type,accept,x-request-id,idempotency-key,"
    "openai-organization,openai-project,openai-beta,user-agent,x-client-request-id,"
    "x-stainless-arch,x-stainless-async,x-stainless-custom-poll-interval,x-stainless-helper-method,"
    "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-poll-helper,"
    "x-stainless-raw-response,x-stainless-read-timeout,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout,x-grpc-web,x-user-agent,grpc-timeout,"
    "x-request-timeout-ms"
)
CORS_RESPONSE_HEADERS = (
    "x-request-id,x-parley-dropped-params,x-parley-target,x-parley-attempts,x-parley-arm,retry-after,"
    "retry-after-ms,x-should-retry,x-ratelimit-limit-requests,x-ratelimit-limit-tokens,x-ratelimit-remaining-requests,"
    "x-ratelimit-remaining-tokens,x-ratelimit-reset-requests,x-ratelimit-reset-tokens,grpc-status,grpc-message,"
    "grpc-status-details-bin"
)
# With this many, calls get past three replicas that died in the same moment.
RETRIES = 3
# Of two replicas that are drawn the less busy one is taken, and a dead one has no calls: where there are two, three of
# four draws give the dead one again. The chance that all do is 0.75 ** 100.
HOST_DRAWS = 100


def build_routes(config: Config) -> RouteConfiguration:
    """All routes, in the order in which they are tried."""
    routes = [_grpc_route(), _like_grpc_route()]
    if config.gateway.cors_origins:
        routes.append(_preflight_route())
    for url in URLS:
        routes += _rest_routes(url)
    routes += _unknown_url_routes()
    host = VirtualHost(
        name="parley",
        domains=["*"],
        routes=routes,
        response_headers_to_remove=[REFUSED_HEADER],
        # Also bounds what is kept of a gRPC request for a retry; a larger one is sent once.
        request_body_buffer_limit=config.gateway.max_body_mib * MIB,
    )
    if config.gateway.cors_origins:
        host.typed_per_filter_config = {CORS_FILTER: Any.pack(_cors_policy(config.gateway.cors_origins))}
    return RouteConfiguration(name="parley", virtual_hosts=[host])


def _grpc_route() -> Route:
    """GRPC and gRPC-Web of any method."""
    return Route(
        name="grpc",
        stat_prefix="grpc",
        match=_match_content_type(GRPC_CONTENT_TYPE),
        route=_to_service(),
        typed_per_filter_config=_disabled(*REST_FILTERS),
    )


def _like_grpc_route() -> Route:
    """What the service would reset, rather than answer, and what is no JSON either."""
    text = "Unsupported content-type: expected application/json, or one that is gRPC's or gRPC-Web's."
    return Route(
        name="like gRPC",
        match=_match_content_type(LIKE_GRPC_CONTENT_TYPE),
        direct_response=_refuse(415, text),
        typed_per_filter_config=_disabled(*REST_FILTERS),
    )


def _match_content_type(regex: str) -> RouteMatch:
    matches = HeaderMatcher(name="content-type", string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex)))
    return RouteMatch(prefix="/", headers=[matches])


def _preflight_route() -> Route:
    """Preflights, which the CORS filter answers; it does not look at direct responses."""
    is_options = HeaderMatcher(name=":method", string_match=StringMatcher(exact="OPTIONS"))
    asks = [HeaderMatcher(name=name, present_match=True) for name in ("origin", "access-control-request-method")]
    return Route(
        name="preflight",
        match=RouteMatch(prefix="/", headers=[is_options, *asks]),
        route=_to_service(),
        typed_per_filter_config=_disabled(*REST_FILTERS),
    )


def _rest_routes(url: RestUrl) -> list[Route]:
    """One URL: the methods that it has; 400 for a query string that none takes, 405 for any other method."""
    allowed = ", ".join(url.methods)
    other = Route(
        name=f"{url.template} with another method",
        match=_match_url(url),
        direct_response=_refuse(405, f"Not allowed to %REQ(:METHOD)% on {url.template}; allowed: {allowed}."),
        response_headers_to_add=[_set_header("allow", allowed)],
        typed_per_filter_config=_disabled(*REST_FILTERS),
    )
    return [*(route for method in url.methods for route in _method_routes(url, method)), other]


def _method_routes(url: RestUrl, method: str) -> list[Route]:
    """One method of a URL; what its query may say, the Lua filter is told by the route."""
    name = f"{method} {url.template}"
    has_method = HeaderMatcher(name=":method", string_match=StringMatcher(exact=method))
    has_query = HeaderMatcher(name=":path", string_match=StringMatcher(safe_regex=RegexMatcher(regex=r".*\?.+")))
    route = Route(
        name=name,
        stat_prefix=url.statistics,
        match=_match_url(url, has_method),
        route=_to_service(),
        request_headers_to_add=[_set_header(SSE_HEADER, "1")],
        request_headers_to_remove=GRPC_REQUEST_HEADERS,
    )
    if method == "GET" and url.query is not None:
        route.metadata = Metadata(filter_metadata={LUA_FILTER: Struct.from_dict({QUERY_KEY: url.query})})
        # The transcoder puts the query in it, which may be more than gRPC takes as metadata, and is in the message.
        route.request_headers_to_add.append(_set_header("x-envoy-original-path", "%PATH(NQ:ORIG)%"))
        return [route]
    without_query = Route(
        name=f"{name} with a query",
        match=_match_url(url, has_method, has_query),
        direct_response=_refuse(QUERY_STATUS, "Unknown query parameter: this URL takes none."),
        typed_per_filter_config=_disabled(*REST_FILTERS),
    )
    return [without_query, route]


def _match_url(url: RestUrl, *headers: HeaderMatcher) -> RouteMatch:
    match = RouteMatch(path=url.path, prefix=url.prefix, headers=list(headers))
    if url.regex is not None:
        match.safe_regex = RegexMatcher(regex=url.regex)
    return match


def _unknown_url_routes() -> list[Route]:
    """Everything else, the internal path of streams (…:stream) and CONNECT included."""
    return [
        Route(
            name=name,
            match=match,
            direct_response=_refuse(404, "Invalid URL (%REQ(:METHOD)% %PATH(NQ:PATH):256%)"),
            typed_per_filter_config=_disabled(*REST_FILTERS),
        )
        for name, match in (
            ("unknown URL", RouteMatch(prefix="/")),
            # Matched by no prefix; without a route the Lua filter would wait for a body's end.
            ("CONNECT", RouteMatch(connect_matcher=RouteMatchConnectMatcher())),
        )
    ]


def _to_service() -> RouteAction:
    """No limit of time: the service has its own deadlines, and streams last long."""
    return RouteAction(cluster=CLUSTER, timeout=timedelta(0), retry_policy=_on_another_replica())


def _on_another_replica() -> RetryPolicy:
    """Sends a call anew that certainly no replica has begun: only the service repeats what was begun.

    That is: no connection came about; nothing was written yet when it broke; HTTP/2's REFUSED_STREAM,
    which GOAWAY is to streams that it does not cover; or the service says so itself. A reset of any
    other kind, such as a connection that breaks after the request, may have cost the caller tokens.
    Source: `RetryStateImpl::wouldRetryFromReset` of Envoy.
    """
    refused = HeaderMatcher(name=REFUSED_HEADER, present_match=True)
    previous = Any.pack(PreviousHostsPredicate())
    return RetryPolicy(
        retry_on="connect-failure,reset-before-request,refused-stream,retriable-headers",
        retriable_headers=[refused],
        num_retries=RETRIES,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(name="envoy.retry_host_predicates.previous_hosts", typed_config=previous)
        ],
        host_selection_retry_max_attempts=HOST_DRAWS,
    )


def _refuse(status: int, text: str) -> DirectResponseAction:
    body = SubstitutionFormatString(text_format_source=DataSource(inline_string=text))
    return DirectResponseAction(status=status, body_format=body)


def _disabled(*filters: str) -> dict[str, Any]:
    return {name: Any.pack(FilterConfig(disabled=True)) for name in filters}


def _set_header(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _cors_policy(origins: tuple[str, ...]) -> CorsPolicy:
    """Without credentials: keys travel in headers that scripts set, never in cookies."""
    if "*" in origins:
        allowed = [StringMatcher(safe_regex=RegexMatcher(regex=".*"))]
    else:
        allowed = [StringMatcher(exact=origin) for origin in origins]
    return CorsPolicy(
        allow_origin_string_match=allowed,
        allow_methods="GET,POST,DELETE,OPTIONS",
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_RESPONSE_HEADERS,
        max_age="7200",  # the most that Chromium takes
        forward_not_matching_preflights=False,
    )
