"""The bytes of a request's head. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from aiohttp import encode_basic_auth
from yarl import URL

from service.providers.transport import USER_AGENT

_DEFAULTS = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_SENDABLE = re.compile(r"[\t\x20-\x7e]*")


def head_of(url: URL, proxy: URL | None, headers: Mapping[str, str]) -> bytes:
    """The head up to the value of its last header, content-length.

    Args:
        url: Absolute.
        proxy: By which it goes.
        headers: Those that frame the body or name the host aren't among them.

    Raises:
        ValueError: A header can't be sent.
    """
    target = url.raw_path_qs
    own = {"host": url.host_port_subcomponent or ""}
    if proxy is not None and url.scheme == "http":  # else there is a tunnel, which tells the proxy nothing
        target = str(url.with_fragment(None))
        if proxy.raw_user or proxy.raw_password:
            own["proxy-authorization"] = encode_basic_auth(proxy.user or "", proxy.password or "", "latin1")
    lines = header_lines((own | _DEFAULTS | dict(headers)).items())
    return b"POST %s HTTP/1.1\r\n%scontent-length: " % (target.encode("ascii"), lines)


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """The lines of these headers.

    Raises:
        ValueError: One can't be sent.
    """
    lines = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _SENDABLE.fullmatch(value):
            raise ValueError
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")
