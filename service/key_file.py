"""An API key that stands in a file, and may be replaced there while the service runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from service.errors import ConfigError

_log = logging.getLogger(__name__)

_LOOK_AFTER_S = 1.0
"""A file is looked at no more often: a call costs nothing else between two looks."""


class KeyFile:
    """Gives the key; a new one as soon as the file has it.

    Kubernetes replaces mounted secrets so, and access tokens of Vertex AI live for an hour. A file that can't
    be read, or has no key in it, leaves the last key in force and is told in the log.

    Args:
        path: The file; it was read once already.
        key: What was in it.
        read: Reads the file; raises ConfigError.
    """

    def __init__(self, path: Path, key: str, read: Callable[[Path], str]) -> None:
        self._path = path
        self._key = key
        self._read = read
        self._seen = file_state(path)
        self._looked_at = time.monotonic()

    def current(self) -> str:
        """The key that holds now."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_AFTER_S:
            return self._key
        self._looked_at = now
        state = file_state(self._path)
        if state == self._seen:
            return self._key
        self._seen = state
        try:
            self._key = self._read(self._path)
        except ConfigError as error:
            _log.warning("the key file has changed and can't be used, the last key stays: %s", error)
        else:
            _log.info("took the key anew from %s", self._path)
        return self._key


FileState: TypeAlias = tuple[int, int, int] | None


def file_state(path: Path) -> FileState:
    """What changes with the file's content; None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links, as mounted secrets are
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
