"""Unary load, by h2load: requests as fast as they are answered.

Of Debian 12's (1.52): over HTTP/1.1 `-D` never ends and `--rps` is not kept where there is a body, so the number of
requests is given; `--log-file` is written at the end of what was there. It counts the status of HTTP only: that gRPC
calls have an answer is seen by the number of bytes.
"""

from __future__ import annotations

import http.client
import json
import re
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, cast

import grpc

from bench.compare.bodies import body, path
from bench.compare.contenders import Contender
from bench.compare.gateways.gateway import Face
from bench.compare.measures import Unary
from bench.compare.results import Slice, times_of
from bench.compare.use import Meter
from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion

_LIMIT_S: Final = 90.0
"""Of one run of h2load; a slow gateway takes as many seconds as were guessed, or a few more."""
_QUESTION_S: Final = 60.0
_PREFIX_BYTES: Final = 5
"""Before a message of gRPC: whether it is compressed, and its length."""
_CALLS_PER_CONNECTION: Final = 16
"""Of gRPC: 256 in flight come by 16 connections, 32 by two."""
_FEWEST: Final = 20
"""Requests of a slice, for a rate at all."""
_PILOT_S: Final = 0.5
"""By a run of so long the next one's number of requests is told. It warms up, too."""
_DATA: Final = re.compile(r"^traffic: .* \((\d+)\) data$", re.MULTILINE)
_SHORT_BY: Final = 0.005
"""Answers may differ in length by so much: identifiers and numbers in them do."""


@dataclass(frozen=True)
class Logged:
    """A request in h2load's log."""

    began_us: int
    status: int
    taken_us: int


@dataclass(frozen=True)
class _Target:
    """Where the load goes."""

    face: Face
    body_file: Path
    answer_bytes: int
    """Of a good answer, as it was when one was asked for before."""


class UnaryLoad:
    """Remembers how fast each contender was, so that slices take as long as they should."""

    def __init__(self, slice_s: float) -> None:
        self._slice_s = slice_s
        self._rates: dict[tuple[str, str], float] = {}

    def run(self, measure: Unary, contender: Contender, number: int) -> Slice:
        """One slice, of that round.

        Raises:
            ValueError: The contender does not answer a single question as it should.
        """
        face = contender.face
        with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
            file = Path(folder) / "body"
            file.write_bytes(body(face, measure.messages()))
            target = _Target(face, file, checked_answer(face, file.read_bytes()))
            key = (measure.name, contender.name)
            if key not in self._rates:
                self._rates[key] = self._pilot(target, measure.in_flight)
            # Long enough that each of those in flight is answered twice; else the rate is that of the first answers.
            requests = max(round(self._rates[key] * self._slice_s), 2 * measure.in_flight, _FEWEST)
            found = _slice(measure, contender, number, target, requests)
        checked_answer(face, body(face, measure.messages()))
        if found.per_s:
            self._rates[key] = found.per_s
        return found

    def _pilot(self, target: _Target, in_flight: int) -> float:
        requests = max(in_flight, _FEWEST)
        while True:
            logged, _ = _h2load(target, in_flight, requests)
            rate = rate_of(logged)
            took_s = len(logged) / rate if rate else _PILOT_S
            if took_s >= min(_PILOT_S, self._slice_s):
                return rate or 1.0
            requests *= 4


def checked_answer(face: Face, asked: bytes) -> int:
    """Ask once; the bytes of the answer's body.

    Raises:
        ValueError: It is no answer.
    """
    answer = _answer_of_grpc(face, asked) if face.protocol == "grpc" else _answer_of_rest(face, asked)
    try:
        text = (
            ChatCompletion.FromString(answer[_PREFIX_BYTES:]).choices[0].message.content
            if face.protocol == "grpc"
            else json.loads(answer)["choices"][0]["message"]["content"]
        )
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError("a question was answered with something that is no chat completion") from error
    if not text:
        raise ValueError("a question was answered without text")
    return len(answer)


def _answer_of_grpc(face: Face, asked: bytes) -> bytes:
    """With the bytes before the message."""
    with grpc.insecure_channel(face.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path(face))
        try:
            answer = call(asked[_PREFIX_BYTES:], metadata=tuple(face.headers.items()), timeout=_QUESTION_S)
        except grpc.RpcError as error:
            code = cast(grpc.Call, error).code()  # what a call raises is both
            raise ValueError(f"a question was answered with {code}") from error
    return bytes(_PREFIX_BYTES) + answer


def _answer_of_rest(face: Face, asked: bytes) -> bytes:
    connection = http.client.HTTPConnection(face.address, timeout=_QUESTION_S)
    try:
        connection.request("POST", face.path, asked, {"content-type": "application/json", **face.headers})
        answer = connection.getresponse()
        read = answer.read()
    except http.client.HTTPException as error:
        raise ValueError("a question had no whole answer") from error
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise ValueError(f"a question was answered with status {answer.status}")
    return read


def rate_of(logged: Sequence[Logged]) -> float:
    """Requests per second, without the beginning and the end, where not all that may be are in flight."""
    ends = sorted(each.began_us + each.taken_us for each in logged)
    cut = len(ends) // 10
    middle = ends[cut : len(ends) - cut]
    if len(middle) < 2 or middle[0] == middle[-1]:  # noqa: PLR2004  # it takes two for a distance
        return 0.0
    return (len(middle) - 1) / (middle[-1] - middle[0]) * 1e6


def parse_log(text: str) -> list[Logged]:
    """What h2load's `--log-file` has written."""
    found = []
    for line in text.splitlines():
        began_us, status, taken_us = line.split("\t")[:3]
        found.append(Logged(int(began_us), int(status), int(taken_us)))
    return found


def empty_answers(told: str, good: int, answer_bytes: int) -> int:
    """How many of the answers with status 200 must have been empty, by all their bytes."""
    if (found := _DATA.search(told)) is None:
        return 0
    expected = good * answer_bytes
    missing = expected - int(found[1])
    return round(missing / answer_bytes) if missing > expected * _SHORT_BY else 0


def _slice(measure: Unary, contender: Contender, number: int, target: _Target, requests: int) -> Slice:
    meter = Meter({**contender.parts, "provider": contender.provider})
    own_s = _children_s()
    logged, told = _h2load(target, measure.in_flight, requests)
    own_s = _children_s() - own_s
    spent = meter.spent()
    good = [each for each in logged if each.status == HTTPStatus.OK]
    problems = {f"a process of {part} ended": 1 for part in spent.ended}
    for each in logged:
        if each.status != HTTPStatus.OK:
            problem = "cut" if each.status < 0 else f"status {each.status}"
            problems[problem] = problems.get(problem, 0) + 1
    if requests > len(logged):
        problems["no answer"] = requests - len(logged)
    if empty := empty_answers(told, len(good), target.answer_bytes):
        problems["status 200 without an answer"] = empty
    return Slice(
        measure=measure.name,
        contender=contender.name,
        round=number,
        done=len(good) - empty,
        per_s=rate_of(good),
        wall_s=spent.wall_s,
        failed=requests - len(good) + empty,
        problems=problems,
        times=times_of([each.taken_us for each in good]),
        cpu_s={part: used for part, used in spent.cpu_s.items() if part != "provider"},
        load_cpu_s=own_s,
        provider_cpu_s=spent.cpu_s["provider"],
        machine_s=spent.machine_s,
    )


def _h2load(target: _Target, in_flight: int, requests: int) -> tuple[list[Logged], str]:
    """The log and what it has told; of one that did not end in time, what there is."""
    face = target.face
    log = target.body_file.with_name("log")
    log.unlink(missing_ok=True)
    if face.protocol == "grpc":
        connections = -(-in_flight // _CALLS_PER_CONNECTION)
        fields = {"content-type": "application/grpc", "te": "trailers", **face.headers}
        words = ["-c", str(connections), "-m", str(-(-in_flight // connections))]
    else:
        fields = {"content-type": "application/json", **face.headers}
        words = ["--h1", "-c", str(in_flight)]
    words += [word for name, value in fields.items() for word in ("-H", f"{name}: {value}")]
    words += ["-n", str(requests), "-d", str(target.body_file), f"--log-file={log}"]
    words.append(f"http://{face.address}{path(face)}")
    try:
        done = subprocess.run(["h2load", *words], capture_output=True, text=True, timeout=_LIMIT_S, check=False)  # noqa: S603, S607  # as the system has installed it
        told = done.stdout
    except subprocess.TimeoutExpired:
        told = ""  # what is missing counts as failed
    return parse_log(log.read_text("ascii")) if log.exists() else [], told


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
