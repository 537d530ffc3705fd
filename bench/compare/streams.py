"""Loads by the client of this benchmark: streams, and requests at a fixed rate."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import IO, Final

import msgspec

from bench.compare.bodies import body, order, path
from bench.compare.client import job as telling
from bench.compare.client.job import Job, Outcome
from bench.compare.contenders import Contender
from bench.compare.gateways.processes import ROOT
from bench.compare.measures import MANY_GAP_MS, Steady, Streams
from bench.compare.results import Memory, Slice, times_of
from bench.compare.use import Meter, Spent, memory

_PROVIDER: Final = "provider"
_LOAD: Final = "load"
_PROBES_PER_S: Final = 40.0
"""While the streams run: so few that they don't matter beside their events."""
_PROBES_SLICES: Final = 1.0
"""How long they are sent, in slices."""
_STEADY_SLICES: Final = 3
_MARGIN_S: Final = 1.0
_OPENING_S: Final = 1.5
"""How long a gateway is given to open all streams, until it has shown that it needs longer."""
_OPENING_LIMIT_S: Final = 30.0
_ENDLESS: Final = 999_999_999
"""Events: more than anybody reads."""
_STARVED_S: Final = 5.0
"""For that long streams without a pause may let others wait for their first event."""
_WARM_UP_STREAMS: Final = 20
_WARM_UP_EVENTS: Final = 10
_WARM_UP_GAP_MS: Final = 20


class StreamLoad:
    """Remembers how long each contender takes to open streams, so that all are open when events count."""

    def __init__(self, slice_s: float) -> None:
        self._slice_s = slice_s
        self._opening_s: dict[tuple[str, int], float] = {}

    def run(self, measure: Streams, contender: Contender, number: int) -> Slice:
        """One slice, of that round; once more, with longer streams, where some ended before the others had begun."""
        found, outcome = self._run(measure, contender, number)
        if not outcome.was_full and measure.gap_ms:
            found, outcome = self._run(measure, contender, number)
        if not outcome.was_full and measure.gap_ms:
            found = msgspec.structs.replace(
                found, problems={**found.problems, "some streams ended before the window did": 1}
            )
        return found

    def memory(self, streams: int, contender: Contender, number: int) -> Slice:
        """What open streams take, in a gateway that has just been started and has had a few before."""
        few = Streams("", "", _WARM_UP_STREAMS, _WARM_UP_GAP_MS)
        warming = msgspec.structs.replace(
            self._job(few, contender),
            stream=body(contender.face, order(_WARM_UP_EVENTS, _WARM_UP_GAP_MS), is_stream=True),
            events=_WARM_UP_EVENTS,
            window_s=0.0,
            single=0,
        )
        _client(warming, contender)
        before = memory(contender.parts)
        held: dict[str, Memory] = {}
        # There is one try only, so they last as long as it may take to open them.
        job = msgspec.structs.replace(
            self._job(Streams("", "", streams, MANY_GAP_MS), contender),
            stream=body(contender.face, order(_ENDLESS, MANY_GAP_MS), is_stream=True),
            events=0,
            single=0,
        )
        outcome, spent = _client(job, contender, lambda: held.update(memory(contender.parts)))
        found = _slice("memory", contender, number, outcome, spent)
        return msgspec.structs.replace(found, memory_before=before, memory_open=held)

    def _run(self, measure: Streams, contender: Contender, number: int) -> tuple[Slice, Outcome]:
        outcome, spent = _client(self._job(measure, contender), contender)
        key = (contender.name, measure.streams)
        self._opening_s[key] = max(self._opening_s.get(key, 0.0), 1.3 * outcome.opening_s)
        return _slice(measure.name, contender, number, outcome, spent), outcome

    def _job(self, measure: Streams, contender: Contender) -> Job:
        face = contender.face
        # The first time nobody knows: a thousand streams that take a second at one gateway take ten at another.
        unknown_s = max(_OPENING_S, measure.streams / 250)
        opening_s = max(_OPENING_S, self._opening_s.get((contender.name, measure.streams), unknown_s))
        singly_s = self._slice_s * _PROBES_SLICES if measure.gap_ms else 0.0
        lasting_s = opening_s + self._slice_s + singly_s + _MARGIN_S
        events = math.ceil(lasting_s * 1000 / measure.gap_ms) if measure.gap_ms else 0
        asked = order(events or _ENDLESS, measure.gap_ms)
        return Job(
            protocol=face.protocol,
            address=face.address,
            path=path(face, is_stream=True),
            headers=dict(face.headers),
            stream=body(face, asked, is_stream=True),
            probe=body(face, order(1, 0), is_stream=True),
            streams=measure.streams,
            events=events,
            is_paced=measure.gap_ms > 0,
            opening_limit_s=_OPENING_LIMIT_S if measure.gap_ms else _STARVED_S,
            # What comes without a pause may come in lumps.
            window_s=self._slice_s * (1 if measure.gap_ms else 2),
            single=round(singly_s * _PROBES_PER_S),
            per_s=_PROBES_PER_S,
        )


def run_steady(measure: Steady, contender: Contender, number: int, slice_s: float) -> Slice:
    """Requests at a fixed rate, for longer than other slices: so there are enough for a p99."""
    face = contender.face
    job = Job(
        protocol=face.protocol,
        address=face.address,
        path=path(face),
        headers=dict(face.headers),
        unary=body(face, measure.messages()),
        single=round(_STEADY_SLICES * slice_s * measure.per_s),
        per_s=measure.per_s,
    )
    outcome, spent = _client(job, contender)
    return _slice(measure.name, contender, number, outcome, spent)


def _client(job: Job, contender: Contender, look: Callable[[], None] = lambda: None) -> tuple[Outcome, Spent]:
    """Run it; `look` is called at the end of the window, while the streams are open.

    Raises:
        RuntimeError: It has ended without an outcome; what it wrote is on the standard error.
    """
    words = [sys.executable, "-m", "bench.compare.client"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as client:  # noqa: S603  # by this interpreter
        assert client.stdin is not None  # noqa: S101  # as asked for
        assert client.stdout is not None  # noqa: S101  # as asked for
        try:
            client.stdin.write(msgspec.json.encode(job))
            client.stdin.close()
            outcome, spent = _follow(
                client.stdout, {**contender.parts, _PROVIDER: contender.provider, _LOAD: client.pid}, look
            )
        except BaseException:
            client.kill()
            raise
    if outcome is None:
        raise RuntimeError(f"the client of the benchmark ended with code {client.returncode} and without an outcome")
    # Without a window nothing was connected, as the outcome tells.
    return outcome, spent or Spent({_PROVIDER: 0.0, _LOAD: 0.0}, 0.0, 0.0, ())


def _follow(
    lines: IO[bytes], watched: Mapping[str, int], look: Callable[[], None]
) -> tuple[Outcome | None, Spent | None]:
    meter: Meter | None = None
    spent: Spent | None = None
    outcome: Outcome | None = None
    for line in lines:
        match line.decode():
            case telling.BEGUN:
                meter = Meter(watched)
            case telling.ENDED if meter is not None:
                spent = meter.spent()
                look()
            case told:
                outcome = msgspec.json.decode(told, type=Outcome)
    return outcome, spent


def _slice(measure: str, contender: Contender, number: int, outcome: Outcome, spent: Spent) -> Slice:
    singles = times_of([each / 1000 for each in outcome.single_ns])
    is_steady = not outcome.window_s
    done = len(outcome.single_ns) if is_steady else outcome.events
    lasted_s = outcome.window_s or spent.wall_s
    problems = outcome.problems | {f"a process of {part} ended": 1 for part in spent.ended}
    if not done:
        problems["nothing came in all the time"] = 1
    return Slice(
        measure=measure,
        contender=contender.name,
        round=number,
        done=done,
        per_s=done / lasted_s if lasted_s else 0.0,
        wall_s=spent.wall_s,
        failed=outcome.failed,
        problems=problems,
        times=singles if is_steady else times_of([each / 1000 for each in outcome.delays_ns]),
        first_token=None if is_steady else singles,
        opened=outcome.opened,
        opening_s=outcome.opening_s,
        cpu_s={part: used for part, used in spent.cpu_s.items() if part not in {_PROVIDER, _LOAD}},
        load_cpu_s=spent.cpu_s[_LOAD],
        provider_cpu_s=spent.cpu_s[_PROVIDER],
        machine_s=spent.machine_s,
    )
