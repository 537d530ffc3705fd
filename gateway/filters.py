"""The HTTP filters, in the order in which a request passes them."""

from __future__ import annotations

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch as MutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import (
    GrpcJsonTranscoder,
    GrpcJsonTranscoderPrintOptions,
    GrpcJsonTranscoderRequestValidationOptions,
    GrpcJsonTranscoderUrlUnescapeSpec,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_web.v3 import GrpcWeb
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway import names
from gateway.cluster import CLUSTER
from gateway.config import Config
from gateway.routes import MIB
from gateway.script import DESCRIPTORS, lua_source

MAX_RESPONSE_BYTES = 64 * MIB
SERVICES = ["parley.v1.ChatService", "parley.v1.ModelService", "parley.v1.SessionService"]
# Envoy compares 100 times the healthy endpoints with this many times all endpoints, in whole numbers: a smaller share
# is none, and with this one a single healthy endpoint among up to 100 is enough.
ANY_HEALTHY = Percent(value=1)


def build_filters(config: Config) -> list[HttpFilter]:
    """The chain; an answer passes it backwards."""
    return [
        _filter(names.HEADERS_FILTER, Any.pack(_header_mutation())),
        _filter(names.CORS_FILTER, Any.pack(Cors())),
        *health_filters(),
        _filter(names.GRPC_WEB_FILTER, Any.pack(GrpcWeb())),
        _filter(names.LUA_FILTER, Any.pack(_lua())),
        _filter(names.TRANSCODER_FILTER, Any.pack(_transcoder(config.gateway.max_body_mib * MIB))),
        _filter(names.ROUTER_FILTER, Any.pack(Router(suppress_envoy_headers=True))),
    ]


def health_filters() -> list[HttpFilter]:
    """Answer `/healthz` and `/readyz`."""
    return [
        _filter(names.HEALTHZ_FILTER, Any.pack(_health_filter("/healthz", {}))),
        _filter(names.READYZ_FILTER, Any.pack(_health_filter("/readyz", {CLUSTER: ANY_HEALTHY}))),
    ]


def _filter(name: str, typed_config: Any) -> HttpFilter:
    return HttpFilter(name=name, typed_config=typed_config)


def _header_mutation() -> HeaderMutation:
    # The health filters tell the cluster's name in every answer of theirs.
    hide = Mutation(remove="x-envoy-upstream-healthchecked-cluster")
    # gRPC has no trailers of requests, but fails calls because of what they hold.
    every = MutationRemoveOnMatch(key_matcher=StringMatcher(safe_regex=RegexMatcher(regex=".*")))
    drop = Mutation(remove_on_match=every)
    return HeaderMutation(mutations=Mutations(response_mutations=[hide], request_trailers_mutations=[drop]))


def _health_filter(path: str, min_healthy: dict[str, Percent]) -> HealthCheck:
    is_path = HeaderMatcher(name=":path", string_match=StringMatcher(exact=path))
    return HealthCheck(pass_through_mode=False, headers=[is_path], cluster_min_healthy_percentages=min_healthy)


def _lua() -> Lua:
    # The path that the script sets is the transcoder's business: the route stays the client's.
    return Lua(default_source_code=DataSource(inline_string=lua_source()), clear_route_cache=False)


def _transcoder(max_body_bytes: int) -> GrpcJsonTranscoder:
    return GrpcJsonTranscoder(
        proto_descriptor_bin=DESCRIPTORS.read_bytes(),
        services=SERVICES,
        print_options=GrpcJsonTranscoderPrintOptions(preserve_proto_field_names=True, stream_sse_style_delimited=True),
        # Without it the route is picked anew after transcoding, as gRPC, and Lua sees no answer.
        match_incoming_request_route=True,
        convert_grpc_status=True,
        url_unescape_spec=GrpcJsonTranscoderUrlUnescapeSpec.ALL_CHARACTERS,
        request_validation_options=GrpcJsonTranscoderRequestValidationOptions(
            reject_unknown_method=True,
            reject_unknown_query_parameters=True,
            # What the URL names is not overruled by the body.
            reject_binding_body_field_collisions=True,
        ),
        # Both default to the connection's buffer, which is small on purpose. The service's answers hold
        # 32 MiB of a provider's JSON at most; printed anew it may be longer.
        max_request_body_size=max_body_bytes,
        max_response_body_size=MAX_RESPONSE_BYTES,
    )
