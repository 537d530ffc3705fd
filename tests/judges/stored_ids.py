"""Ids of what is stored: learnt from answers, put into requests at places that are kept for them."""

from __future__ import annotations

import re
import zlib
from collections import deque
from typing import Final
from uuid import UUID

from service.answers.ids import choice_id, completion_name, message_name

_PLACE: Final = UUID("01900000-0000-7000-8000-000000000000")
"""Nobody has it, so a request that has kept it, or lost a part of it, names nothing."""
COMPLETION_PLACE: Final = completion_name(_PLACE)
CHOICE_PLACE: Final = str(choice_id(_PLACE, 0))
ANSWER_PLACE: Final = message_name(_PLACE, 0)
_NAME: Final = re.compile(rb"chatcmpl-([0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{13}00)")
"""As long as what takes its place, so that no length in a request is changed."""


class StoredIds:
    """The ids that were seen last."""

    def __init__(self) -> None:
        self._ids: deque[UUID] = deque(maxlen=8)  # few, since many are of what was deleted meanwhile

    def learn(self, answer: bytes) -> None:
        """Take the first id out of an answer."""
        if found := _NAME.search(answer):
            named = UUID(found[1].decode())
            if named not in self._ids:
                self._ids.append(named)

    def put(self, request: bytes) -> bytes:
        """The request with an id at its places."""
        if not self._ids:
            return request
        named = self._ids[zlib.crc32(request) % len(self._ids)]
        for place, name in (
            (COMPLETION_PLACE, completion_name(named)),
            (CHOICE_PLACE, str(choice_id(named, 0))),
            (ANSWER_PLACE, message_name(named, 0)),
        ):
            request = request.replace(place.encode(), name.encode())
        return request
