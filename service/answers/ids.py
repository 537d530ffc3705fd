"""What stored answers are called. Pure, but for the clock and chance.

A completion has a UUID of version 7: sorted by it, completions stand in the order of their time. Its last byte
is zero; each of its choices has the same UUID with its index, plus one, in that byte. So every name that a
caller is given (the completion's, a choice's, a message's) leads to the completion without being looked up.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import time
from typing import Final
from uuid import UUID

_HEX: Final = r"([0-9a-fA-F]{32})"
_COMPLETION: Final = re.compile(f"chatcmpl-{_HEX}")
_MESSAGE: Final = re.compile(f"msg_{_HEX}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAX_CHOICES: Final = 128
"""A request may ask for no more, and the last byte has room for them."""
_VERSION: Final = 7
_NS_PER_MS: Final = 1_000_000
_DRAWN_AT_ONCE: Final = struct.Struct("16s" * 256)
_RANDOM_MASK: Final = ~(0xF << 76 | 0b11 << 62)
_RANDOM_MARKS: Final = 4 << 76 | 0b10 << 62
"""The version and variant of a random UUID, and where they stand."""


def new_id() -> UUID:
    """The id of a new completion.

    Source: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7 (2026-11-22), with a finer clock in
    `rand_a` (method 3 of section 6.2) and 54 bits of chance, enough for any number of replicas: two collide
    only where they draw the same bits within the same 244 ns.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), _NS_PER_MS)
    fraction = (rest_ns << 12) // _NS_PER_MS
    chance = secrets.randbits(54) << 8
    return UUID(int=(milliseconds & (1 << 48) - 1) << 80 | _VERSION << 76 | fraction << 64 | 0b10 << 62 | chance)


_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)  # else both processes would give the same ids


def random_bytes() -> bytes:
    """16 bytes of chance. The kernel is asked for many at once: three times for each call took 11 of its 440 µs."""
    try:
        return _drawn.pop()
    except IndexError:
        _drawn.extend(_DRAWN_AT_ONCE.unpack(os.urandom(_DRAWN_AT_ONCE.size)))
        return _drawn.pop()


def random_uuid() -> str:
    """A UUID of version 4 as text, at a quarter of what it takes by way of `uuid.UUID`."""
    digits = (int.from_bytes(random_bytes()) & _RANDOM_MASK | _RANDOM_MARKS).to_bytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def created_of(completion_id: UUID) -> int:
    """When it was made, in seconds since 1970."""
    return (completion_id.int >> 80) // 1000


def completion_name(completion_id: UUID) -> str:
    """The completion's id as callers see it."""
    return f"chatcmpl-{completion_id.hex}"


def choice_id(completion_id: UUID, index: int) -> UUID:
    """Id of one of its choices, of which there are at most 128."""
    if not 0 <= index < MAX_CHOICES:
        raise ValueError(f"the index of a choice is from 0 to {MAX_CHOICES - 1}")
    return UUID(int=completion_id.int | index + 1)


def message_name(completion_id: UUID, index: int) -> str:
    """Id of that choice's message, as callers see it."""
    return f"msg_{choice_id(completion_id, index).hex}"


def parse_completion(text: str) -> tuple[UUID, int | None] | None:
    """Which completion a name is of, and which of its choices.

    Args:
        text: A completion's name, a message's, or the UUID of a choice.

    Returns:
        The id, and the choice's index, or None where the whole is named. None for what is no such name: then
        nothing is stored under it.
    """
    if match := _COMPLETION.fullmatch(text):
        named = UUID(match[1])
        return (named, None) if _is_ours(named) and not named.int & 0xFF else None
    match = _MESSAGE.fullmatch(text)
    if match is None and _UUID.fullmatch(text) is None:
        return None
    named = UUID(match[1] if match else text)
    place = named.int & 0xFF
    if not _is_ours(named) or not 1 <= place <= MAX_CHOICES:
        return None
    return UUID(int=named.int - place), place - 1


def _is_ours(named: UUID) -> bool:
    return named.version == _VERSION
