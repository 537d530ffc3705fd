"""Names that several parts of the bootstrap have to agree on."""

from __future__ import annotations

CORS_FILTER = "envoy.filters.http.cors"
GRPC_WEB_FILTER = "envoy.filters.http.grpc_web"
HEADERS_FILTER = "envoy.filters.http.header_mutation"
HEALTHZ_FILTER = "parley.healthz"
READYZ_FILTER = "parley.readyz"
LUA_FILTER = "envoy.filters.http.lua"
TRANSCODER_FILTER = "envoy.filters.http.grpc_json_transcoder"
ROUTER_FILTER = "envoy.filters.http.router"

# Tells the service that the caller is a REST client; only routes set it.
SSE_HEADER = "x-parley-sse"
# Set by the service on the answer to a call that it refused before it looked at it, so that another replica may take
# it; seen by no client.
REFUSED_HEADER = "x-parley-refused"
# Names of headers that are no keys of gRPC's metadata, HTTP/2's pseudo-headers aside; RE2, matched in full.
# Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (Header-Name), 2026-11-22.
NO_METADATA_KEY = r"[^:].*[^0-9a-z_.-].*|[^:0-9a-z_.-].*"
# Headers of these beginnings are never taken over from a client.
INTERNAL_PREFIXES = ("x-parley-", "x-error-", "x-envoy-")
# The content types of gRPC and gRPC-Web that Envoy itself and its filter know, and no list of several, which is what
# headers given twice become. RE2, matched in full; so is the other, which is for what is close to them and neither.
GRPC_CONTENT_TYPE = r"application/grpc(\+[^,]*)?|application/grpc-web(-text)?(\+proto)?"
LIKE_GRPC_CONTENT_TYPE = r"(?i)application/grpc([^0-9a-z].*)?"
# Status that marks, inside Envoy only, a refusal because of a query string; clients see 400.
QUERY_STATUS = 422
# In a route's metadata for the Lua filter: the message whose fields the query may name.
QUERY_KEY = "query"
