"""The access log: one JSON line per call, without prompts, answers and keys."""

from __future__ import annotations

import sys
import time
from typing import Protocol

import msgspec

from service.rpc.call import Call

_encode = msgspec.json.Encoder().encode


class Sink(Protocol):
    """Where the lines go: unbuffered, so that a line is written now or lost."""

    def write(self, data: bytes, /) -> object:
        """Write a line."""


class AccessLog:
    """Writes the lines."""

    def __init__(self, out: Sink | None = None) -> None:
        self._out = out or open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - it has no path, and lives as long as the process
        self._lost = 0

    def write(self, call: Call, status: str, reason: str | None = None, param: str | None = None) -> None:
        """Write the line of a call that has ended with the gRPC status named `status`.

        It never raises: a full disk must not fail calls. The next line that can be written tells in
        `lost` how many could not.
        """
        now = time.monotonic()
        line = {
            "time": round(time.time(), 3),
            "level": "info",
            "event": "call",
            "request_id": call.request_id,
            "method": call.method,
            "key": call.key_name,
            "model": call.model,
            "provider": call.provider,
            "status": status,
            "reason": reason,
            "param": param,
            "duration_ms": round((now - call.started) * 1000, 3),
            "ttft_ms": None if call.first_token is None else round((call.first_token - call.started) * 1000, 3),
            "tokens_in": call.usage.prompt_tokens if call.usage else None,
            "tokens_out": call.usage.completion_tokens if call.usage else None,
            "cost_usd": call.usage.cost_usd if call.usage and call.usage.HasField("cost_usd") else None,
            "finish_reason": call.finish_reason,
        }
        if call.dropped:
            line["dropped_params"] = call.dropped
        if self._lost:
            line["lost"] = self._lost
        try:
            self._out.write(_encode(line) + b"\n")
        except (OSError, ValueError):  # no space, a closed pipe, a closed file
            self._lost += 1
        else:
            self._lost = 0
