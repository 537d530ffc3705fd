"""One connection to a provider, and the answer that comes by it: HTTP/1.1, one request at a time.

llhttp reads it, by httptools. A connection that is closed drops what it has yet to send, so that the provider stops
at once.

One thing is left: on uvloop 0.23, a TLS connection whose reading is paused loses what came just before its
end. It takes a provider that closes after its answer, and a reader more than 256 KiB behind; the
answer then fails as `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.providers.transport_policy import Failure

_WAITING_BYTES = 262144
"""Reading pauses when more waits for the reader; what the loop reads at once may come on top of it."""
_PIECE_BYTES = 48
"""What Python needs for a piece of a body besides its bytes: a body may come in pieces of one byte."""
_BARREN_BYTES = 65536
"""How much may come without the end of a head or some of a body; heads of providers have less than 8 kB."""
_JOINED_BYTES = 65536
"""Up to here a body is copied behind its head, which costs less than to write twice."""
_IDLE_S = 90.0  # where the provider closes an unused connection sooner, that is noticed
_INTERIM, _SWITCHING_PROTOCOLS, _OK = 100, 101, 200


class Answer:
    """The answer to one request: its connection fills it, one reader empties it."""

    __slots__ = ("connection", "failure", "headers", "is_complete", "most_bytes", "pieces", "size", "status", "waiter")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        """By which more may come; None once it is complete or has failed."""
        self.status = 0
        """0 until the head has come."""
        self.headers: dict[bytes, bytes] = {}
        """Names in lower case; of several headers with one name, the first."""
        self.is_complete = False
        self.failure: Failure | None = None
        """Why no more comes; what came before is still to be taken."""
        self.pieces: list[bytes] = []
        """Of the body, what waits to be taken."""
        self.size = 0
        """How much memory that takes."""
        self.most_bytes = _WAITING_BYTES
        """Reading pauses when more waits."""
        self.waiter: asyncio.Future[None] | None = None

    def more(self) -> asyncio.Future[None]:
        """Done as soon as something came, or nothing will."""
        self.waiter = asyncio.get_running_loop().create_future()
        return self.waiter

    def wake(self) -> None:
        """Tell the reader to look again."""
        if self.waiter is not None:
            if not self.waiter.done():
                self.waiter.set_result(None)
            self.waiter = None

    def take(self) -> bytes:
        """What waits of the body; reading goes on where it had paused."""
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        self.size = 0
        if self.connection is not None and self.connection.is_paused:
            self.connection.resume()
        return data

    def leave(self) -> None:
        """Close the connection, if more could come."""
        if self.connection is not None:
            self.connection.abort()


_NOBODYS = Answer()
"""What an unused connection has in place of an answer."""
_NOBODYS.is_complete = True


class Connection(asyncio.Protocol):
    """A connection that stands. It closes itself when it can't be used again, or was not for a while.

    Args:
        transport: Whose protocol this becomes.
        kept: Where it puts itself while it waits for its next request.
        on_lost: Called once it is closed, with the reason.
    """

    __slots__ = (
        "_answer",
        "_barren_bytes",
        "_deadline",
        "_headers",
        "_is_reusable",
        "_kept",
        "_loop",
        "_on_lost",
        "_parser",
        "_read_s",
        "_timer",
        "_timer_at",
        "_transport",
        "is_paused",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        kept: list[Connection],
        on_lost: Callable[[Connection, Exception | None], None],
    ) -> None:
        self._transport = transport
        self._kept = kept
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._answer = _NOBODYS
        self._headers: dict[bytes, bytes] = {}
        self._barren_bytes = 0
        self._is_reusable = True
        self.is_paused = False
        self._read_s = inf
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._parser = HttpResponseParser(self)
        # What browsers and other clients take, too: line feeds alone, folded headers, blanks behind a chunk's size.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        transport.set_protocol(self)

    # For whoever asks

    def is_usable(self) -> bool:
        """Whether an unused connection can take a request."""
        return not self._transport.is_closing() and self._loop.time() < self._deadline

    def send(self, answer: Answer, head: bytes, body: bytes, read_s: float) -> None:
        """Begin to send a request; nothing may come of its answer for `read_s` from now, nor later on."""
        self._answer = answer
        answer.connection = self
        self._barren_bytes = 0
        self._read_s = read_s
        self._watch(self._loop.time() + read_s)
        if len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def resume(self) -> None:
        """Go on reading."""
        self.is_paused = False
        if not self._transport.is_closing():
            self._watch(self._loop.time() + self._read_s)
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close without sending what is buffered."""
        self._transport.abort()

    # For the loop

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        answer = self._answer
        if answer is _NOBODYS:
            self.abort()
            return
        self._barren_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._is_reusable = False
        except HttpParserError:
            if not answer.is_complete:
                self._fail(Failure.NOT_HTTP)
                return
            self._is_reusable = False  # more came than was asked for
        if answer.is_complete:
            self._finish(answer)
        elif self._barren_bytes > _BARREN_BYTES:
            self._fail(Failure.NOT_HTTP)
        elif not self.is_paused:
            self._deadline = self._loop.time() + self._read_s
        answer.wake()

    def eof_received(self) -> None:
        """Take the end, which may be that of the body."""
        answer = self._answer
        if answer.status and _ends_with_connection(answer.headers):
            answer.is_complete = True
            self._is_reusable = False
            self._finish(answer)
            answer.wake()
        elif not answer.is_complete:
            self._fail(Failure.BROKEN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._answer.is_complete:
            self._fail(Failure.BROKEN)
        if self in self._kept:
            self._kept.remove(self)
        self._on_lost(self, exc)
        del self._parser  # it refers to this, too

    # For the parser

    def on_message_begin(self) -> None:
        """Take an answer's begin, be it the interim one's that comes before the answer."""
        if self._answer.is_complete:
            raise HttpParserError
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or a trailer."""
        self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Take the head."""
        status = self._parser.get_status_code()
        if not _INTERIM <= status < _OK or status == _SWITCHING_PROTOCOLS:
            self._answer.status = status
            self._answer.headers = self._headers
            self._headers = {}  # of trailers, which nobody reads
            self._barren_bytes = 0

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        answer = self._answer
        answer.pieces.append(data)
        answer.size += len(data) + _PIECE_BYTES
        self._barren_bytes = 0
        if answer.size > answer.most_bytes and not self.is_paused:
            self.is_paused = True
            self._deadline = inf  # it is the reader that is slow
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Take the end of the answer, or of an interim one."""
        if self._answer.status:
            self._answer.is_complete = True
            self._is_reusable = self._parser.should_keep_alive()

    # How it ends

    def _finish(self, answer: Answer) -> None:
        self._answer = _NOBODYS
        answer.connection = None
        transport = self._transport
        if not self._is_reusable or transport.is_closing() or transport.get_write_buffer_size():
            self.abort()
            return
        if self.is_paused:
            self.resume()
        self._watch(self._loop.time() + _IDLE_S)
        self._kept.append(self)

    def _fail(self, failure: Failure) -> None:
        answer = self._answer
        self._answer = _NOBODYS
        answer.connection = None
        answer.failure = failure
        self.abort()
        answer.wake()

    def _watch(self, deadline: float) -> None:
        """Expect something until then. The timer is set anew only where it would come too late."""
        self._deadline = deadline
        if deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._deadline > self._loop.time():
            if self._deadline < inf:
                self._watch(self._deadline)
        elif self._answer is _NOBODYS:
            self.abort()
        else:
            self._fail(Failure.READ_TIMEOUT)


def _ends_with_connection(headers: dict[bytes, bytes]) -> bool:
    """Whether a body has no other end."""
    coding = headers.get(b"transfer-encoding", b"identity")
    return b"content-length" not in headers and coding.lower() == b"identity"
