"""Looks for planted secrets in all that the tests bring forth. A plugin of pytest; `tests/conftest.py` loads it.

Every key that tests use holds one of `KEYS`, prompts and providers' texts that may not be repeated hold
one of `TEXTS`. Looked at are, without changing any of it:

- log lines of every part that tests start, the log files they leave, the output of programs they run
  (the Node client among them), and what this process logs or prints;
- over gRPC: initial and trailing metadata, status texts and messages, of the sync and the async client;
- over REST: every byte that an HTTP client of this process reads: heads, bodies, events;
- messages, params and metadata of every error of the service, and the repr of all exceptions that
  `pytest.raises` catches, with what they came from.

A key may be in none of these; a text in no log, error, status or metadata, while answers may echo it. A test
during which something was found fails; what comes later fails the run. gRPC and httpx have no place to
look from, so a few of their inner functions are wrapped; `tests/judges/test_secrets.py` fails where one
of them no longer sees what it should.
"""

from __future__ import annotations

import functools
import importlib
import logging
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

import pytest
from grpc import _channel, _common
from grpc._cython import cygrpc
from grpc.aio import _call

from service.errors import ParleyError

KEYS: Final = (
    "planted-secret",
    "sk-c4n4ry",
    "sk-top-secret",
    "s3cret",
    "sk-team-a-1",
    "sk-team-b-2",
)
TEXTS: Final = ("planted-prompt", "CANARY")
_TAIL: Final = max(len(mark) for mark in (*KEYS, *TEXTS)) - 1
_STREAMS: Final = (
    ("httpcore._backends.sync", ("SyncStream", "TLSinTLSStream")),
    ("httpcore._backends.anyio", ("AnyIOStream",)),
    ("httpcore2._backends.sync", ("SyncStream", "TLSinTLSStream")),
    ("httpcore2._backends.anyio", ("AnyIOStream",)),
)


class SecretLeakedError(Exception):
    """A planted secret was found where it must not be."""


class Watch:
    """What was found."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._lock = threading.Lock()

    def look(self, where: str, text: str | bytes, *, may_echo: bool = False) -> None:
        """Note every secret in `text`; with `may_echo`, only keys are."""
        marks = KEYS if may_echo else (*KEYS, *TEXTS)
        for mark in marks:
            if (mark.encode() if isinstance(text, bytes) else mark) in text:  # type: ignore[operator] # of one kind
                with self._lock:
                    self._found.append(f"{mark[:4]}… in {where}")

    def take(self) -> list[str]:
        """What was found since the last time."""
        with self._lock:
            found, self._found = self._found, []
        return found


WATCH: Final = Watch()
look: Final = WATCH.look
_OF_WORKERS: Final[list[str]] = []
"""What other processes have found that ran tests, behind their last one."""


def pytest_configure(config: pytest.Config) -> None:
    _watch_grpc()
    _watch_http()
    _watch_programs()
    _watch_errors()
    logging.getLogger().addHandler(_Handler())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    _raise_for(WATCH.take())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, content in report.sections:
        if report.passed:
            look(f"{name} of {report.nodeid}", content)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    factory: Any = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and factory._basetemp is not None:
        for file in factory._basetemp.rglob("*.log"):
            look(f"the file {file.name}", file.read_bytes())
    found = WATCH.take()
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # one of several processes that run the tests: the first one tells
        output["secrets"] = found
    elif found := [*_OF_WORKERS, *found]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"Secrets were found behind the last test: {'; '.join(found)}", red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take what a process has found that ran some of the tests."""
    _OF_WORKERS.extend(getattr(node, "workeroutput", {}).get("secrets", []))


def _raise_for(found: list[str]) -> None:
    if found:
        raise SecretLeakedError("; ".join(found))


class _Handler(logging.Handler):
    """Looks at what this process logs, tracebacks included."""

    def emit(self, record: logging.LogRecord) -> None:
        look(f"the log of {record.name}", self.format(record))


def _after(owner: Any, name: str, seen: Callable[..., None]) -> None:
    """Have `seen(result, *arguments)` called after each call of `owner.name`."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def watched(*arguments: Any, **named: Any) -> Any:
        result = inner(*arguments, **named)
        seen(result, *arguments)
        return result

    setattr(owner, name, watched)


def _after_waiting(owner: Any, name: str, seen: Callable[..., None]) -> None:
    """As `_after`, of a coroutine."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    async def watched(*arguments: Any, **named: Any) -> Any:
        result = await inner(*arguments, **named)
        seen(result, *arguments)
        return result

    setattr(owner, name, watched)


def _watch_grpc() -> None:
    def message(_result: Any, raw: bytes, *_: Any) -> None:
        look("a gRPC message", raw, may_echo=True)

    def sync_event(_result: Any, event: Any, *_: Any) -> None:
        for operation in event.batch_operations:
            if isinstance(operation, cygrpc.ReceiveInitialMetadataOperation):
                _look_at_metadata(operation.initial_metadata())
            elif isinstance(operation, cygrpc.ReceiveStatusOnClientOperation):
                _look_at_metadata(operation.trailing_metadata())
                look("a gRPC status", f"{operation.details()} {operation.error_string()}")

    def async_call(_result: Any, call: Any, *_: Any) -> None:
        call._cython_call.add_done_callback(functools.partial(_look_at_ended, call._cython_call))

    _after(_common, "deserialize", message)
    _after(_channel, "_handle_event", sync_event)
    _after(_call.Call, "__init__", async_call)


def _look_at_ended(call: Any) -> None:
    if status := _now(call.status()):
        look("a gRPC status", f"{status.details()} {status.debug_error_string()}")
        _look_at_metadata(status.trailing_metadata())
    _look_at_metadata(_now(call.initial_metadata()))


def _now(coroutine: Any) -> Any:
    """What a coroutine returns that need not wait; else None."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    return None


def _look_at_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    for name, value in metadata or ():
        look(f"the metadata {name}", value)


def _watch_http() -> None:
    tails: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()  # a secret may come in two pieces

    def read(data: bytes, stream: Any, *_: Any) -> None:
        tail = tails.get(stream, b"") + data
        look("an HTTP answer", tail, may_echo=True)
        tails[stream] = tail[-_TAIL:]

    for module, names in _STREAMS:
        for name in names:
            stream = getattr(importlib.import_module(module), name)
            (_after_waiting if module.endswith("anyio") else _after)(stream, "read", read)


def _watch_programs() -> None:
    def ended(outputs: tuple[Any, Any], process: Any, *_: Any) -> None:
        for output in outputs:
            look("the output of a program", output or "", may_echo=True)

    _after(subprocess.Popen, "communicate", ended)


def _watch_errors() -> None:
    def made(_result: Any, error: ParleyError, *_: Any) -> None:
        look(f"the error {error.reason.name}", f"{error.message} {error.param} {error.metadata}")

    def caught(_result: Any, _context: Any, _kind: Any, error: BaseException | None, *_: Any) -> None:
        while error is not None:
            # What a client makes of an answer may quote the answer, as the test itself may.
            look(f"the repr of {type(error).__name__}", f"{error!r} {error}", may_echo=True)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # as is printed

    _after(ParleyError, "__init__", made)
    _after(pytest.RaisesExc, "__exit__", caught)
