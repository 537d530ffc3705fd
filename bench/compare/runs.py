"""The whole run: each provider with all gateways behind it, in rounds, so that all have the same of what the machine does."""

from __future__ import annotations

import logging
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from bench.compare.contenders import Contender, contenders_of, direct
from bench.compare.gateways import Gateway
from bench.compare.gateways.processes import ENVIRONMENTS
from bench.compare.load import UnaryLoad
from bench.compare.measures import Measure, Steady, Streams, Unary, chosen, stream_measures, unary_measures
from bench.compare.provider import stream_provider, unary_provider
from bench.compare.results import GatewayTold, Machine, Results, Slice
from bench.compare.streams import StreamLoad, run_steady
from bench.compare.use import listening_process, until_quiet

_log = logging.getLogger(__name__)
_SEED: Final = 7
"""Of the order in which contenders have their turns: another in each round, the same in each run."""
Provider = Callable[[Path], AbstractContextManager[str]]


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    gateways: Sequence[Gateway]
    rounds: int
    slice_s: float
    few: int
    many: int
    groups: Sequence[str] = ()
    """None: all."""


@dataclass
class Run:
    """A run, and what it has found so far."""

    options: Options
    folder: Path
    """For configurations and logs."""
    slices: list[Slice] = field(default_factory=list)
    started_s: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Gateways that can't be installed or started, and why."""

    def all(self) -> Results:
        """Do it."""
        began, began_s = datetime.now(UTC), time.monotonic()
        self._install()
        options = self.options
        unary = [each for each in unary_measures() if chosen(options.groups, each.group)]
        streams = [each for each in stream_measures(options.few, options.many) if chosen(options.groups, each.group)]
        if chosen(options.groups, "memory"):
            self._memory()
        if unary:
            self._rounds("unary", unary_provider, unary, streams=False)
        if streams:
            self._rounds("streams", lambda _: stream_provider(), streams, streams=True)
        told = {
            each.name: GatewayTold(
                version=each.version,
                settings=each.settings,
                started_s=self.started_s.get(each.name, []),
                failure=self.failures.get(each.name, ""),
            )
            for each in options.gateways
        }
        return Results(
            began=began.isoformat(timespec="seconds"),
            took_s=time.monotonic() - began_s,
            machine=_machine(),
            rounds=options.rounds,
            slice_s=options.slice_s,
            few=options.few,
            many=options.many,
            gateways=told,
            slices=self.slices,
        )

    def _install(self) -> None:
        ENVIRONMENTS.mkdir(exist_ok=True)
        for gateway in self.options.gateways:
            _say(f"{gateway.name} {gateway.version}")
            with self._kept(gateway):
                gateway.install(ENVIRONMENTS)

    def _memory(self) -> None:
        """Each face in a process of its own, which has held no streams before: heaps don't shrink."""
        load = StreamLoad(1.0)
        with stream_provider() as provider:
            pid = listening_process(provider)
            for gateway in self.streaming():
                with self._kept(gateway):
                    number, faces = 0, 1
                    while number < faces:
                        with ExitStack() as stack:
                            contenders = self._start(gateway, provider, pid, f"memory{number}", stack)
                            self._take(load.memory(self.options.many, contenders[number], 0))
                        number, faces = number + 1, len(contenders)

    def _rounds(self, name: str, provider: Provider, measures: Sequence[Measure], *, streams: bool) -> None:
        folder = self._folder("provider", name)
        with provider(folder) as address, ExitStack() as stack:
            contenders = [direct(address)]
            for gateway in self.streaming() if streams else self._sound():
                with self._kept(gateway):
                    contenders += self._start(gateway, address, contenders[0].provider, name, stack)
            turn = random.Random(_SEED)  # noqa: S311  # no secret; it has to be the same again
            one = self._taker()
            for number in range(self.options.rounds):
                for measure in measures:
                    for contender in turn.sample(contenders, len(contenders)):
                        until_quiet({**contender.parts, "provider": contender.provider})
                        self._take(one(measure, contender, number))

    def _taker(self) -> Callable[[Measure, Contender, int], Slice]:
        slice_s = self.options.slice_s
        unary, streams = UnaryLoad(slice_s), StreamLoad(slice_s)

        def take(measure: Measure, contender: Contender, number: int) -> Slice:
            try:
                match measure:
                    case Unary():
                        return unary.run(measure, contender, number)
                    case Steady():
                        return run_steady(measure, contender, number, slice_s)
                    case Streams():
                        return streams.run(measure, contender, number)
            except (ValueError, OSError) as error:
                # One that can't do it at all (a body that it takes for too long) is told, and the others go on.
                reason = str(error) if isinstance(error, ValueError) else type(error).__name__
                return Slice(
                    measure=measure.name,
                    contender=contender.name,
                    round=number,
                    done=0,
                    per_s=0.0,
                    wall_s=0.0,
                    failed=1,
                    problems={reason: 1},
                )

        return take

    def _start(self, gateway: Gateway, provider: str, pid: int, name: str, stack: ExitStack) -> list[Contender]:
        running = stack.enter_context(gateway.start(provider, self._folder(gateway.name, name)))
        self.started_s.setdefault(gateway.name, []).append(running.started_s)
        _say(f"{gateway.name}: the first answer after {running.started_s:.1f} s")
        return contenders_of(gateway.name, running, pid)

    def _take(self, found: Slice) -> None:
        self.slices.append(found)
        times = f", p50 {found.times.p50_us / 1000:.2f} ms" if found.times else ""
        failed = f", FAILED {found.failed}: {found.problems}" if found.failed or found.problems else ""
        _say(f"{found.round + 1} {found.measure:17} {found.contender:12} {found.per_s:9.0f}/s{times}{failed}")

    def _sound(self) -> list[Gateway]:
        return [each for each in self.options.gateways if each.name not in self.failures]

    def streaming(self) -> list[Gateway]:
        """Those that still take part where streams are measured."""
        return [each for each in self._sound() if each.has_streams]

    @contextmanager
    def _kept(self, gateway: Gateway) -> Iterator[None]:
        """Where it fails the run goes on without it, and tells so."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, the others are measured
            self.failures[gateway.name] = f"{type(error).__name__}: {error}"
            _log.warning("%s takes no part any more", gateway.name, exc_info=True)

    def _folder(self, *names: str) -> Path:
        folder = self.folder.joinpath(*names)
        folder.mkdir(parents=True)
        return folder


def _machine() -> Machine:
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return Machine(
        cores=os.cpu_count() or 1,
        processor=processor,
        kernel=platform.release(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
