"""Keeps the embedded model's child process running, and tells where it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from service.errors import Unavailable
from service.providers.embedded.options import Options, find_model_file
from service.providers.embedded.process import ChildError, is_healthy, read_address, spawned

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """When the supervisor loses patience; all in seconds, above 0."""

    start_timeout_s: float = 120.0
    """To load the model: 0.4 s for the bundled one, more for others and on a busy machine."""
    backoff_min_s: float = 0.2
    """Between a child's end and the next; doubles up to `backoff_max_s`."""
    backoff_max_s: float = 30.0
    stable_after_s: float = 30.0
    """A child that lived this long starts the backoff anew."""
    probe_interval_s: float = 5.0
    probe_timeout_s: float = 10.0
    """`/health` was seen to take 5 s under a burst of requests."""
    max_failed_probes: int = 3
    """In a row; then the child hangs, and is replaced."""
    stop_grace_s: float = 2.0
    """From closing its stdin to SIGTERM, and from there to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model answers now."""

    base_url: str
    """As the OpenAI SDK means it: `http://127.0.0.1:PORT/v1`."""
    api_key: str


class EmbeddedModel:
    """A language model in a child process; `run` is its whole life.

    Args:
        options: How to run the model.
        on_ready: Called with True when the model can be used and with False when it no longer can, in
            `run`'s task, never twice with the same; the first call is True. If it raises, so does `run`.
        timing: When to lose patience.

    Raises:
        ConfigError: A package that is needed is not installed.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        on_ready: Callable[[bool], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._options = options or Options()
        find_model_file(self._options)
        self._on_ready = on_ready
        self._timing = timing or Timing()
        self._endpoint: Endpoint | None = None
        self._pid: int | None = None
        self._ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the model can be used now."""
        return self._endpoint is not None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is a child, ready or not."""
        return self._pid

    @property
    def endpoint(self) -> Endpoint:
        """Where the model answers now. Read it for each request: port and key change with every restart.

        Raises:
            Unavailable: The child is starting, or can't be started.
        """
        if self._endpoint is None:
            raise Unavailable("The embedded model is starting; try again soon.")
        return self._endpoint

    @property
    def base_url(self) -> str:
        """`endpoint.base_url`; raises as `endpoint` does."""
        return self.endpoint.base_url

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the key, names in lower case; raises as `endpoint` does."""
        return {"authorization": f"Bearer {self.endpoint.api_key}"}

    async def wait_ready(self) -> None:
        """Returns as soon as the model can be used; `run` must be running."""
        await self._ready.wait()

    async def run(self) -> None:
        """Runs the model and replaces it when it dies or hangs, until cancelled. Call it once.

        When the cancellation comes out of here the child is gone and reaped.
        """
        loop = asyncio.get_running_loop()
        backoff_s = self._timing.backoff_min_s
        while True:
            started = loop.time()
            try:
                await self._run_child()
            except (ChildError, OSError) as error:
                reason = error
            if loop.time() - started >= self._timing.stable_after_s:
                backoff_s = self._timing.backoff_min_s
            _log.error("the embedded model failed: %s; next start in %g s", reason, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, self._timing.backoff_max_s)

    async def _run_child(self) -> NoReturn:
        api_key = secrets.token_urlsafe(32)
        try:
            async with spawned(self._options, api_key, stop_grace_s=self._timing.stop_grace_s) as process:
                self._pid = process.pid
                port = await read_address(process, self._timing.start_timeout_s)
                self._set_endpoint(Endpoint(f"http://127.0.0.1:{port}/v1", api_key))
                _log.info("the embedded model is ready, process %d", process.pid)
                try:
                    await self._watch(process, port)
                finally:
                    self._set_endpoint(None)
        finally:
            self._pid = None

    async def _watch(self, process: Process, port: int) -> NoReturn:
        failed = 0
        while failed < self._timing.max_failed_probes:
            try:
                async with asyncio.timeout(self._timing.probe_interval_s):
                    status = await process.wait()
            except TimeoutError:
                failed = 0 if await is_healthy(port, self._timing.probe_timeout_s) else failed + 1
            else:
                raise ChildError(f"it ended with status {status}")
        raise ChildError(f"it did not answer {failed} health checks")

    def _set_endpoint(self, endpoint: Endpoint | None) -> None:
        self._endpoint = endpoint
        if endpoint is None:
            self._ready.clear()
        else:
            self._ready.set()
        if self._on_ready is not None:
            self._on_ready(endpoint is not None)
