"""The process that renders: `python -m service.prompts.child`, for `process.py` only.

It reads questions from its standard input, one after another, and writes answers to its standard output; before
the first question it writes one answer to say that it is ready. It lives until its input ends, which also happens
when the service is killed. It can't outlast that by its work: the kernel ends it after some seconds of computing.

Whatever a template finds in Jinja's sandbox, it finds a process without an environment, which can open no file and
no connection, start no other process, and write nowhere but into its answer.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from service.prompts.messages import (
    LENGTH_BYTES,
    Cause,
    Compile,
    Failed,
    Names,
    Question,
    Render,
    framed,
    read_question,
)
from service.prompts.templates import Templates

MAX_MEMORY_BYTES: Final = 256 * 1024 * 1024
"""Of address space; Python with Jinja takes 30 MiB of it."""
MAX_CPU_S: Final[dict[type[Question], float]] = {Render: 1.0, Compile: 3.0}
"""For one question. Processor time, since a machine with much to do must not make an innocent template fail. An
ordinary prompt takes less than a millisecond; to compile 64 KiB full of expressions takes 0.8 s, once, at start."""

_STANDARD: Final = {0, 1, 2}
_FIRST: Final = ("{{ 'text'|pprint }}", "{{ ''|striptags }}", "{{ missing }}")
"""Templates for which Python imports what it does not import before: a codec, `pprint`, `html`, how errors are
traced. Afterwards it can open no file."""


def main() -> int:
    """Answer until the input ends."""
    # Ctrl-C reaches the whole foreground group; the service decides when its calls have ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    templates = Templates()
    for template in _FIRST:
        templates.answer(Render(template, msgspec.Raw(b"{}")))
    _limit()
    answers.write(framed(Names(())))
    answers.flush()
    while body := _read(questions):
        # SIGPROF's default is the end, whatever Python is doing.
        question = read_question(body)
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S[type(question)])
        answer = templates.answer(question)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(framed(answer))
        answers.flush()
        if isinstance(answer, Failed) and answer.cause is Cause.TOO_MUCH_MEMORY:
            return 0  # what is left of it may be in pieces; the next process has all of it
    return 0


def _read(questions: BinaryIO) -> bytes:
    """The next question, or nothing at the input's end."""
    length = int.from_bytes(questions.read(LENGTH_BYTES))
    return questions.read(length)


def _limit() -> None:
    # uvloop leaves its copies of those three open, and what whoever started the service had left.
    for descriptor in {int(entry.name) for entry in Path("/dev/fd").iterdir()} - _STANDARD:
        with suppress(OSError):  # it was of the listing itself
            os.close(descriptor)
    limits = {
        resource.RLIMIT_AS: MAX_MEMORY_BYTES,
        resource.RLIMIT_NOFILE: 0,  # nothing more than the three that are open
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.exit(main())
