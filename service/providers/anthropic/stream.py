"""From the Messages API's stream of events to the contract's chunks. Pure.

The finish reason is held back until `message_stop`: a stream that ends before it was cut.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service.errors import Interrupted, Malformed
from service.json_values import json_object
from service.providers.anthropic import wire
from service.providers.anthropic.errors import error_within_answer
from service.providers.anthropic.finish import finish_of
from service.providers.anthropic.order import container_entry
from service.providers.anthropic.stream_blocks import Block, Progress, open_block
from service.providers.anthropic.tools import answer_tool_name
from service.providers.anthropic.usage import service_tier_of, updated, usage_of
from service.providers.provider import ProviderCall
from service.providers.reading import malformed_if_unreadable
from service.providers.sse import SseEvent

_NOT_FINISHED = Value(null_value=NULL_VALUE)
_FIRST_DELTA = pb.Delta(role="assistant", content="")


class StreamTranslator:
    """Translates one stream. Feed it each event, then call `finish`. See `chat_api.StreamTranslator`."""

    def __init__(self, provider: str, call: ProviderCall) -> None:
        self._provider = provider
        self._identity = call.identity
        self._id = ""
        self._service_tier: str | None = None
        self._usage: wire.Usage | None = None
        self._end = wire.MessageEnd()
        self._progress = Progress(answer_tool_name(call))
        self._open: dict[int, Block] = {}
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether `message_stop` has come."""
        return self._is_over

    def translate(self, event: SseEvent) -> list[pb.ChatCompletionChunk]:
        """Translate an event; often to one chunk, or to none.

        Raises:
            Malformed: It is no JSON, or has a wrong type somewhere.
            UpstreamError: It reports a failure.
        """
        if event.event == "error":
            raise error_within_answer(self._provider, event.data)
        with malformed_if_unreadable(self._provider):
            return self._translate(event)

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """Translate the end of the stream: the chunk with the usage, where it is known.

        Raises:
            Interrupted: The answer is not complete.
        """
        if not self._is_over or self._end.stop_reason is None:
            raise Interrupted(
                "The provider's stream ended before the answer was complete.", metadata={"provider": self._provider}
            )
        with malformed_if_unreadable(self._provider):
            usage = usage_of(self._usage)
        if usage is None:
            return []
        chunk = self._chunk()
        chunk.usage.CopyFrom(usage)
        return [chunk]

    def _translate(self, event: SseEvent) -> list[pb.ChatCompletionChunk]:
        data = event.data
        match wire.decode_kind(data).type or event.event:
            case "content_block_delta":
                delta = wire.decode_block_delta(data)
                if (block := self._open.get(delta.index)) is None:
                    message = "The provider's stream goes on with a block that is not open."
                    raise Malformed(message, metadata={"provider": self._provider})
                return self._answered(block.go_on(delta.delta))
            case "content_block_start":
                start = wire.decode_block_start(data)
                chunks = self._close(start.index)  # of an earlier block, if that was never said to end
                self._open[start.index], deltas = open_block(start.content_block, self._progress)
                return [*chunks, *self._answered(deltas)]
            case "content_block_stop":
                return self._close(wire.decode_block_stop(data).index)
            case "message_start":
                return self._begin(wire.decode_message_start(data).message)
            case "message_delta":
                return self._note_end(wire.decode_message_delta(data))
            case "message_stop":
                return self._stop()
            case "error":
                raise error_within_answer(self._provider, data)
            case _:
                return []  # a ping, or what is not known yet

    def _begin(self, message: wire.Message) -> list[pb.ChatCompletionChunk]:
        if self._id:
            return []
        self._id = message.id or self._identity.id
        self._usage = message.usage
        self._service_tier = service_tier_of(self._usage)
        self._end.container = message.container
        chunks = [self._choice_chunk(_FIRST_DELTA)]
        for raw in message.content or ():  # empty as a rule
            block, deltas = open_block(raw, self._progress)
            chunks += self._answered([*deltas, *block.close()])
        return chunks

    def _note_end(self, event: wire.MessageDelta) -> list[pb.ChatCompletionChunk]:
        self._usage = updated(self._usage, event.usage)
        self._service_tier = service_tier_of(self._usage)
        container = event.delta.container or self._end.container
        if event.delta.stop_reason is not None:
            self._end = event.delta
        self._end.container = container
        return []

    def _stop(self) -> list[pb.ChatCompletionChunk]:
        self._is_over = True
        chunks = [chunk for index in list(self._open) for chunk in self._close(index)]
        if self._end.stop_reason is None:
            return chunks  # `finish` tells that the answer is not complete
        if self._end.container:
            entry = json_object(container_entry(self._end.container))
            chunks += self._answered([pb.Delta(provider_content=[entry])])
        finish = finish_of(self._provider, self._end, is_schema_answer=self._progress.is_schema_answer)
        chunks += self._answered([pb.Delta()])
        choice = chunks[-1].choices[0]
        choice.finish_reason.string_value = finish.reason
        if finish.native is not None:
            choice.native_finish_reason = finish.native
        if finish.stop_sequence is not None:
            choice.stop_sequence = finish.stop_sequence
        if finish.details:
            choice.content_filter_results.CopyFrom(json_object(finish.details))
        return chunks

    def _close(self, index: int) -> list[pb.ChatCompletionChunk]:
        block = self._open.pop(index, None)
        return self._answered(block.close()) if block else []

    def _answered(self, deltas: Iterable[pb.Delta]) -> list[pb.ChatCompletionChunk]:
        """Chunks of the deltas, after the first one that every answer begins with."""
        chunks = [self._choice_chunk(delta) for delta in deltas]
        if chunks and not self._id:  # without `message_start`
            self._id = self._identity.id
            return [self._choice_chunk(_FIRST_DELTA), *[self._choice_chunk(chunk.choices[0].delta) for chunk in chunks]]
        return chunks

    def _choice_chunk(self, delta: pb.Delta) -> pb.ChatCompletionChunk:
        chunk = self._chunk()
        chunk.choices.add(index=0, delta=delta, finish_reason=_NOT_FINISHED)
        return chunk

    def _chunk(self) -> pb.ChatCompletionChunk:
        return pb.ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._identity.created,
            model=self._identity.model,
            service_tier=self._service_tier,
        )
