"""Keeps an answer in the store: whole before its caller is told of its end, or what had come of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.joining import Joining
from service.errors import ParleyError, Reason
from service.rpc.call import Call
from service.storage.record import Record

_LEFT = "CANCELLED"
"""In the place of a reason, where nothing failed but the caller left."""


class Keeper(Protocol):
    """What is needed of the store."""

    def check(self) -> None:
        """Raises StorageUnavailable where it is known that a record can't be kept that has to be."""

    async def keep(self, record: Record) -> bool:
        """Whether the record is committed now; False only where the policy lets it be lost.

        One whose caller is cancelled is stored all the same.

        Raises:
            StorageUnavailable: It is not, and the policy wants it to be.
        """

    def keep_later(self, record: Record) -> None:
        """Store the record when that can be done."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a stored completion before there is an answer."""

    id: UUID
    session_id: UUID
    created: int
    """In seconds since 1970."""
    request: ChatCompletionRequest = field(repr=False)
    """As the caller gave it, with the messages that were filled from the store."""


class Keeping:
    """Keeps the answer of one call. It is given what the caller is given, and nothing else.

    Args:
        store: Takes it.
        draft: What is stored beside it.
        call: The call; at the answer's end it knows usage, target and times.
    """

    __slots__ = ("_call", "_draft", "_has_ended", "_joining", "_store")

    def __init__(self, store: Keeper, draft: Draft, call: Call) -> None:
        self._store = store
        self._draft = draft
        self._call = call
        self._joining = Joining()
        self._has_ended = False
        call.is_stored = False

    def check(self) -> None:
        """To be asked before a provider is: an answer that can't be stored need not be made.

        Raises:
            StorageUnavailable: It is known that it can't be.
        """
        self._store.check()

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Note a piece of the answer, as the caller gets it."""
        self._joining.take(chunk)

    async def whole(self, completion: ChatCompletion) -> None:
        """Store an answer in one piece; returns after the commit.

        Raises:
            StorageUnavailable: It is not stored, and has to be.
        """
        self._has_ended = True
        kept = ChatCompletion()
        kept.CopyFrom(completion)
        await self._keep(self._record(kept, "completed", None))

    async def complete(self) -> None:
        """Store the answer whose last piece has come; returns after the commit.

        A caller who leaves meanwhile changes nothing: it is stored as complete.

        Raises:
            StorageUnavailable: It is not stored, and has to be.
        """
        self._has_ended = True
        await self._keep(self._record(self._joining.completion(), "completed", None))

    def broken_off(self, error: BaseException | None) -> None:
        """Have stored what has come of an answer that goes no further; nothing, where nothing has.

        Not waited for: the task may be one that has been cancelled.

        Args:
            error: Why; None where nobody wants the rest.
        """
        if self._has_ended or not self._joining.has_choices:
            return
        self._has_ended = True
        self._store.keep_later(self._record(self._joining.completion(), "partial", _reason_of(error, self._call)))
        self._call.is_stored = "later"

    async def _keep(self, record: Record) -> None:
        began = time.monotonic()
        try:
            self._call.is_stored = await self._store.keep(record)
        except asyncio.CancelledError:
            self._call.is_stored = "later"
            raise
        finally:
            self._call.kept_s = time.monotonic() - began

    def _record(
        self, completion: ChatCompletion, status: Literal["completed", "partial"], error_reason: str | None
    ) -> Record:
        draft, call, request = self._draft, self._call, self._draft.request
        target = call.journal.target
        if call.usage is not None:  # an estimated one stands nowhere else
            completion.usage.CopyFrom(call.usage)
        return Record(
            id=draft.id,
            tenant=call.tenant,
            created=draft.created,
            model=request.model,
            session_id=draft.session_id,
            user=request.user or None,
            project=call.project,
            campaign=call.campaign,
            arm=call.arm,
            status=status,
            error_reason=error_reason,
            request_id=call.request_id,
            labels=dict(request.labels or request.metadata),
            tags=tuple(dict.fromkeys(request.tags)),
            provider=None if target is None else target.provider,
            upstream_model=None if target is None else target.model,
            first_token_ms=None if call.first_token is None else _milliseconds(call.first_token - call.started),
            duration_ms=_milliseconds(time.monotonic() - call.started),
            is_usage_estimated=call.is_usage_estimated,
            completion=completion,
            request=request,
        )


def _reason_of(error: BaseException | None, call: Call) -> str:
    """Why an answer was broken off: the name of a reason, or that its caller left."""
    if isinstance(error, ParleyError):
        return error.reason.value
    if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
        return _LEFT if call.interruption is None else call.interruption.reason.value
    return Reason.INTERNAL.value


def _milliseconds(duration_s: float) -> int:
    return round(duration_s * 1000)
