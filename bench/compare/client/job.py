"""What the client is told on its standard input, and what it tells on its standard output."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

BEGUN: Final = "begun\n"
ENDED: Final = "ended\n"
"""Lines that it writes as the window begins and ends in which events count; its last line is an Outcome."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of load."""

    protocol: Literal["rest", "grpc"]
    address: str
    path: str
    """As the request has it: of gRPC with the method."""
    headers: dict[str, str]
    unary: bytes = b""
    """A request that is answered in one piece; of gRPC with its five bytes before it. As are the others."""
    stream: bytes = b""
    """A request for a stream of which `streams` are opened."""
    probe: bytes = b""
    """A request for a stream of one event, by which the time to the first token is told."""
    streams: int = 0
    events: int = 0
    """Of each stream; 0: more than are read."""
    is_paced: bool = True
    """Whether there is a pause between them."""
    opening_limit_s: float = 30.0
    settle_s: float = 0.3
    """Between the last stream's first event and the window."""
    window_s: float = 0.0
    single: int = 0
    """How many unary requests or probes follow, while the streams still run."""
    per_s: float = 1.0
    """Of these."""
    limit_s: float = 90.0
    """For everything; what is open then has failed."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    opened: int = 0
    """Streams with a first event."""
    opening_s: float = 0.0
    was_full: bool = True
    """Whether all that were opened were still open when the window and what follows it were over."""
    window_s: float = 0.0
    events: int = 0
    """In the window, of all streams."""
    delays_ns: list[int] = []
    """Of these events: from their being written by the provider to their being read."""
    single_ns: list[int] = []
    """From a request's being written to the end of its answer, or to its first event."""
    failed: int = 0
    """Requests: streams and single ones."""
    problems: dict[str, int] = {}
    """What became of them, and of how many."""
