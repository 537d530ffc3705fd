"""Secrets, from the environment variables and the files that the configuration names.

What they hold is never told, not even of one that can't be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.config_checks import check_variable_name
from service.errors import ConfigError
from service.settings import Secret


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret is: in a variable, in a file, or nowhere."""

    path: str
    """Of the section that names it."""
    key: str
    """What the section calls it, such as `api_key`: it has `api_key_env` and `api_key_file`."""
    variable: str | None
    file: str | None

    @property
    def where(self) -> str:
        """The path of the key that names it."""
        return f"{self.path}.{self.key}_{'file' if self.file else 'env'}"

    def read(self, environ: Mapping[str, str]) -> str | None:
        """The secret, without white space around it; None where there is none.

        Raises:
            ConfigError: It is in two places, or in the one that is named there is nothing, or what can't be read.
        """
        if self.variable and self.file:
            raise ConfigError(f"{self.path}: give `{self.key}_env` or `{self.key}_file`, not both")
        if self.variable:
            return read_variable(self.where, self.variable, environ)
        return read_file(self.where, Path(self.file)) if self.file else None


def read_variable(where: str, variable: str, environ: Mapping[str, str]) -> str:
    """What the environment variable holds, without white space around it.

    Raises:
        ConfigError: It has no such name, or is not set; the message begins with `where`.
    """
    check_variable_name(where, variable)
    if not (value := environ.get(variable, "").strip()):
        raise ConfigError(f"{where}: the environment variable {variable} is not set")
    return value


def read_file(where: str, file: Path) -> str:
    """What the file holds, without white space around it.

    Raises:
        ConfigError: It can't be read; the message begins with `where`.
    """
    try:
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {file} can't be read") from error
    text = content.decode("utf-8", "replace")  # not "strict": the exception would show the bytes of the secret
    if "\ufffd" in text:
        raise ConfigError(f"{where}: {file} can't be read")
    return text.strip()


def read_api_key(place: SecretPlace, environ: Mapping[str, str]) -> Secret | None:
    """A key that is sent in an HTTP header.

    Raises:
        ConfigError: As `SecretPlace.read`; or no header can carry it.
    """
    key = place.read(environ)
    return None if key is None else _api_key(place.where, key)


def read_key_file(file: Path, where: str = "api_key_file") -> Secret:
    """The key that a file holds, without white space around it.

    Raises:
        ConfigError: It can't be read, or holds no key; the message begins with `where`.
    """
    return _api_key(where, read_file(where, file))


def _api_key(where: str, key: str) -> Secret:
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{where}: the API key is empty, or has characters that no HTTP header can carry")
    return Secret(key)
