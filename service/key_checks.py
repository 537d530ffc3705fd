"""What the keys of callers must be like together. Pure; every message names the path."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Protocol

from service.errors import ConfigError


class _Key(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def projects(self) -> Sequence[str] | None: ...


def check_keys(keys: Sequence[_Key], projects: Collection[str]) -> None:
    """Raise ConfigError unless each stands there once, under one name, and its projects are there."""
    names: set[str] = set()
    named: dict[str, str] = {}
    for index, key in enumerate(keys):
        path = f"auth.keys[{index}]"
        if not re.fullmatch(r"[0-9a-fA-F]{64}", key.sha256):
            raise ConfigError(f"{path}.sha256: expected 64 hexadecimal digits (`printf %s KEY | sha256sum`)")
        if key.name in names:
            raise ConfigError(f"{path}.name: {key.name!r} occurs twice")
        names.add(key.name)
        first = named.setdefault(key.sha256.lower(), key.name)
        if first != key.name:
            raise ConfigError(f"{path}.sha256: the key of {first!r} once more; it can have one name")
        if key.tenant is None and not key.name.isprintable():
            raise ConfigError(f"{path}.name: expected printable characters, or a `tenant` that has no others")
        if key.tenant is not None and not key.tenant.isprintable():
            raise ConfigError(f"{path}.tenant: expected printable characters")
        _check_projects(f"{path}.projects", key.projects or (), projects)


def _check_projects(path: str, named: Sequence[str], projects: Collection[str]) -> None:
    for index, name in enumerate(named):
        if name not in projects:
            known = ", ".join(projects) or "none"
            raise ConfigError(f"{path}[{index}]: there is no project {name!r} (configured: {known})")
        if name in named[:index]:
            raise ConfigError(f"{path}[{index}]: {name!r} occurs twice")
