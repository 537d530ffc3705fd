"""The service's own log: JSON lines on standard output, beside the access log's."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Final

import msgspec

_OF_CALLS: Final = ("request_id", "trace_id")
"""Fields of a line that belongs to a call; given as `extra`."""


class JsonFormatter(logging.Formatter):
    """One JSON object per record.

    Texts of exceptions, and whatever other packages log, are withheld, since they may hold headers,
    keys and prompts (grpcio logs headers that are no UTF-8, asyncio the exceptions of its tasks): the
    line says which package, and where in the code.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON text."""
        is_own = record.name.partition(".")[0] == "service"
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": record.getMessage() if is_own else f"text withheld; {record.funcName}, line {record.lineno}",
        }
        for name in _OF_CALLS:
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["traceback"] = "".join(traceback.format_tb(record.exc_info[2]))
        return msgspec.json.encode(line).decode()


def open_standard_streams() -> None:
    """Have something stand where a standard stream was closed, before anything else takes its place.

    An event loop's descriptor would, which libuv refuses to close: the process would end by SIGABRT.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process


def set_up_logging() -> None:
    """Send records of level INFO and above to standard output, of other packages those of WARNING and above."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("service").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a full disk must not print records to standard error
