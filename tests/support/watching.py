"""What a running part holds: memory, descriptors, and for the service the tasks of its event loop."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.support.stack import Part, wait_for


@dataclass
class Holds:
    """What a process holds at one moment."""

    rss_mib: float
    descriptors: int
    tasks: Counter[str] = field(default_factory=Counter)


def holds(part: Part, *, with_tasks: bool = False) -> Holds:
    """What `part` and its children hold now; tasks are known of a watched service alone."""
    process = psutil.Process(part.process.pid)
    tasks = _tasks(part) if with_tasks else Counter[str]()
    held = Holds(process.memory_info().rss / 2**20, process.num_fds(), tasks)
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            held.rss_mib += child.memory_info().rss / 2**20
            held.descriptors += child.num_fds()
    return held


def settled(
    part: Part, is_settled: Callable[[Holds], bool], *, with_tasks: bool = False, within_s: float = 20
) -> Holds:
    """What `part` holds as soon as `is_settled` says so, or at the end of `within_s`: for the caller to judge."""
    last: list[Holds] = []

    def look() -> bool:
        last[:] = [holds(part, with_tasks=with_tasks)]
        return is_settled(last[0])

    with contextlib.suppress(AssertionError):  # told by what is returned
        wait_for(look, within_s)
    return last[0]


def _tasks(part: Part) -> Counter[str]:
    before = len(part.json_lines("holds"))
    part.process.send_signal(signal.SIGUSR1)
    line = wait_for(lambda: part.json_lines("holds")[before:], 20)[-1]
    return Counter({str(name): int(count) for name, count in line["tasks"].items()})
