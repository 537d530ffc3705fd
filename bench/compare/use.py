"""What processes take of the machine. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.compare.results import Memory

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS: Final = (3, 4)
"""Of /proc/stat's first line: idle, and waiting for a disk."""
_BUSY_FIELDS: Final = 8
"""Those behind are of guests, and counted before already."""


@dataclass(frozen=True)
class Spent:
    """Processor time between two moments."""

    cpu_s: dict[str, float]
    """By part."""
    machine_s: float
    wall_s: float
    ended: tuple[str, ...]
    """Parts of which a process ended meanwhile: what it took is not known."""


class Meter:
    """Watches parts, each a process with all its descendants, from when it is made."""

    def __init__(self, parts: Mapping[str, int]) -> None:
        self._parts = dict(parts)
        self._before = {name: _used_ns(pid) for name, pid in self._parts.items()}
        self._machine_s = _machine_s()
        self._at_s = time.monotonic()

    def spent(self) -> Spent:
        """Since the meter was made."""
        wall_s, machine_s = time.monotonic() - self._at_s, _machine_s() - self._machine_s
        cpu_s, ended = {}, []
        for name, pid in self._parts.items():
            before, now = self._before[name], _used_ns(pid)
            cpu_s[name] = sum(used - before.get(each, 0) for each, used in now.items()) / 1e9
            if before.keys() - now.keys():
                ended.append(name)
        return Spent(cpu_s, machine_s, wall_s, tuple(ended))


def memory(parts: Mapping[str, int]) -> dict[str, Memory]:
    """Of each part, now."""
    return {name: _memory(pid) for name, pid in parts.items()}


def until_quiet(parts: Mapping[str, int], limit_s: float = 5.0) -> None:
    """Wait until the parts have little left to do of what they were given before, at most `limit_s`."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        meter = Meter(parts)
        time.sleep(0.1)
        spent = meter.spent()
        if sum(spent.cpu_s.values()) < 0.1 * spent.wall_s:
            return


def listening_process(address: str) -> int:
    """The id of the process that listens there.

    Raises:
        LookupError: There is none.
    """
    port = int(address.rpartition(":")[2])
    for connection in psutil.net_connections("tcp"):
        address_of = connection.laddr
        if connection.status != psutil.CONN_LISTEN or not address_of or connection.pid is None:
            continue
        if address_of.port == port:
            return connection.pid
    raise LookupError(f"no process listens at {address}")


def _family(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def _used_ns(pid: int) -> dict[int, int]:
    found = {}
    for each in _family(pid):
        # The kernel's number of the clock of all threads of a process, also of those that have ended; exact, where
        # /proc/PID/stat counts in hundredths of a second. Source: clock_getcpuclockid(3), kernel CPUCLOCK_SCHED.
        with suppress(OSError):
            found[each] = time.clock_gettime_ns((~each << 3) | 2)
    return found


def _memory(pid: int) -> Memory:
    rss = pss = 0
    for each in _family(pid):
        with suppress(psutil.NoSuchProcess):
            told = psutil.Process(each).memory_full_info()
            rss += told.rss
            pss += told.pss
    return Memory(rss, pss)


def _machine_s() -> float:
    line = Path("/proc/stat").read_text("ascii").partition("\n")[0]
    fields = [int(each) for each in line.split()[1 : 1 + _BUSY_FIELDS]]
    return sum(each for at, each in enumerate(fields) if at not in _IDLE_FIELDS) / _TICKS_PER_S
