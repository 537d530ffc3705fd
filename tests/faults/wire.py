"""HTTP/1.1 by hand: requests are read strictly, answers are made of bytes that may be wrong on purpose.

Source: https://www.rfc-editor.org/rfc/rfc9112 (2026-11-22).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

_MAX_BODY_BYTES = 64 * 1024 * 1024
"""Twice what the gateway takes."""
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")

NO_CHUNK = b"0\r\n\r\n"
"""What ends a body in chunks."""


class NotHttpError(ValueError):
    """What came is no request that is read here; the message says why."""


@dataclass(frozen=True)
class Request:
    """A request, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)


async def read_request(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """Read the request that begins with the bytes `first`.

    Raises:
        NotHttpError: It breaks the rules of HTTP/1.1, or is too long.
        IncompleteReadError: The client left before the request's end.
    """
    if not first.isalpha():  # TLS, which would wait for an answer
        raise NotHttpError("the first byte is no letter")
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise NotHttpError("the head is too long") from None
    request_line, *lines = head[:-4].split(b"\r\n")
    if (start := _REQUEST_LINE.fullmatch(request_line)) is None:
        raise NotHttpError("the request line is none of HTTP/1.1")
    headers = {}
    for line in lines:
        if (header := _HEADER.fullmatch(line)) is None:
            raise NotHttpError("a header line is none")
        headers[header[1].decode().lower()] = header[2].decode("latin-1").rstrip(" \t")
    if "host" not in headers:
        raise NotHttpError("there is no host header")
    if headers.get("expect", "").lower() == "100-continue":  # curl, before large bodies
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(headers, reader)
    return Request(start[1].decode(), start[2].decode(), headers, body)


async def _read_body(headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    if (coding := headers.get("transfer-encoding")) is not None:
        if coding.lower() != "chunked" or "content-length" in headers:
            raise NotHttpError("the body's length is told in no way that is known")
        return await _read_chunks(reader)
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > _MAX_BODY_BYTES:
        raise NotHttpError("the content-length is no number, or too large")
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = (await reader.readuntil(b"\r\n"))[:-2].partition(b";")[0]
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise NotHttpError("a chunk's size is no number")
        length = int(size, 16)
        if len(body) + length > _MAX_BODY_BYTES:
            raise NotHttpError("the body is too long")
        piece = await reader.readexactly(length + 2)
        if not piece.endswith(b"\r\n"):
            raise NotHttpError("a chunk is longer than it says")
        body += piece[:-2]
        if length == 0:  # trailers are not read: the clients that matter send none
            return bytes(body)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an answer."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Overloaded"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """A chunk of a body whose length is not told before."""
    return b"%x\r\n%b\r\n" % (len(data), data)
