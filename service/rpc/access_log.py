"""The access log: one JSON line per call, without prompts, answers and keys."""

from __future__ import annotations

import sys
import time
from typing import Protocol

import msgspec

from service.dispatch.call import Attempt
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
        line = _line(call)
        line.update(status=status, reason=reason, param=param)
        if self._lost:
            line["lost"] = self._lost
        try:
            self._out.write(_encode(line) + b"\n")
        except (OSError, ValueError):  # no space, a closed pipe, a closed file
            self._lost += 1
        else:
            self._lost = 0


def _line(call: Call) -> dict[str, object]:
    ended = call.ended or time.monotonic()
    target, usage = call.journal.target, call.usage
    line: dict[str, object] = {
        "time": round(time.time(), 3),
        "level": "info",
        "event": "call",
        "request_id": call.request_id,
        "method": call.method,
        "key": call.key.name if call.key else None,
        "model": call.model,
        "provider": target.provider if target else None,
        "target": str(target) if target else None,
        "attempts": len(call.journal.attempts),
        "status": None,
        "reason": None,
        "param": None,
        "duration_ms": _milliseconds(call.started, ended),
        "ttft_ms": None if call.first_token is None else _milliseconds(call.started, call.first_token),
        "tokens_in": usage.prompt_tokens if usage else None,
        "tokens_out": usage.completion_tokens if usage else None,
        "cost_usd": usage.cost_usd if usage and usage.HasField("cost_usd") else None,
        "finish_reason": call.finish_reason,
    }
    _add_membership(line, call)
    if len(call.journal.attempts) > 1:
        line["tried"] = [_tried(attempt, ended) for attempt in call.journal.attempts]
    if call.journal.tools:
        line["tools"] = len(call.journal.tools)
    if call.is_usage_estimated:
        line["usage_estimated"] = True
    if call.drain is not None:
        line["drained"] = True
    if call.journal.dropped:
        line["dropped_params"] = call.journal.dropped
    return line


def _add_membership(line: dict[str, object], call: Call) -> None:
    """What the call belongs to, where it does."""
    if call.trace_id is not None:
        line["trace_id"] = call.trace_id
    if (span_id := call.span_id) is not None:
        line["span_id"] = span_id
    if call.project is not None:
        line["project"] = call.project
    if call.arm is not None:
        line.update(campaign=call.campaign, arm=call.arm)
    if call.is_stored is not None:
        line["stored"] = call.is_stored


def _tried(attempt: Attempt, ended: float) -> dict[str, object]:
    duration_ms = _milliseconds(attempt.started, ended if attempt.ended is None else attempt.ended)
    return {"target": str(attempt.target), "outcome": attempt.outcome, "ms": duration_ms}


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
