"""The session that every answer names, taken out for tests that compare answers whole: it is another each time."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk


def without_session(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer in one piece without its session, which has to be a UUID."""
    rest = dict(answer)
    _check(rest.pop("session_id"))
    return rest


def pieces_without_session(chunks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stream's chunks without the session, which the first with choices has to name, and no other may."""
    pieces = [dict(chunk) for chunk in chunks]
    first = next(piece for piece in pieces if piece["choices"])
    _check(first.pop("session_id"))
    assert not [piece for piece in pieces if "session_id" in piece], "a session is told twice"
    return pieces


def chunks_without_session(chunks: Sequence[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """As `pieces_without_session`, of chunks over gRPC."""
    copies = [deepcopy(chunk) for chunk in chunks]
    first = next(chunk for chunk in copies if chunk.choices)
    _check(first.session_id)
    first.ClearField("session_id")
    assert not [chunk for chunk in copies if chunk.HasField("session_id")], "a session is told twice"
    return copies


def _check(session: str) -> None:
    assert str(UUID(session)) == session, "a UUID in its usual form"
