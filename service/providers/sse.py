"""Decodes Server-Sent Events: bytes in, events out; no socket, no clock.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
(2026-11-21). `id` and `retry` are for reconnecting, which nothing here does: they are ignored.
"""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_FIELD = b"data: "


class SseTooLongError(ValueError):
    """An event, or one line of the stream, is longer than the decoder keeps."""


class SseEvent(NamedTuple):
    """One event."""

    event: str
    """Its type; `message` where the stream names none."""
    data: bytes
    """Its data lines, joined by line feeds: UTF-8, if the server keeps to the standard."""


class SseDecoder:
    """Decodes one stream. Which events come out does not depend on how the bytes are cut.

    Args:
        max_event_bytes: How long the lines of one event may be in total, without line ends; also
            bounds a comment line. Bounds what is kept between two calls.
    """

    __slots__ = ("_after_cr", "_data", "_event", "_max", "_partial", "_size", "_start")

    def __init__(self, *, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._start: bytes | None = b""  # a possible beginning of a byte order mark; None once past it
        self._after_cr = False  # a line feed at the beginning belongs to the line end before
        self._partial = bytearray()  # a line without its end; grows in place, so in linear time
        self._size = 0  # of the lines since the last blank one
        self._data: list[bytes] = []
        self._event = ""

    @property
    def is_pending(self) -> bool:
        """Whether an event has begun that no blank line has ended: at the stream's end, it was cut."""
        return bool(self._partial or self._data or self._event or self._start)

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes of the stream; return the events that they complete.

        Raises:
            SseTooLongError: The bound is passed. Events before in the same `data` are lost, and the
                decoder can't be used any more.
        """
        if self._start is not None:
            data = self._skip_mark(data)
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 10:  # noqa: PLR2004 - line feed
                data = data[1:]
        if not data:
            return []
        return self._take_lines(data)

    def finish(self) -> SseEvent | None:
        """End the stream: return the event that a blank line would have completed, or None.

        The standard drops it. Take it only where its data prove that nothing is missing, such as
        `[DONE]` from a server that leaves out the last line end.
        """
        if self._partial:
            self._take_line(bytes(self._partial))
        elif self._start:
            self._take_line(self._start)
        self._partial = bytearray()
        self._start = self._start and b""
        return self._dispatch()

    def _skip_mark(self, data: bytes) -> bytes:
        """Drop a byte order mark at the beginning of the stream, also one that comes in pieces."""
        start = (self._start or b"") + data
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _take_lines(self, data: bytes) -> list[SseEvent]:
        events: list[SseEvent] = []
        lines = data.splitlines()  # of bytes: at LF, CR and CRLF, as the standard has it
        rest = b""
        if data.endswith(b"\r"):
            self._after_cr = True
        elif not data.endswith(b"\n"):
            rest = lines.pop()
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial = bytearray()
        for line in lines:
            if line:
                self._take_line(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        if rest:
            self._partial += rest
            self._check(len(self._partial))
        return events

    def _take_line(self, line: bytes) -> None:
        self._check(len(line))
        if line.startswith(b":"):
            return
        self._size += len(line)
        if line.startswith(_FIELD):
            self._data.append(line[6:])
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")

    def _check(self, line_bytes: int) -> None:
        if self._size + line_bytes > self._max:
            raise SseTooLongError(f"an event of the stream is longer than {self._max} bytes")

    def _dispatch(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._size = 0
        if event:
            self._event = ""
        if not data:
            return None
        self._data = []
        return SseEvent(event or "message", data[0] if len(data) == 1 else b"\n".join(data))
