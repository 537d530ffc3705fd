"""From a part of the YAML file to a section, with the path of what is wrong. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service.errors import ConfigError
from service.project_settings import SERVER_NAME, SHORT_NAME

_EXPECTED: Final[dict[str, str]] = {
    "kind": ", expected `openai`, `anthropic`, `gemini`, `cohere` or `embedded`",
    "policy": ", expected `order`, `weighted`, `least_latency` or `least_busy`",
    "on_disconnect": ", expected `cancel` or `drain`",
    "on_disconnect.policy": ", expected `cancel` or `drain`",
    "auth": ", expected `api_key` or `bearer`",
    "when_down": ", expected `fail` or `leave_out`",
    "storage.policy": ", expected `required` or `best_effort`",
}
"""By the end of its path, what msgspec leaves out of its message on a word that it does not know."""
_SECRETS: Final[dict[str, str]] = {
    "storage.url": "`url_env` or `url_file`",
    "environment": "`env_from`",
    "otlp.headers": "`headers_env` or `headers_file`",
}
"""By the end of its path, what to name in place of a secret; of any other: where a key is."""
_SECRET: Final = "a secret can't stand in the file"  # noqa: S105 - what is said of one
_PATTERNS: Final = {
    SHORT_NAME: "expected 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or digit",
    SERVER_NAME: "expected up to 32 letters, digits, `-` and single `_`, the first a letter or digit and the last no `_`",
}


def read_section(value: object, wanted: Any, path: str) -> Any:
    """`value` as a `wanted`.

    Args:
        value: As it stands in the file.
        wanted: A type of msgspec's.
        path: Of `value`; "" for the file's own.

    Raises:
        ConfigError: It is none; the message names the path.
    """
    try:
        return msgspec.convert(value, wanted, dec_hook=_refuse_secret)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `")
    is_key = place.startswith("key` in `")
    place = place.removeprefix("key` in `").removeprefix("$").rstrip("`")
    where = (path + place).lstrip(".") or "the file"
    raise ConfigError(f"{where}: {_in_words(problem, where, is_key=is_key)}")


def _in_words(problem: str, where: str, *, is_key: bool) -> str:
    """What msgspec says of a value at `where`, or of a key there, as the operator understands it."""
    if pattern := problem.partition(" matching regex ")[2]:
        return next(words for known, words in _PATTERNS.items() if repr(known) == pattern)
    if is_key:  # YAML reads 4, yes and 2026-11-22 as no text
        return f"{problem} as a key; write it in quotes"
    if problem.startswith(("Invalid value", "Invalid enum value")):
        return problem + _at(where, _EXPECTED)
    if problem.startswith(("Expected `datetime", "Invalid RFC3339")):  # a date alone, or text that is none
        return "expected a time with its zone, such as 2026-12-01T00:00:00Z"
    if problem == _SECRET:
        return f"{problem}: name {_at(where, _SECRETS) or '`api_key_env` or `api_key_file`'} instead"
    return problem


def _at(where: str, table: dict[str, str]) -> str:
    """The words for the longest end of `where` that the table has; "" where it has none."""
    place = f".{where.removesuffix('[...]')}"
    ends = [end for end in table if place.endswith(f".{end}")]
    return table[max(ends, key=len)] if ends else ""


def _refuse_secret(_wanted: type, _value: object) -> object:
    raise ValueError(_SECRET)
