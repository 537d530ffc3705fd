"""What callers get of each fault: the table of expectations, and the words that the page has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tests.faults.exchange import WORDS

REASONS: Final = {
    "UPSTREAM_REJECTED": ("INVALID_ARGUMENT", "400", "upstream_rejected"),
    "UPSTREAM_AUTH_FAILED": ("INTERNAL", "502", "upstream_auth_failed"),
    "UPSTREAM_MODEL_NOT_FOUND": ("NOT_FOUND", "404", "model_not_found"),
    "UPSTREAM_QUOTA_EXHAUSTED": ("RESOURCE_EXHAUSTED", "429", "insufficient_quota"),
    "UPSTREAM_RATE_LIMITED": ("RESOURCE_EXHAUSTED", "429", "rate_limit_exceeded"),
    "UPSTREAM_UNAVAILABLE": ("UNAVAILABLE", "503", "upstream_unavailable"),
    "UPSTREAM_TIMEOUT": ("DEADLINE_EXCEEDED", "504", "upstream_timeout"),
    "UPSTREAM_MALFORMED": ("INTERNAL", "502", "upstream_malformed"),
    "UPSTREAM_INTERRUPTED": ("UNAVAILABLE", "503", "upstream_interrupted"),
}
"""By reason: the gRPC code, the HTTP status, and the `code` of the error over REST."""

ENDLESS: Final = -1
"""In place of a number of words: a text that goes on and on."""

Connection = Literal["closed", "kept", "free", "none"]
"""What becomes of the connection to the provider. `free`: kept or closed, as what comes first in the client,
the answer's last bytes or the verdict on it. `none`: there is none."""


@dataclass(frozen=True)
class Expected:
    """What a caller gets, on every face."""

    reason: str | None = None
    """None: a whole answer."""
    requests: int = 1
    """To the target, where there is one alone."""
    after_s: float = 0.0
    """When the call is over, as far as the limits say; 0: at once."""
    words: int = 0
    """How much came before it failed."""
    connection: Connection = "kept"
    is_switched: bool = False
    """Whether a second target is asked in the end, and answers."""

    def of(self, *, has_second: bool) -> Expected:
        """What is expected of a model that has a second target, or none."""
        return SWITCHED if has_second and self in WAITED_FOR else self


def answers(requests: int = 1, *, after_s: float = 0.0, connection: Connection = "kept") -> Expected:
    """A whole answer."""
    return Expected(requests=requests, after_s=after_s, words=len(WORDS), connection=connection)


def fails(
    reason: str, requests: int = 2, *, after_s: float = 0.0, connection: Connection = "closed", switches: bool = True
) -> Expected:
    """A failure before anything was told, so that the request can be repeated, and another target asked."""
    return Expected(reason, requests, after_s, 0, connection, switches)


def breaks_off(words: int, reason: str, *, after_s: float = 0.0, connection: Connection = "closed") -> Expected:
    """A failure after some words, after which nothing can be repeated."""
    return Expected(reason, 1, after_s, words, connection)


UNAVAILABLE, TIMEOUT = "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"
MALFORMED, INTERRUPTED = "UPSTREAM_MALFORMED", "UPSTREAM_INTERRUPTED"
LIMITED = "UPSTREAM_RATE_LIMITED"
STREAMED = answers(connection="free")
REFUSED = fails(UNAVAILABLE, connection="kept")
ASKED_TWICE = fails(LIMITED, connection="kept")
WAITED = (answers(2, after_s=0.5), answers(2, after_s=0.5, connection="free"))
SWITCHED = fails(LIMITED, 1, connection="kept")
WAITED_FOR = (ASKED_TWICE, *WAITED)
"""Whoever asks to come later is waited for, but not where another target can answer now."""

SECTIONS: Final[dict[str, dict[str, tuple[Expected, Expected]]]] = {
    "Right answers, in odd clothes": {
        "healthy": (answers(), STREAMED),
        "slow-tokens:0.05": (answers(), STREAMED),
        "long-event": (answers(), STREAMED),
        "one-byte-chunks": (answers(), STREAMED),
        "no-usage": (answers(), STREAMED),
        "gzip": (answers(), STREAMED),
        "finish-without-done": (answers(), STREAMED),
        "wrong-content-type": (answers(), fails(MALFORMED, connection="free")),
        "slow-first-token:0.5": (answers(after_s=0.5), answers(after_s=0.5, connection="free")),
        "silence:0.5": (answers(after_s=0.5), answers(after_s=0.5, connection="free")),
    },
    "Late and silent": {
        "slow-first-token:60": (fails(TIMEOUT, after_s=2), fails(TIMEOUT, after_s=4)),
        "silence": (fails(TIMEOUT, after_s=2), fails(TIMEOUT, after_s=4)),
        "role-then-nothing": (fails(TIMEOUT, after_s=2), fails(TIMEOUT, after_s=4)),
        "keepalives-only": (fails(TIMEOUT, after_s=8), fails(TIMEOUT, after_s=4)),
        "stall-after-events:4": (fails(TIMEOUT, after_s=2), breaks_off(3, TIMEOUT, after_s=1)),
        "endless": (fails(TIMEOUT, after_s=8), breaks_off(ENDLESS, TIMEOUT, after_s=4)),
        "open-after-done": (fails(TIMEOUT, after_s=2), answers(connection="closed")),
    },
    "Cut": {
        "reset": (fails(UNAVAILABLE), fails(UNAVAILABLE)),
        "cut-after-events:0": (fails(UNAVAILABLE), fails(UNAVAILABLE)),
        "cut-after-events:1": (fails(UNAVAILABLE), fails(INTERRUPTED)),
        "cut-after-events:4": (fails(UNAVAILABLE), breaks_off(3, INTERRUPTED)),
        "cut-inside-event:4": (fails(UNAVAILABLE), breaks_off(3, INTERRUPTED)),
        "reset-after-events:4": (fails(UNAVAILABLE), breaks_off(3, INTERRUPTED)),
        "truncated": (fails(UNAVAILABLE), breaks_off(5, INTERRUPTED)),
    },
    "Ended too early": {
        "close-without-finish:0": (answers(), fails(INTERRUPTED, connection="kept")),
        "close-without-finish:4": (answers(), breaks_off(3, INTERRUPTED, connection="kept")),
        "done-without-finish:0": (answers(), fails(INTERRUPTED, connection="free")),
        "done-without-finish:4": (answers(), breaks_off(3, INTERRUPTED, connection="free")),
        "finish-alone": (answers(), breaks_off(10, INTERRUPTED, connection="kept")),
        "empty": (fails(MALFORMED, connection="kept"), fails(INTERRUPTED, connection="kept")),
    },
    "No answer of the API": {
        "garbage-json:0": (fails(MALFORMED, connection="kept"), fails(MALFORMED, connection="free")),
        "garbage-json:4": (fails(MALFORMED, connection="kept"), breaks_off(3, MALFORMED, connection="free")),
        "invalid-utf8:4": (fails(MALFORMED, connection="kept"), breaks_off(3, MALFORMED, connection="free")),
        "in-band-error:0": (fails(INTERRUPTED, connection="kept"), fails(INTERRUPTED, connection="free")),
        "in-band-error:4": (fails(INTERRUPTED, connection="kept"), breaks_off(3, INTERRUPTED, connection="free")),
        "html": (fails(MALFORMED, connection="kept"), fails(MALFORMED, connection="free")),
        "deflate": (fails(MALFORMED, connection="free"), fails(MALFORMED, connection="free")),
        "bad-gzip": (fails(MALFORMED, connection="free"), fails(MALFORMED, connection="free")),
        "no-http": (fails(MALFORMED), fails(MALFORMED)),
        "redirect": (fails(MALFORMED, connection="kept"), fails(MALFORMED, connection="kept")),
    },
    "Refused": {
        "status:400": (fails("UPSTREAM_REJECTED", 1, connection="kept", switches=False),) * 2,
        "status:401": (fails("UPSTREAM_AUTH_FAILED", 1, connection="kept"),) * 2,
        "status:402": (fails("UPSTREAM_QUOTA_EXHAUSTED", 1, connection="kept"),) * 2,
        "status:403": (fails("UPSTREAM_AUTH_FAILED", 1, connection="kept"),) * 2,
        "status:404": (fails("UPSTREAM_MODEL_NOT_FOUND", 1, connection="kept"),) * 2,
        "status:408": (fails(TIMEOUT, connection="kept"),) * 2,
        "rate-limited": (ASKED_TWICE,) * 2,
        "rate-limited-for:0.5": WAITED,
        "rate-limited-for:3600": (fails(LIMITED, 1, connection="kept"),) * 2,
        "status:500": (REFUSED,) * 2,
        "fail-then-good": (answers(2), answers(2, connection="free")),
        "html:502": (REFUSED,) * 2,
        "status:503": (REFUSED,) * 2,
        "status:529": (REFUSED,) * 2,
    },
    "Not reached": {
        "refused": (fails(UNAVAILABLE, connection="none"),) * 2,
        "no-tls": (fails(UNAVAILABLE, connection="none"),) * 2,
        "no-name": (fails(UNAVAILABLE, connection="none"),) * 2,
    },
}
"""By section and fault: in one piece, and as a stream."""

EXPECTED: Final = {fault: pair for section in SECTIONS.values() for fault, pair in section.items()}
