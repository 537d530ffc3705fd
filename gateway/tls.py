"""TLS, towards clients and towards what Envoy calls."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from gateway.addresses import Endpoint
from gateway.config import ListenerTls, UpstreamTls

# Where Debian, Alpine and their containers have them; Envoy's own `system_root_certs` is for gRPC's library alone.
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
TLS_SOCKET = "envoy.transport_sockets.tls"


def downstream_socket(tls: ListenerTls) -> TransportSocket:
    """TLS as a server."""
    context = CommonTlsContext(
        tls_certificates=[_certificate(tls.cert_file, tls.key_file)], alpn_protocols=["h2", "http/1.1"]
    )
    if tls.client_ca_file is not None:
        trusted = DataSource(filename=tls.client_ca_file)
        context.validation_context = CertificateValidationContext(trusted_ca=trusted)
    downstream = DownstreamTlsContext(
        common_tls_context=context, require_client_certificate=True if tls.client_ca_file else None
    )
    return TransportSocket(name=TLS_SOCKET, typed_config=Any.pack(downstream))


def upstream_socket(tls: UpstreamTls, upstream: Endpoint) -> TransportSocket:
    """TLS as a client of the service."""
    name = tls.server_name or upstream.host
    context = _client_context(name, tls.ca_file)
    if tls.cert_file is not None and tls.key_file is not None:
        context.tls_certificates = [_certificate(tls.cert_file, tls.key_file)]
    return _client_socket(name, context)


def trusting_socket(server: Endpoint, ca_file: str | None) -> TransportSocket:
    """TLS as a client of anyone else; without a CA of their own, those that the system trusts."""
    return _client_socket(server.host, _client_context(server.host, ca_file or SYSTEM_CAS))


def _client_context(name: str, ca_file: str) -> CommonTlsContext:
    san = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcherSanType.IP_ADDRESS if _is_ip(name) else SubjectAltNameMatcherSanType.DNS,
        matcher=StringMatcher(exact=name),
    )
    return CommonTlsContext(
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=ca_file), match_typed_subject_alt_names=[san]
        ),
        alpn_protocols=["h2"],
    )


def _client_socket(name: str, context: CommonTlsContext) -> TransportSocket:
    typed = Any.pack(UpstreamTlsContext(common_tls_context=context, sni="" if _is_ip(name) else name))
    return TransportSocket(name=TLS_SOCKET, typed_config=typed)


def _is_ip(name: str) -> bool:
    return Endpoint(name, 0).is_ip


def _certificate(cert_file: str, key_file: str) -> TlsCertificate:
    return TlsCertificate(certificate_chain=DataSource(filename=cert_file), private_key=DataSource(filename=key_file))
