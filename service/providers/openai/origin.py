"""Where an answer comes from, and what it answers."""

from __future__ import annotations

import msgspec

from service.providers.openai.dialect import Dialect
from service.providers.openai.dialects import GENERIC
from service.providers.provider import Identity


class Origin(msgspec.Struct, frozen=True):
    """What its translators have to know beside the answer itself."""

    provider: str
    """Its name in the configuration."""
    identity: Identity
    dialect: Dialect = GENERIC
    stops: frozenset[str] = frozenset()
    """The stop sequences of the request."""
    choices: int = 1
    """How many the provider was asked for."""
