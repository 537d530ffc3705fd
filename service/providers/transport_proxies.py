"""Which proxy a request goes by: what `HTTPS_PROXY` and its kin mean.

aiohttp's own reading of them starts two threads per request, looks for credentials in `~/.netrc`,
and ignores `ALL_PROXY` and proxies that speak TLS.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.request import getproxies_environment

from yarl import URL

from service.errors import ConfigError
from service.hosts import is_this_machine


class Proxies:
    """The proxies of the environment, as it is while this is built."""

    def __init__(self) -> None:
        self._variables = getproxies_environment()

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy for an http(s) URL; None to ask the host itself, as always where it is this machine.

        Raises:
            ConfigError: A proxy is named that can't be used.
        """
        text = self._variables.get(url.scheme) or self._variables.get("all")
        if not text or is_this_machine((url.host or "").lower()) or self._is_exempt(url):
            return None
        try:
            proxy = URL(text if "://" in text else f"http://{text}")
        except ValueError:
            proxy = URL()
        if proxy.scheme not in {"http", "https"} or not proxy.raw_host:
            raise ConfigError(f"{url.scheme.upper()}_PROXY or ALL_PROXY: can't be used; expected an http(s) URL")
        return proxy

    def _is_exempt(self, url: URL) -> bool:
        """Whether `NO_PROXY` names the host, a domain above it, or a network it is part of."""
        host = (url.host or "").lower()
        entries = [entry.strip().lower() for entry in self._variables.get("no", "").split(",")]
        return any(_covers(entry, host, f"{host}:{url.port}") for entry in entries if entry)


def _covers(entry: str, host: str, host_and_port: str) -> bool:
    domain = entry.lstrip("*.")
    if entry == "*" or domain in {host, host_and_port} or host.endswith(f".{domain}"):
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return False
