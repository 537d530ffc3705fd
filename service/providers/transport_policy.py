"""What the transports do alike: which error tells which failure, whom they trust, who is local.

They sort their client's exceptions into `Failure`s; the messages live here, fixed, so that no URL,
header or body can get into one.
"""

from __future__ import annotations

import ssl
from enum import Enum, auto
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from service.errors import ConfigError, Malformed, Timeout, Unavailable, UpstreamError
from service.providers.transport import Timeouts


class Failure(Enum):
    """How an exchange with a provider failed."""

    REFUSED = auto()
    NAME_UNKNOWN = auto()
    TLS = auto()
    UNCONNECTED = auto()
    BROKEN = auto()
    CLOSED = auto()
    CONNECT_TIMEOUT = auto()
    READ_TIMEOUT = auto()
    WRITE_TIMEOUT = auto()
    POOL_TIMEOUT = auto()
    NOT_HTTP = auto()
    UNDECODABLE = auto()
    UNSENDABLE = auto()
    DEFECT = auto()


_UNAVAILABLE = {
    Failure.REFUSED: "the provider refused the connection",
    Failure.NAME_UNKNOWN: "the provider's host name can't be resolved",
    Failure.TLS: "no TLS connection to the provider: the handshake or the check of its certificate failed",
    Failure.UNCONNECTED: "no connection to the provider",
    Failure.BROKEN: "the connection to the provider broke",
    Failure.CLOSED: "the connections to the provider were closed by this service",
    Failure.DEFECT: "the request to the provider failed inside the HTTP client",
}
_MALFORMED = {
    Failure.NOT_HTTP: "the provider's answer breaks the rules of HTTP",
    Failure.UNDECODABLE: "the provider's answer can't be decompressed",
}


def error_of(failure: Failure, timeouts: Timeouts) -> UpstreamError | ConfigError:
    """The error to raise for a failure; a request that can't be sent at all is the operator's."""
    if failure in _UNAVAILABLE:
        return Unavailable(_UNAVAILABLE[failure])
    if failure in _MALFORMED:
        return Malformed(_MALFORMED[failure])
    if failure is Failure.CONNECT_TIMEOUT:
        return Timeout(f"no connection to the provider within {timeouts.connect_s:g} s")
    if failure is Failure.READ_TIMEOUT:
        return Timeout(f"the provider sent nothing for {timeouts.read_s:g} s")
    if failure is Failure.WRITE_TIMEOUT:
        return Timeout(f"the provider took in nothing of the request for {timeouts.read_s:g} s")
    if failure is Failure.POOL_TIMEOUT:
        return Timeout(f"no connection to the provider became free within {timeouts.pool_s:g} s")
    return ConfigError("a provider's URL or one of its headers can't be sent: expected http(s) and printable headers")


def too_long(max_bytes: int) -> Malformed:
    """The error for a body of more than `max_bytes`."""
    return Malformed(f"the provider's answer is longer than {max_bytes} bytes")


def undecodable() -> Malformed:
    """The error for a body that is not what its content-encoding says."""
    return Malformed(_MALFORMED[Failure.UNDECODABLE])


@lru_cache(maxsize=1024)
def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, by its name or address alone; no look-up."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_ca_file(ca_file: Path) -> str:
    """The PEM certificates of the file.

    Raises:
        ConfigError: It can't be read, or holds no certificate.
    """
    try:
        text = ca_file.read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:  # ssl.SSLError and UnicodeError are among them
        raise ConfigError("ca_file: can't be used; expected a readable file of PEM certificates") from error
    return text
