"""What a replica tells Envoy of its load: ORCA's messages, written by hand.

Source: https://github.com/cncf/xds/blob/main/xds/data/orca/v3/orca_load_report.proto, 2026-11-22.
"""

from __future__ import annotations

import math
import struct
from enum import Enum
from typing import Final

TRAILER: Final = "endpoint-load-metrics-bin"
SERVICE: Final = "xds.service.orca.v3.OpenRcaService"
METHOD: Final = "StreamCoreMetrics"
_RPS_FRACTIONAL: Final = 6
_EPS: Final = 7
_APPLICATION_UTILIZATION: Final = 9
_DOUBLE: Final = 1
"""Protobuf's wire type of eight bytes."""
_CAPACITY: Final = 1000
"""Open calls that count as full use. Envoy cuts weights to whole numbers; so they have three digits."""
_RATE_OVER_S: Final = 10.0


class Telling(Enum):
    """How the load is told; Envoy's weight is calls per second / (utilization + share of failures)."""

    NOTHING = "nothing"
    RATE = "calls per second, and open calls as utilization: the weight follows the cost of a call"
    INVERSE = "a fixed rate: the weight is 1 / open calls"
    STEEP = "a fixed rate: the weight is 1 / open calls squared"


class Rate:
    """Calls per second, of which older ones count ever less."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._at_s = 0.0

    def count(self, now_s: float) -> None:
        """One more."""
        self._per_s = self.per_s(now_s) + 1 / _RATE_OVER_S
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        """As of now."""
        return self._per_s * math.exp((self._at_s - now_s) / _RATE_OVER_S)


def report(telling: Telling, open_calls: int, calls_per_s: float, failing: float) -> bytes:
    """An OrcaLoadReport; `failing` is the share of calls that fail.

    Envoy leaves out a report without a rate or without utilization, so an idle replica tells a little of both.
    """
    match telling:
        case Telling.INVERSE:
            return _message(_CAPACITY, (open_calls + 1) / _CAPACITY, failing)
        case Telling.STEEP:
            return _message(_CAPACITY, (open_calls + 1) ** 2 / _CAPACITY, failing)
        case _:
            return _message(max(calls_per_s, 0.01), max(open_calls, 0.5) / _CAPACITY, failing)


def _message(calls_per_s: float, utilization: float, failing: float) -> bytes:
    """27 bytes, and a multiple of three it must be: gRPC pads no base64, and Envoy reads no other."""
    fields = {_RPS_FRACTIONAL: calls_per_s, _EPS: failing * calls_per_s, _APPLICATION_UTILIZATION: utilization}
    return b"".join(struct.pack("<Bd", number << 3 | _DOUBLE, value) for number, value in fields.items())
