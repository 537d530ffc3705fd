"""Decompresses the body of an answer as it arrives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from service.providers.transport_policy import undecodable

_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 65536


class Gunzip:
    """Decompresses gzip in pieces of bounded size. Unlike aiohttp's, it tells a cut from an end."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to, none of it empty; one piece at a time is made.

        Raises:
            Malformed: It is no gzip.
        """
        self._has_begun = True
        has_more = True
        while has_more:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(_GZIP)  # gzip may have several members
            try:
                piece = self._inflate.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise undecodable() from None
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            has_more = bool(data) or len(piece) == _PIECE_BYTES
            if piece:
                yield piece

    def finish(self) -> None:
        """Take the end of the body.

        Raises:
            Malformed: It is not the end of the gzip.
        """
        if self._has_begun and not self._inflate.eof:
            raise undecodable() from None
