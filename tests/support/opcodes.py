"""Counts what the interpreter executes: a measure of work that is the same on a busy machine and an idle one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

Tracer = Callable[[FrameType, str, Any], Any]


async def opcodes_of(work: Callable[[], Awaitable[object]]) -> int:
    """How many bytecode instructions this thread executes until `work` has ended, those of tests left out.

    Work of libraries in C is not counted. Frames that were entered before are not, either, until they are resumed.
    """
    count = 0

    def count_one(frame: FrameType, event: str, _argument: Any) -> Tracer:
        nonlocal count
        count += event == "opcode"
        return count_one

    def enter(frame: FrameType, _event: str, _argument: Any) -> Tracer | None:
        if "/tests/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return count_one

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        await work()
    finally:
        sys.settrace(before)
    assert threading.current_thread() is threading.main_thread()
    return count
