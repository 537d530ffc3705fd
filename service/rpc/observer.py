"""Who is told of calls that have ended."""

from __future__ import annotations

from typing import Protocol

from service.rpc.call import Call


class CallObserver(Protocol):
    """Is told of each call once: when its line is written to the access log, and all is known of it."""

    def ended(self, call: Call, status: str, reason: str | None) -> None:
        """Take note of a call; it never raises.

        Args:
            call: As it has ended; a caller who left may have been gone for a while.
            status: Name of the gRPC status.
            reason: Name of the `Reason`, where it has failed with one.
        """
