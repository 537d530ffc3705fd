"""The configuration in force, and how another takes its place while calls run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from service import config
from service.composition import Composition, Generation
from service.dispatch.served import Current
from service.errors import ConfigError
from service.readiness import Readiness
from service.rpc.auth import CallerKey, Keys
from service.server import Server

_log = logging.getLogger(__name__)

_RELOADED: Final = frozenset({"drain_grace_s", "drain_notice_s"})
"""What a reload takes of `server`; the rest is read as the service starts."""
_READ_ONCE: Final = ("storage", "telemetry")
"""Sections that are read as the service starts."""


class Live:
    """Puts configurations in force, each as a whole.

    Args:
        generation: The one in force; `current` holds what it serves.
        composition: Built it, and builds the next.
        current: What new calls use.
        keys: What callers are known by.
        readiness: Looks again after a change.
        server: Takes what it can of its section.
    """

    def __init__(
        self,
        generation: Generation,
        composition: Composition,
        *,
        current: Current,
        keys: Keys,
        readiness: Readiness,
        server: Server,
    ) -> None:
        self._generation = generation
        self._begun_with = generation.settings
        self._composition = composition
        self._current = current
        self._keys = keys
        self._readiness = readiness
        self._server = server

    async def adopt(self, settings: config.Config) -> None:
        """Put `settings` in force for all calls from now on.

        All of it is built before anything is changed, and then changed without a pause in which a call could
        begin. Not to be called while it runs.

        Raises:
            ConfigError: It can't be; nothing has changed.
        """
        last = self._generation
        _check_auth(last.settings.auth, settings.auth)
        new = self._composition.build(settings, last)
        self._composition.start(new)
        try:
            await self._composition.check(new)
            await self._composition.became_ready(new)
        except BaseException:
            new.served.retire()
            raise
        set_keys(self._keys, settings.auth)
        self._server.drain_grace_s = settings.server.drain_grace_s
        self._server.drain_notice_s = settings.server.drain_notice_s
        self._current.swap(new.served)
        self._generation = new
        self._readiness.refresh()
        unheeded = [f"server.{name}" for name in _unheeded(self._server.settings, settings.server)]
        unheeded += [name for name in _READ_ONCE if getattr(settings, name) != getattr(self._begun_with, name)]
        for name in unheeded:
            _log.warning("%s has changed in the file: it takes effect when the service is started anew", name)
        _log.info("took the configuration anew: %s", _changes(last, new))


def set_keys(keys: Keys, auth: config.Auth) -> None:
    """Have `keys` be those of the configuration."""
    keys.replace((_caller_key(key), key.sha256) for key in auth.keys)


def _caller_key(key: config.Key) -> CallerKey:
    projects = None if key.projects is None else frozenset(key.projects)
    return CallerKey(key.name, key.on_disconnect, key.tenant or key.name, projects)


def _check_auth(last: config.Auth, new: config.Auth) -> None:
    """The addresses stay, the gateway's as well, whatever the file says now: nobody must come in by them unasked."""
    if not new.keys and not new.allow_open and (last.keys or last.allow_open):
        raise ConfigError(
            "auth.keys: callers need a key, or `auth.allow_open: true`, for as long as the service runs that began so"
        )


def _unheeded(running: config.Server, new: config.Server) -> list[str]:
    names = [field.name for field in msgspec.structs.fields(config.Server) if field.name not in _RELOADED]
    return [name for name in names if getattr(running, name) != getattr(new, name)]


def _changes(last: Generation, new: Generation) -> str:
    """What is another than before, by name."""
    keys = [
        {key.name: (key.sha256.lower(), _caller_key(key)) for key in each.settings.auth.keys} for each in (last, new)
    ]
    changes = [
        *_differences("providers", last.parts, new.parts),
        *_differences("models", last.served.models, new.served.models),
        *_differences("projects", last.settings.projects, new.settings.projects),
        *_differences("keys", *keys),
    ]
    return "; ".join(changes) or "nothing that is served has changed"


def _differences(what: str, last: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    changes = {
        "added": [name for name in new if name not in last],
        "changed": [name for name in new if name in last and last[name] != new[name]],
        "removed": [name for name in last if name not in new],
    }
    return [f"{what} {how}: {', '.join(names)}" for how, names in changes.items() if names]
