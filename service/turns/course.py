"""The course of one answer's turns: what each is asked, when the last has come, and what they used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, Usage
from service._gen.parley.v1.tool_pb2 import ToolCall, ToolEvent
from service.cost import price
from service.dispatch.call import Deadline, DispatchCall
from service.errors import ParleyError, Reason
from service.turns.asking import check, forbid_calls, free_choice, may_call, offering
from service.turns.messages import ERROR, OK, turn_messages
from service.turns.offer import Offer
from service.turns.running import outcomes

_CUT: Final = frozenset({"length", "content_filter"})
"""Why turns end whose last call may not be whole; none of their calls is run."""
_MOST_MS: Final = 2**32 - 1
"""What the contract's field holds."""


class Course:
    """Follows the turns. Use it for one call.

    Raises:
        RequestError: See `asking.check`.
    """

    def __init__(self, call: DispatchCall, offer: Offer) -> None:
        check(call.request, offer)
        self._call = call
        self._offer = offer
        self._has_tools = may_call(call.request, offer)
        self._request = offering(call.request, offer) if self._has_tools else call.request
        self._tools_by = time.monotonic() + offer.limits.total_s
        self._dropped: dict[str, None] = {}
        self._is_last = False
        self._is_mixed = False
        self.is_over = False
        """Whether the answer is complete, once the tools are done that the turn called."""

    @property
    def number(self) -> int:
        """How many turns have ended; so the number of the one under way."""
        return len(self._call.journal.turns)

    def is_server_side(self, name: str) -> bool:
        """Whether calls of that name are the service's to answer."""
        return self._has_tools and self._offer.is_server_side(name)

    def next_call(self) -> DispatchCall:
        """What the next turn is asked."""
        call = self._call
        number = self.number
        if number:
            free_choice(self._request)
            is_late = time.monotonic() >= self._tools_by
            if is_late or number == self._offer.limits.max_turns - 1:
                forbid_calls(self._request)
                self._is_last = True
            call = replace(
                call,
                # Of these ids are made, where a provider gives calls none: one turn's are not to be another's.
                identity=replace(call.identity, id=f"{call.identity.id}-{number}"),
                deadline=Deadline(call.deadline.at),
            )
        return replace(call, request=self._request)

    def end_turn(self, completion: ChatCompletion) -> list[ToolCall]:
        """Take note of a turn's answer, and tell which calls are to be run: those of server-side tools.

        Raises:
            ParleyError: TOOL_TURNS_EXCEEDED.
        """
        self._take_usage(completion)
        choice = completion.choices[0]
        theirs = [call for call in choice.message.tool_calls if self._is_ours(call)]
        if theirs and self._is_last:
            message = "The model calls server-side tools again where it was told to answer without."
            raise ParleyError(Reason.TOOL_TURNS_EXCEEDED, message)
        if choice.finish_reason in _CUT:
            theirs = []
        self._is_mixed = 0 < len(theirs) < len(choice.message.tool_calls)
        self.is_over = not theirs or self._is_mixed
        return theirs

    async def run(self, calls: Sequence[ToolCall]) -> AsyncGenerator[ToolEvent]:
        """Run the calls of the turn that has ended; tells of each, without its places, in their order.

        Raises:
            CancelledError: The caller has gone: nothing is begun for nobody.
        """
        self._end_for_nobody()
        deadline, journal = self._call.deadline.at, self._call.journal
        if journal.ends_at is not None:
            journal.ends_at = self._tools_by  # the turn's own end is no matter while tools run
        by = self._tools_by if deadline is None else min(self._tools_by, deadline)
        turn = self.number - 1
        async with aclosing(outcomes(calls, self._offer, by, self._call)) as found:
            number = 0
            async for outcome in found:
                call = calls[number]
                number += 1
                yield ToolEvent(
                    id=call.id,
                    tool=call.function.name,
                    arguments=call.function.arguments,
                    status=ERROR if outcome.is_error else OK,
                    result=outcome.text,
                    duration_ms=min(max(outcome.duration_ms, 0), _MOST_MS),
                    turn=turn,
                    extra_content=call.extra_content if call.HasField("extra_content") else None,
                    beside_calls=self._is_mixed or None,
                )

    def go_on(self, completion: ChatCompletion, events: Sequence[ToolEvent]) -> None:
        """Have the next turn asked with what the last one wrote and what its calls brought.

        Raises:
            CancelledError: As `run`.
        """
        self._end_for_nobody()
        self._request.messages.extend(turn_messages(completion.choices[0].message, events))

    def _end_for_nobody(self) -> None:
        if self._call.journal.is_abandoned:
            raise asyncio.CancelledError

    def _is_ours(self, call: ToolCall) -> bool:
        return call.HasField("function") and self.is_server_side(call.function.name)

    def _take_usage(self, completion: ChatCompletion) -> None:
        journal = self._call.journal
        usage = None
        if completion.HasField("usage"):
            usage = Usage()
            usage.CopyFrom(completion.usage)
            if journal.target is not None:
                price(usage, journal.target.capabilities.prices, completion.service_tier or None)
        journal.turns.append(usage)
        self._dropped |= dict.fromkeys(journal.dropped)
        journal.dropped = list(self._dropped)
