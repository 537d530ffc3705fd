"""When the configuration is read anew: at SIGHUP, and when its file has changed."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from service import config
from service.errors import ConfigError
from service.key_file import FileState, file_state

_log = logging.getLogger(__name__)

Result: TypeAlias = Literal["adopted", "refused"]
_LOOK_EVERY_S: Final = 1.0
"""A changed file is taken once two looks have found it the same: by then whoever writes it is done."""


class ConfigFile:
    """The file that `PARLEY_CONFIG` names, and when it was last read.

    It is followed through links, so that it is seen how Kubernetes replaces a mounted ConfigMap, and how editors
    put a new file in the place of the old one.

    Args:
        path: None where no file is named.
        read: Reads and checks it; raises ConfigError.
    """

    def __init__(self, path: Path | None, read: Callable[[], config.Config] = config.load_config) -> None:
        self.path = path
        self._read = read
        self._is_first = True
        self._loaded: FileState = None
        self._seen: FileState = None

    def load(self) -> config.Config:
        """Read it.

        Raises:
            ConfigError: As `config.load_config`; also where it is a pipe, which holds what it says only once.
        """
        is_first, self._is_first = self._is_first, False
        # Before it is read: what is written meanwhile is a change, to be found by the next look.
        self._loaded = self._seen = self._state()
        if not is_first and self.path is not None and self.path.is_fifo():  # to open it may take for ever
            raise ConfigError(f"PARLEY_CONFIG: {self.path} is a pipe, which is read only as the service starts")
        return self._read()

    def has_changed(self) -> bool:
        """Whether it is another file than the one that was read, and was the same at the last look."""
        last, self._seen = self._seen, self._state()
        return self._seen == last != self._loaded

    def _state(self) -> FileState:
        return file_state(self.path) if self.path is not None else None


class Reloader:
    """Reads the file anew and has it put in force; a bad one is told in the log, and the last stays.

    Args:
        file: The configuration's.
        adopt: Puts a configuration in force, or raises ConfigError and has changed nothing.
        look_every_s: How often to look for a change.
        told: Called with what became of a configuration that was read anew.
    """

    def __init__(
        self,
        file: ConfigFile,
        adopt: Callable[[config.Config], Coroutine[Any, Any, None]],
        look_every_s: float = _LOOK_EVERY_S,
        told: Callable[[Result], None] = lambda _result: None,
    ) -> None:
        self._file = file
        self._adopt = adopt
        self._look_every_s = look_every_s
        self._told = told
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the file read now, changed or not. While one is being put in force, it is read once more after it."""
        self._asked.set()

    async def run(self) -> None:
        """Look after the file until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._look_every_s):
                    await self._asked.wait()
            except TimeoutError:
                if not self._file.has_changed():
                    continue
            self._asked.clear()
            await self._reload()

    async def _adopt_unless_outdated(self, settings: config.Config) -> None:
        """Adopt `settings`, unless the file changes meanwhile: what it brings may take minutes to load, or never do."""
        adopting = asyncio.create_task(self._adopt(settings))
        try:
            while not (await asyncio.wait({adopting}, timeout=self._look_every_s))[0]:
                if self._file.has_changed():
                    _log.warning("the file has changed again, what it said before is not waited for any longer")
                    self.ask()
                    return
            adopting.result()
            self._told("adopted")
        finally:
            await _ended(adopting)

    async def _reload(self) -> None:
        if self._file.path is None:
            _log.warning("there is no configuration to reload: PARLEY_CONFIG names no file")
            return
        try:
            settings = await asyncio.to_thread(self._file.load)
            await self._adopt_unless_outdated(settings)
        except ConfigError as error:
            self._told("refused")
            _log.error("the new configuration can't be used, the last one stays in force: %s", error)
        except Exception as error:  # noqa: BLE001 - a fault of the service's own, which must not end running calls
            self._told("refused")
            where = "".join(traceback.format_tb(error.__traceback__))  # its text may hold a key
            _log.error(
                "the new configuration could not be taken, the last one stays in force: %s\n%s",
                type(error).__name__,
                where,
            )


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel it where it is not over, and wait until it is; what became of it then is of no interest."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
