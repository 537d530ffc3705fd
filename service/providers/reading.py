"""What is wrong with an answer that can't be read. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from service.errors import Malformed


@contextmanager
def malformed_if_unreadable(provider: str) -> Iterator[None]:
    """Make `Malformed` of whatever decoding and building trip over; it quotes nothing of the answer."""
    try:
        yield
    except msgspec.ValidationError as error:
        message = f"The provider's answer is not as its API says: {error}."
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = "The provider's answer is no valid JSON."
    except (ValueError, OverflowError, RecursionError):
        message = "The provider's answer holds a number out of range, or is nested too deeply."
    else:
        return
    raise Malformed(message, metadata={"provider": provider})
