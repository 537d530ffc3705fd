"""What is wrong with an answer that can't be read. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from service.errors import Malformed

UNREADABLE: Final = (ValueError, OverflowError, RecursionError)
"""What decoding and building trip over; msgspec's errors are the first of them."""


@contextmanager
def malformed_if_unreadable(provider: str) -> Iterator[None]:
    """Make `Malformed` of `UNREADABLE`."""
    try:
        yield
    except UNREADABLE as error:
        malformed = malformed_by(provider, error)
    else:
        return
    raise malformed


def malformed_by(provider: str, error: Exception) -> Malformed:
    """What one of `UNREADABLE` means; it quotes nothing of the answer."""
    match error:
        case msgspec.ValidationError():
            message = f"The provider's answer is not as its API says: {error}."
        case msgspec.DecodeError() | UnicodeDecodeError():
            message = "The provider's answer is no valid JSON."
        case _:
            message = "The provider's answer holds a number out of range, or is nested too deeply."
    return Malformed(message, metadata={"provider": provider})
