"""What is told when an exchange with a provider fails: from aiohttp's exception, by way of a `Failure`, to the error.

The messages are fixed, so that no URL, header or body can get into one.
"""

from __future__ import annotations

import errno
import ssl
from enum import Enum, auto

import aiohttp
from aiohttp import http_exceptions as http

from service.errors import ConfigError, Exhausted, Malformed, Timeout, Unavailable, UpstreamError
from service.providers.transport import Timeouts


class Failure(Enum):
    """How an exchange with a provider failed."""

    NO_DESCRIPTORS = auto()
    REFUSED = auto()
    NAME_UNKNOWN = auto()
    TLS = auto()
    UNCONNECTED = auto()
    BROKEN = auto()
    CLOSED = auto()
    CONNECT_TIMEOUT = auto()
    READ_TIMEOUT = auto()
    NOT_HTTP = auto()
    UNDECODABLE = auto()
    UNSENDABLE = auto()
    DEFECT = auto()


FAILURES: dict[type[BaseException], Failure] = {
    aiohttp.ClientError: Failure.DEFECT,
    aiohttp.ClientResponseError: Failure.NOT_HTTP,
    aiohttp.ContentTypeError: Failure.DEFECT,
    aiohttp.WSServerHandshakeError: Failure.DEFECT,
    aiohttp.ClientHttpProxyError: Failure.UNCONNECTED,
    aiohttp.TooManyRedirects: Failure.DEFECT,
    aiohttp.ClientConnectionError: Failure.BROKEN,
    aiohttp.ClientConnectionResetError: Failure.BROKEN,
    aiohttp.ClientOSError: Failure.BROKEN,
    aiohttp.ClientConnectorError: Failure.UNCONNECTED,
    aiohttp.ClientConnectorDNSError: Failure.NAME_UNKNOWN,
    aiohttp.ClientProxyConnectionError: Failure.UNCONNECTED,
    aiohttp.client_exceptions.UnixClientConnectorError: Failure.UNCONNECTED,
    aiohttp.ClientSSLError: Failure.TLS,
    aiohttp.ClientConnectorSSLError: Failure.TLS,
    aiohttp.ClientConnectorCertificateError: Failure.TLS,
    aiohttp.ServerConnectionError: Failure.BROKEN,
    aiohttp.ServerDisconnectedError: Failure.BROKEN,
    aiohttp.ServerTimeoutError: Failure.READ_TIMEOUT,
    aiohttp.ConnectionTimeoutError: Failure.CONNECT_TIMEOUT,
    aiohttp.SocketTimeoutError: Failure.READ_TIMEOUT,
    aiohttp.ServerFingerprintMismatch: Failure.TLS,
    aiohttp.ClientPayloadError: Failure.BROKEN,
    aiohttp.UploadAbortedError: Failure.BROKEN,
    aiohttp.InvalidURL: Failure.UNSENDABLE,
    aiohttp.InvalidUrlClientError: Failure.UNSENDABLE,
    aiohttp.NonHttpUrlClientError: Failure.UNSENDABLE,
    aiohttp.RedirectClientError: Failure.DEFECT,
    aiohttp.InvalidUrlRedirectClientError: Failure.DEFECT,
    aiohttp.NonHttpUrlRedirectClientError: Failure.DEFECT,
    http.HttpProcessingError: Failure.NOT_HTTP,
    OSError: Failure.BROKEN,
    TimeoutError: Failure.READ_TIMEOUT,
    ValueError: Failure.UNSENDABLE,
    RuntimeError: Failure.DEFECT,
}
"""Every exception of aiohttp; `failure_of` refines some by their causes."""

THEIRS = (aiohttp.ClientError, http.HttpProcessingError, OSError, ValueError, RuntimeError)
"""What to catch where aiohttp is called."""

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_UNAVAILABLE = {
    Failure.REFUSED: "The provider refused the connection.",
    Failure.NAME_UNKNOWN: "The provider's host name can't be resolved.",
    Failure.TLS: "No TLS connection to the provider: the handshake or the check of its certificate failed.",
    Failure.UNCONNECTED: "No connection to the provider.",
    Failure.BROKEN: "The connection to the provider broke.",
    Failure.CLOSED: "The connections to the provider were closed by this service.",
    Failure.DEFECT: "The request to the provider failed inside the HTTP client.",
}
_MALFORMED = {
    Failure.NOT_HTTP: "The provider's answer breaks the rules of HTTP.",
    Failure.UNDECODABLE: "The provider's answer can't be decompressed.",
}


def failure_of(error: BaseException) -> Failure:
    """Sort an exception of aiohttp; one without an entry counts as its nearest base."""
    failure = next((FAILURES[base] for base in type(error).__mro__ if base in FAILURES), Failure.DEFECT)
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return Failure.NO_DESCRIPTORS
    if isinstance(error, aiohttp.ClientConnectorError) and failure is Failure.UNCONNECTED:
        if isinstance(error.os_error, ConnectionRefusedError):
            return Failure.REFUSED
        if isinstance(error.os_error, ssl.SSLError):
            return Failure.TLS
    return failure


def error_of(failure: Failure, timeouts: Timeouts) -> UpstreamError | ConfigError:
    """The error to raise for a failure; a request that can't be sent at all is the operator's."""
    if failure is Failure.NO_DESCRIPTORS:
        return Exhausted()
    if failure in _UNAVAILABLE:
        return Unavailable(_UNAVAILABLE[failure])
    if failure in _MALFORMED:
        return Malformed(_MALFORMED[failure])
    if failure is Failure.CONNECT_TIMEOUT:
        return Timeout(f"No connection to the provider within {timeouts.connect_s:g} s.")
    if failure is Failure.READ_TIMEOUT:
        return Timeout(f"The provider sent nothing for {timeouts.read_s:g} s.")
    return ConfigError("a provider's URL or one of its headers can't be sent: expected http(s) and printable headers")


def too_long(max_bytes: int) -> Malformed:
    """The error for a body of more than `max_bytes`."""
    return Malformed(f"The provider's answer is longer than {max_bytes} bytes.")


def undecodable() -> Malformed:
    """The error for a body that is not what its content-encoding says."""
    return Malformed(_MALFORMED[Failure.UNDECODABLE])
