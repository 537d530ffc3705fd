"""Stands before Envoy, which ends at once at SIGTERM, and ends it gracefully: `python -m gateway run` becomes this.

It replaces the process that wrote Envoy's configuration and imports nothing of it: 21 MB rather than 47.
"""

from __future__ import annotations

import argparse
import ctypes
import http.client
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
ENDING = {signal.SIGTERM, signal.SIGINT}
PASSED_ON = {signal.SIGHUP, signal.SIGUSR1}  # Envoy ignores the first, and opens its logs anew at the second
SIGNALS = ENDING | PASSED_ON | {signal.SIGCHLD}
STDERR = 2
POLL_S = 0.1
ADMIN_TIMEOUT_S = 2.0
# Envoy ends within a few milliseconds of SIGTERM, unless something is wrong with it.
LAST_S = 5.0
ACTIVE_REQUESTS = "http.http.downstream_rq_active"
UNSENT_BYTES = "http.http.downstream_cx_tx_bytes_buffered"


@dataclass(frozen=True)
class Load:
    """What Envoy still has to do: calls that are open, and bytes of answers that clients have not taken yet."""

    requests: int
    unsent_bytes: int


class Admin:
    """Envoy's admin interface, at the address that Envoy writes to a file."""

    def __init__(self, address_path: str) -> None:
        self._path = Path(address_path)

    @property
    def is_there(self) -> bool:
        """Whether Envoy has come so far as to have one."""
        return bool(self._address())

    def post(self, path: str) -> bool:
        """Whether Envoy did what `path` stands for."""
        return self._ask("POST", path) is not None

    def load(self) -> Load | None:
        """What is still to do; None where Envoy does not tell."""
        text = self._ask("GET", f"/stats?filter=^({ACTIVE_REQUESTS}|{UNSENT_BYTES})$")
        found = dict(line.split(": ", 1) for line in (text or "").splitlines() if ": " in line)
        try:
            return Load(int(found[ACTIVE_REQUESTS]), int(found[UNSENT_BYTES]))
        except KeyError:
            return None

    def _ask(self, method: str, path: str) -> str | None:
        address = self._address()
        if not address:
            return None  # http.client would take it for port 80 of this machine
        try:
            connection = http.client.HTTPConnection(address, timeout=ADMIN_TIMEOUT_S)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                text = answer.read().decode()
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException):
            return None
        return text if answer.status == http.HTTPStatus.OK else None

    def _address(self) -> str:
        try:
            return self._path.read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""


class Supervisor:
    """Runs Envoy until it ends, or is told to end."""

    def __init__(self, command: list[str], admin: Admin, drain_grace_s: float) -> None:
        self._admin = admin
        self._drain_grace_s = drain_grace_s
        self._pid = _start(command)
        self._exit_code: int | None = None

    def run(self) -> int:
        """Wait for Envoy's end; its exit code, or 128 and the signal that ended it."""
        while not self._wait(None):
            pass
        if not self._has_ended():
            self._drain()
        if not self._has_ended():
            self._end()
        return 1 if self._exit_code is None else self._exit_code

    def _end(self) -> None:
        """End Envoy, with what it still has to do."""
        os.kill(self._pid, signal.SIGTERM)
        end = time.monotonic() + LAST_S
        while not self._has_ended() and (left_s := end - time.monotonic()) > 0:
            self._wait(left_s)
        if not self._has_ended():
            os.kill(self._pid, signal.SIGKILL)
            self._reap(block=True)

    def _has_ended(self) -> bool:
        return self._exit_code is not None

    def _drain(self) -> None:
        """Let open calls finish: until there are none, the grace is over, or a signal says not to wait."""
        if not self._admin.is_there:
            return  # it has not begun to serve
        end = time.monotonic() + self._drain_grace_s
        is_draining = False
        while True:
            # /readyz fails from here on, and connections are closed after the answer that they wait for. New ones are
            # taken for as long as Envoy's --drain-time-s, for balancers that have not looked yet. Asked again where
            # Envoy does not answer: calls go on without its main thread.
            is_draining = is_draining or (
                self._admin.post("/healthcheck/fail") and self._admin.post("/drain_listeners?graceful")
            )
            # Looked at twice: between a look and the end, no new connection may come in.
            if is_draining and self._is_idle() and self._admin.post("/drain_listeners") and self._is_idle():
                return
            if time.monotonic() >= end:
                load = self._admin.load()
                _say(f"{load.requests if load else 'some'} calls outlasted the grace period and are cut")
                return
            if self._wait(min(POLL_S, max(end - time.monotonic(), 0))):
                return

    def _is_idle(self) -> bool:
        load = self._admin.load()
        return load is not None and load.requests == 0 and load.unsent_bytes == 0

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait for a signal and handle it; whether Envoy has ended or is to end."""
        number = signal.sigwait(SIGNALS) if timeout_s is None else _signal_within(timeout_s)
        if number in PASSED_ON:
            os.kill(self._pid, number)
        self._reap(block=False)
        return self._has_ended() or number in ENDING

    def _reap(self, *, block: bool) -> None:
        """Take Envoy's exit code, and those of strays that a container gives to its first process."""
        while True:
            try:
                pid, status = os.waitpid(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                self._exit_code = code if code >= 0 else 128 - code
                return


def _signal_within(timeout_s: float) -> int | None:
    found = signal.sigtimedwait(SIGNALS, timeout_s)
    return None if found is None else found.si_signo


def _start(command: list[str]) -> int:
    """Run `command` as a child that ends with this process; its id."""
    # Waited for instead of handled: none is lost, and none interrupts anything. A shell may have had SIGCHLD ignored,
    # and the kernel would then drop Envoy's exit code.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = os.getpid()
    if pid := os.fork():
        return pid
    try:
        # A group of its own: Ctrl-C, and whoever ends a whole group, would otherwise end Envoy past its drain.
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        _say(f"{command[0]} can't be run: {error.strerror}")
    finally:
        os._exit(126)


def _say(text: str) -> None:
    with suppress(OSError):  # a full disk, or a pipe that nobody reads, must not end open calls
        os.write(STDERR, f"gateway: {text}\n".encode())


def main() -> NoReturn:
    """Read the command line and run Envoy."""
    parser = argparse.ArgumentParser(prog="python -m gateway.supervisor", description=__doc__)
    parser.add_argument("--drain-grace-s", type=float, required=True)
    parser.add_argument("--admin-address-path", required=True, help="the file that the command writes it to")
    parser.add_argument("command", nargs="+", help="Envoy, after --")
    arguments = parser.parse_args()
    sys.exit(Supervisor(arguments.command, Admin(arguments.admin_address_path), arguments.drain_grace_s).run())


if __name__ == "__main__":
    main()
