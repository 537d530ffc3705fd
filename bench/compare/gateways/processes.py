"""Processes of gateways and providers: started with little environment and logs in files, ended with all they started."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import psutil

from bench.compare.gateways.gateway import Face, Running

ROOT: Final = Path(__file__).resolve().parents[3]
ENVIRONMENTS: Final = ROOT / ".bench"
"""What is installed for gateways, each in a folder of its name."""
_PORTS: Final = range(20_000, 32_000)
"""Below those that the system gives to clients (from 32768 on), which could take one between look-up and start."""
_START_S: Final = 240.0
"""LiteLLM takes 15 s on a quiet machine, and took 118 s on a very busy one."""
_END_S: Final = 3.0
"""Nobody calls any more, but smg goes on for 5 s in case that somebody did."""
_POLL_S: Final = 0.02
"""How exact the time to the first answer is."""


@dataclass(frozen=True)
class Command:
    """What is to be run. It gets these variables and a PATH, so that nothing of the caller's shell is measured."""

    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def free_address() -> str:
    """Where nobody listens on loopback."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise RuntimeError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free on 127.0.0.1")


@contextmanager
def running(name: str, command: Command, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with `folder` as its home and `folder/name.log` as its output, until the block is left.

    It has a session of its own: Ctrl-C reaches it only by the end of the block, and what it started ends with it.
    """
    variables = {"PATH": f"{Path(command.words[0]).parent}:{os.defpath}", "HOME": str(folder), **command.variables}
    with Path(folder, f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # programs of the benchmark's own list
            command.words,
            env=variables,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


@contextmanager
def started(parts: Mapping[str, Command], faces: Mapping[str, Face], folder: Path) -> Iterator[Running]:
    """Run a gateway of these parts until the block is left; it answers over REST by then.

    Raises:
        RuntimeError: See `until_answering`.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        processes = {name: stack.enter_context(running(name, command, folder)) for name, command in parts.items()}
        until_answering(faces["rest"], list(processes.values()), folder)
        yield Running(faces, {name: each.pid for name, each in processes.items()}, time.monotonic() - began)


def until_answering(face: Face, processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Ask until the answer has status 200.

    Raises:
        RuntimeError: A process has ended, or there was no such answer in time.
    """
    end = time.monotonic() + _START_S
    seen = "no connection"
    while time.monotonic() < end:
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"a process of the gateway has ended; its log is in {folder}")
        try:
            status, _ = ask(face, {"messages": [{"role": "user", "content": "Are you there?"}]})
        except (OSError, http.client.HTTPException):
            pass
        else:
            if status == HTTPStatus.OK:
                return
            seen = f"status {status}"
        time.sleep(_POLL_S)
    raise RuntimeError(f"no answer with status 200 within {_START_S:.0f} s, but {seen}; the log is in {folder}")


def ask(face: Face, request: Mapping[str, object]) -> tuple[int, bytes]:
    """Ask over REST, once; the status and the whole body."""
    body = json.dumps({"model": face.model, **request}).encode()
    connection = http.client.HTTPConnection(face.address, timeout=30)
    try:
        connection.request("POST", face.path, body, {"content-type": "application/json", **face.headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """First as an operator would, then whatever is left of it and of its descendants."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:  # it has ended by itself
        family = []
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it started since
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        psutil.wait_procs(family, timeout=_END_S)
