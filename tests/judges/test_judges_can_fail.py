"""The judges' own judgement: each promise that they hold can be seen broken."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest

from tests.judges import test_fuzz_grpc, test_fuzz_rest
from tests.judges.asked import MARK
from tests.judges.raw_http import Answer
from tests.soak.soak import Round, Soak
from tests.support.watching import Holds

CODE = grpc.StatusCode


def _answer(status: int, error: dict[str, Any] | None = None, *, body: str = "", head: str = "") -> Answer:
    text = json.dumps({"error": error}) if error else body
    return Answer(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n{head}\r\n{text}".encode())


ERROR = {"message": "m", "type": "invalid_request_error", "param": None, "code": "invalid_value"}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (_answer(400, ERROR), ""),
        (_answer(200, body="{}"), ""),
        (_answer(405), ""),
        (Answer(b""), ""),
        (Answer(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00"), ""),
        (Answer(b"HTTP/1.1 100 Continue\r\n\r\n" + _answer(400, ERROR).raw), ""),
        (Answer(b"", is_hung=True), "neither an answer nor an end"),
        (Answer(b"oops"), "no HTTP"),
        (_answer(400, body="no healthy upstream"), "no envelope"),
        (_answer(400, {"message": "m"}), "no envelope"),
        (_answer(400, {**ERROR, "message": f"not {MARK}"}), "a prompt in an error"),
        (_answer(400, ERROR, head=f"x-told: {MARK}\r\n"), "a prompt in an error"),
        (_answer(500, ERROR), "the gateway's or the service's fault"),
        (_answer(504, {**ERROR, "code": "deadline_exceeded"}), ""),
        (_answer(504, {**ERROR, "code": "max_ttft_exceeded"}), ""),
        (_answer(503, {**ERROR, "code": "storage_unavailable"}), "the gateway's or the service's fault"),
        (_answer(503), "the gateway's or the service's fault"),
    ],
)
def test_what_the_fuzz_of_rest_complains_of(answer: Answer, complaint: str) -> None:
    assert test_fuzz_rest._complaint(answer) == complaint


@pytest.mark.parametrize(
    ("code", "text", "reason", "complaint"),
    [
        (CODE.OK, "", "", ""),
        (CODE.INVALID_ARGUMENT, "m", "PARAMETER_INVALID", ""),
        (CODE.DEADLINE_EXCEEDED, "m", "", ""),
        (CODE.INVALID_ARGUMENT, "m", "", "no reason of ours"),
        (CODE.INVALID_ARGUMENT, "m", "INTERNAL", "no reason of ours"),
        (CODE.INVALID_ARGUMENT, MARK, "PARAMETER_INVALID", "a prompt in the status"),
        (CODE.INTERNAL, "m", "UPSTREAM_MALFORMED", "not the caller's fault, it says"),
        (CODE.UNKNOWN, "m", "", "not the caller's fault, it says"),
        (CODE.UNAVAILABLE, "m", "UPSTREAM_UNAVAILABLE", "not the caller's fault, it says"),
    ],
)
def test_what_the_fuzz_of_grpc_complains_of(code: grpc.StatusCode, text: str, reason: str, complaint: str) -> None:
    assert test_fuzz_grpc._complaint(code, text, reason) == complaint


QUIET = Round(1.0, 500, 500, [], 0.1, Holds(80, 20, Counter(["run"])), Holds(100, 40))


def _worse(**changes: Any) -> Round:
    return replace(QUIET, **changes)


@pytest.mark.parametrize(
    ("rounds", "connections", "complaint"),
    [
        ([QUIET] * 6, 0, ""),
        ([QUIET] * 5 + [_worse(service=Holds(88, 23, Counter(["run"])))], 0, ""),
        ([*[QUIET] * 3, _worse(complaints=["rest r3-1: no proper ending"]), QUIET], 0, "no proper ending"),
        ([*[QUIET] * 3, _worse(slowest_close_s=9.0), QUIET], 0, "closed only after 9.0 s"),
        ([*[QUIET] * 5, _worse(service=Holds(80, 20, Counter(["run", "pump"])))], 0, "tasks: "),
        (
            [*[QUIET] * 5, _worse(service=Holds(80, 60, Counter(["run"])))],
            0,
            "service: 20 descriptors before, 60 after",
        ),
        ([*[QUIET] * 5, _worse(gateway=Holds(100, 90))], 0, "Envoy: 40 descriptors before, 90 after"),
        (
            [_worse(service=Holds(80 + 8 * n, 20, Counter(["run"]))) for n in range(8)],
            0,
            "service: resident memory grew",
        ),
        ([_worse(gateway=Holds(100 + 9 * n, 40)) for n in range(8)], 0, "gateway: resident memory grew"),
        ([QUIET] * 5, 3, "3 connections are left"),
    ],
)
def test_what_the_soak_complains_of(rounds: list[Round], connections: int, complaint: str) -> None:
    complaints = Soak(QUIET, rounds, connections).complaints()

    assert (complaints == []) if not complaint else (len(complaints) == 1 and complaint in complaints[0])
