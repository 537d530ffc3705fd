"""The service, which tells at SIGUSR1 what it holds: `python -m tests.support.watched_service`.

Nothing of it is changed. The line is `{"event": "holds", "tasks": {name: count}}`, by the coroutines
that the event loop's tasks run.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
import sys
from collections import Counter
from typing import Any


def _tell(_number: int, _frame: Any) -> None:
    tasks = Counter(_name(task) for task in asyncio.all_tasks() if not task.done())
    sys.stdout.write(json.dumps({"event": "holds", "tasks": tasks}) + "\n")
    sys.stdout.flush()


def _name(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    return str(getattr(coroutine, "__qualname__", coroutine))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    runpy.run_module("service", run_name="__main__", alter_sys=True)
