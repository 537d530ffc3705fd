"""What single values of the configuration must be like. Pure; every message names the path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from service.errors import ConfigError

_ADDRESS: Final = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"})
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "accept"}
    | {"accept-encoding", "te", "trailer", "upgrade", "expect", "keep-alive"}
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_PORT: Final = 65535


def check_address(path: str, address: str) -> None:
    """Raise ConfigError unless it is `host:port`, `[ipv6]:port` or `unix:/path`."""
    if address.startswith("unix:/"):
        return
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > _MAX_PORT or (match["v6"] and not _is_ip(match["v6"])):
        raise ConfigError(f"{path}: expected host:port, [ipv6]:port or unix:/path, got {address!r}")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    return ipaddress.ip_address(host).is_loopback if _is_ip(host) else host == "localhost"


def check_base_url(path: str, text: str, example: str = "https://api.openai.com/v1") -> None:
    """Raise ConfigError unless it is a plain http(s) URL."""
    try:
        url = urlsplit(text)
        is_plain = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_plain = False
    if not is_plain:
        raise ConfigError(f"{path}: expected an http:// or https:// URL such as {example}")
    if url.username or url.password or url.query or url.fragment:
        raise ConfigError(f"{path}: expected no credentials, query or fragment")


def check_database_url(path: str, text: str) -> None:
    """Raise ConfigError unless it is a URL of PostgreSQL; nothing of it is told, since it holds a password."""
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) or any(parse_qs(url.query).get("host", ()))
        is_whole = url.scheme in {"postgresql", "postgres"} and has_host and url.port != 0 and not url.fragment
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ConfigError(f"{path}: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


def check_headers(path: str, headers: Mapping[str, str]) -> None:
    """Raise ConfigError unless they can be sent beside those of the adapter, and hold no credentials."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(f"{path}.{name!r}: no HTTP header can have this name and value")
        if name.lower() in _CREDENTIALS:
            raise ConfigError(f"{path}.{name}: credentials come from `api_key_env` or `api_key_file`")
        if name.lower() in _OWN_HEADERS:
            raise ConfigError(f"{path}.{name}: this header is the service's own to set")


def check_variable_name(path: str, name: str) -> None:
    """Raise ConfigError unless it is the name of an environment variable; it may be a misplaced key, so it isn't told."""
    if not _VARIABLE.fullmatch(name):
        raise ConfigError(f"{path}: expected the name of an environment variable, such as OPENAI_API_KEY")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
