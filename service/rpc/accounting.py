"""What an answer comes to: its usage, its cost, its ending."""

from __future__ import annotations

import time

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.cost import cost_usd
from service.rpc.call import Call
from service.rpc.usage_estimate import BYTES_PER_TOKEN, estimated_usage, may_have_cost, written_bytes


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
        if call.usage is None and (self._written_bytes or may_have_cost(call.journal.attempts)):
            call.is_usage_estimated = True
            self._take_usage(estimated_usage(self._request, self._written_bytes), "")

    def _take_usage(self, usage: Usage, service_tier: str) -> None:
        target = self._call.journal.target
        if target is not None and target.capabilities.prices is not None and not usage.HasField("cost_usd"):
            cost = cost_usd(usage, target.capabilities.prices, service_tier or None)
            if cost is not None:
                usage.cost_usd = cost
        self._call.usage = usage
