"""Bytes to the gateway, and what comes back, read as strictly as HTTP/1.1 wants it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)")
_QUIET_S = 0.3
"""After that long without an answer the client closes its side: what it sent may be no whole request."""
PATIENCE_S = 20.0


@dataclass
class Answer:
    """What came back; `status` is None where nothing did but the connection's end."""

    raw: bytes
    is_hung: bool = False
    """Whether neither an answer nor the connection's end came."""
    has_body: bool = True
    """False of the answer to HEAD, after which the next answer may follow."""

    @property
    def head(self) -> bytes:
        """Of the first answer that is no `100 Continue`."""
        return _final(self.raw).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """Of the same answer; still in chunks where it came so."""
        if not self.has_body:
            return b""
        rest = _final(self.raw).partition(b"\r\n\r\n")[2]
        return rest[: int(length[1])] if (length := _LENGTH.search(self.head)) else rest

    @property
    def status(self) -> int | None:
        found = _STATUS.match(self.head + b"\r\n")
        return int(found[1]) if found else None

    @property
    def is_http2(self) -> bool:
        """Whether it begins with HTTP/2's frame of settings."""
        return self.raw[3:5] == b"\x04\x00"

    def error(self) -> dict[str, Any] | None:
        """The error of the envelope, where there is one."""
        start, end = self.body.find(b"{"), self.body.rfind(b"}")
        try:
            value = json.loads(self.body[start : end + 1])
        except ValueError:
            return None
        error = value.get("error") if isinstance(value, dict) else None
        return error if isinstance(error, dict) and set(error) == {"message", "type", "param", "code"} else None


def _final(raw: bytes) -> bytes:
    while raw.startswith(b"HTTP/1.1 100 "):
        raw = raw.partition(b"\r\n\r\n")[2]
    return raw


async def exchange(address: str, sent: bytes) -> Answer:
    """Send, and read until the answer is over or the connection closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        raw = bytearray()
        has_body = not sent.startswith(b"HEAD ")
        is_hung = await _read(reader, writer, raw, has_body=has_body)
        return Answer(bytes(raw), is_hung, has_body)
    except ConnectionError:
        return Answer(b"")
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytearray, *, has_body: bool) -> bool:
    """Fill `raw`; whether it waited in vain."""
    patience_s = _QUIET_S
    while not _is_whole(bytes(raw), has_body=has_body):
        try:
            async with asyncio.timeout(patience_s):
                part = await reader.read(65536)
        except TimeoutError:
            if patience_s == PATIENCE_S:
                return True
            writer.write_eof()
            patience_s = PATIENCE_S
            continue
        if not part:
            return False
        raw += part
    return False


def _is_whole(raw: bytes, *, has_body: bool) -> bool:
    head, separator, body = _final(raw).partition(b"\r\n\r\n")
    if not separator:
        return False
    if not has_body:
        return True
    if length := _LENGTH.search(head):
        return len(body) >= int(length[1])
    return b"\r\ntransfer-encoding: chunked" in head and body.endswith(b"0\r\n\r\n")
