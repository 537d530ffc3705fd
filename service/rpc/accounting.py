"""What an answer comes to: its usage, its cost, its ending."""

from __future__ import annotations

import time
from itertools import takewhile

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.cost import price
from service.dispatch.dispatcher import HEDGED
from service.rpc.call import Call
from service.rpc.usage_estimate import BYTES_PER_TOKEN, estimated_usage, may_have_cost, written_bytes
from service.turns.usage import spent, summed


class Account:
    """Fills in `call` from the answer that passes by. Settle it when no more comes."""

    __slots__ = ("_call", "_endings", "_request", "_written_bytes")

    def __init__(self, call: Call, request: ChatCompletionRequest) -> None:
        self._call = call
        self._request = request
        self._endings: dict[int, str] = {}
        self._written_bytes = 0

    @property
    def written_tokens(self) -> int:
        """About how many tokens have come."""
        return self._written_bytes // BYTES_PER_TOKEN

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Note a piece of the answer; its usage gets the cost, where that is known."""
        if self._call.first_token is None:
            self._call.first_token = time.monotonic()
        for choice in chunk.choices:
            self._written_bytes += written_bytes(choice.delta)
            if reason := choice.finish_reason.string_value:
                self._endings[choice.index] = reason
        if chunk.HasField("usage"):
            self._take_usage(chunk.usage, chunk.service_tier)

    def take_whole(self, completion: ChatCompletion) -> None:
        """Note an answer in one piece."""
        self._call.first_token = time.monotonic()
        for choice in completion.choices:
            self._written_bytes += written_bytes(choice.message)
            self._endings[choice.index] = choice.finish_reason
        if completion.HasField("usage"):
            self._take_usage(completion.usage, completion.service_tier)

    def settle(self, *, is_complete: bool) -> None:
        """Note the answer's end. Where the provider may have worked and has not told the usage, estimate it."""
        call = self._call
        call.is_complete = is_complete
        call.finish_reason = ",".join(reason for _, reason in sorted(self._endings.items())) or None
        if call.usage is not None:
            return
        call.usage = spent(call.journal.turns)
        if call.usage is not None:
            self._add_broken_off_turn(call.usage)
        elif self._written_bytes or may_have_cost(call.journal.attempts):
            call.is_usage_estimated = True
            self._take_usage(estimated_usage(self._request, self._written_bytes), "")

    def _add_broken_off_turn(self, before: Usage) -> None:
        """Estimate what was used beyond the turns `before`, where the last request was not one of them."""
        since = takewhile(lambda attempt: attempt.outcome != "OK", reversed(self._call.journal.attempts))
        if not may_have_cost(attempt for attempt in since if attempt.outcome != HEDGED):
            return
        self._call.is_usage_estimated = True
        written_bytes_before = before.completion_tokens * BYTES_PER_TOKEN
        usage = estimated_usage(self._request, max(self._written_bytes - written_bytes_before, 0))
        self._price(usage, "")
        self._call.usage = summed([before, usage])

    def _take_usage(self, usage: Usage, service_tier: str) -> None:
        if not self._call.journal.turns:  # else each has its own cost
            self._price(usage, service_tier)
        self._call.usage = usage

    def _price(self, usage: Usage, service_tier: str) -> None:
        target = self._call.journal.target
        if target is not None:
            price(usage, target.capabilities.prices, service_tier or None)
