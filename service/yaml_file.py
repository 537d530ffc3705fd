"""A YAML file, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from service.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice in one mapping, of which YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path, named_by: str) -> object:
    """What the file holds; an empty mapping where it is empty.

    Args:
        file: Which.
        named_by: Who named it, for the error where it can't be read.

    Raises:
        ConfigError: It can't be read, or is no YAML; the message names the line.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{named_by}: {file} can't be read: {error}") from error
    try:
        return yaml.load(text, _Loader) or {}  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}" if error.problem_mark else "unknown line"
        raise ConfigError(f"{file}: no valid YAML at {place}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # control characters, impossible dates, depth
        raise ConfigError(f"{file}: no valid YAML: {type(error).__name__}") from None
