"""Addresses as they stand in the configuration."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

PORT_MAX = 65535
DNS_PORT = 53
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what to call when the service binds all


class ConfigError(Exception):
    """The configuration can't be used; the message names the path and what was expected."""


@dataclass(frozen=True)
class Endpoint:
    """Where something listens: an IP address or a name with a port, or a Unix socket."""

    host: str
    port: int
    unix_path: str | None = None

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address rather than a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_name(self) -> bool:
        """Whether the host has to be looked up."""
        return self.unix_path is None and not self.is_ip

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.is_ip and ipaddress.ip_address(self.host).is_loopback


def parse_address(place: str, text: str) -> Endpoint:
    """Read `host:port` or `[ipv6]:port`; `place` names the setting in errors.

    Raises:
        ConfigError: It is neither.
    """
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})", text)
    if match is None or int(match["port"]) > PORT_MAX:
        raise ConfigError(f"{place}: expected host:port or [ipv6]:port, got {text!r}")
    endpoint = Endpoint(match["v6"] or match["host"], int(match["port"]))
    if match["v6"] and not endpoint.is_ip:
        raise ConfigError(f"{place}: expected an IPv6 address in the brackets, got {text!r}")
    return endpoint


def bindable(place: str, text: str) -> Endpoint:
    """An address to listen on; Envoy takes no names there. Port 0 lets the system choose.

    Raises:
        ConfigError: It is none.
    """
    endpoint = parse_address(place, text)
    if endpoint.host == "localhost":
        return Endpoint("127.0.0.1", endpoint.port)
    if not endpoint.is_ip:
        raise ConfigError(f"{place}: expected an IP address to listen on (or localhost), got {text!r}")
    return endpoint


def reachable(place: str, text: str) -> Endpoint:
    """An address to connect to.

    Raises:
        ConfigError: It is none.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ConfigError(f"{place}: expected unix:/absolute/path, got {text!r}")
        return Endpoint("localhost", 0, unix_path=path)
    endpoint = parse_address(place, text)
    if endpoint.port == 0:
        raise ConfigError(f"{place}: expected the port that the service listens on, got 0; set PARLEY_UPSTREAM_ADDRESS")
    return Endpoint(WILDCARDS.get(endpoint.host, endpoint.host), endpoint.port)


def name_server(place: str, text: str) -> Endpoint:
    """The address of a DNS server, whose port may be left out.

    Raises:
        ConfigError: It is none.
    """
    bare = Endpoint(text.removeprefix("[").removesuffix("]"), DNS_PORT)
    endpoint = bare if bare.is_ip else parse_address(place, text)
    if not endpoint.is_ip or endpoint.port == 0:
        raise ConfigError(f"{place}: expected the IP address of a DNS server, got {text!r}")
    return endpoint
