"""Names that several parts of the bootstrap have to agree on."""

from __future__ import annotations

CORS_FILTER = "envoy.filters.http.cors"
GRPC_WEB_FILTER = "envoy.filters.http.grpc_web"
HEADERS_FILTER = "envoy.filters.http.header_mutation"
HEALTHZ_FILTER = "parley.healthz"
READYZ_FILTER = "parley.readyz"
JSON_TO_METADATA_FILTER = "envoy.filters.http.json_to_metadata"
LUA_FILTER = "envoy.filters.http.lua"
TRANSCODER_FILTER = "envoy.filters.http.grpc_json_transcoder"
ROUTER_FILTER = "envoy.filters.http.router"

# Tells the service that the caller is a REST client; only routes set it.
SSE_HEADER = "x-parley-sse"
# Headers of these beginnings are never taken over from a client.
INTERNAL_PREFIXES = ("x-parley-", "x-error-", "x-envoy-")
# gRPC and gRPC-Web, as HTTP's content-type has it. RE2, matched in full.
GRPC_CONTENT_TYPE = r"application/grpc(-web(-text)?)?([+;].*)?"
# Status that marks, inside Envoy only, a refusal because of a query string; clients see 400.
QUERY_STATUS = 422
