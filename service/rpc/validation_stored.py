"""What a request may say of itself that is kept with a stored completion: labels, tags, users, sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from service.errors import invalid

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MOST_LABELS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512
_MOST_TAGS: Final = 64
_MAX_TAG: Final = 64
_NUL: Final = "\0"
"""PostgreSQL can't keep it in a text."""


def parse_uuid(text: str) -> UUID | None:
    """The UUID in its usual form, 32 hexadecimal digits with hyphens; None for anything else."""
    return UUID(text) if _UUID.fullmatch(text) else None


def check_uuid(param: str, text: str) -> None:
    """Check an id; an empty one counts as not given.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if text and parse_uuid(text) is None:
        raise invalid(param, "a UUID, such as 3c90c3cc-0d44-4b50-8888-8dd25736052a")


def check_text(param: str, text: str, longest: int) -> None:
    """Check a text that is kept; it may be empty.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if len(text) > longest or _NUL in text:
        raise invalid(param, f"a string of at most {longest} characters, none of them U+0000")


def check_labels(param: str, labels: Mapping[str, str]) -> None:
    """Check labels. Their keys are the caller's, and are not repeated.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if len(labels) > _MOST_LABELS:
        raise invalid(param, f"an object of at most {_MOST_LABELS} members")
    for key, value in labels.items():
        if not 1 <= len(key) <= _MAX_KEY or _NUL in key:
            raise invalid(param, f"an object whose keys have 1 to {_MAX_KEY} characters, none of them U+0000")
        if len(value) > _MAX_VALUE or _NUL in value:
            raise invalid(param, f"an object whose values have at most {_MAX_VALUE} characters, none of them U+0000")


def check_alias(labels: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    """Check that the two names of the labels say the same, where both are given.

    Raises:
        RequestError: PARAMETER_INVALID, param `metadata`.
    """
    if labels and metadata and labels != metadata:
        raise invalid("metadata", "equal to `labels` where both are given: it is another name of it")


def check_tags(param: str, tags: Sequence[str]) -> None:
    """Check tags.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if len(tags) > _MOST_TAGS:
        raise invalid(param, f"an array of at most {_MOST_TAGS} tags")
    for index, tag in enumerate(tags):
        if not 1 <= len(tag) <= _MAX_TAG or _NUL in tag:
            raise invalid(f"{param}[{index}]", f"a string of 1 to {_MAX_TAG} characters, none of them U+0000")
