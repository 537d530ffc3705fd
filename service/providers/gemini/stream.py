"""From Gemini's stream of events to the contract's chunks. Pure.

Each event is an answer of its own form, with the next pieces of the candidates. There is no `[DONE]`: the
stream ends with the body. A finish reason, which may come with several events, is therefore told at the end,
when it is known whether functions were called, and the last usage holds: both as recorded in
google/test_google_streaming_tool_call_thought_signature.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service.errors import Interrupted, Malformed
from service.providers.gemini import wire
from service.providers.gemini.candidate import CandidateReader
from service.providers.gemini.errors import error_within_answer
from service.providers.gemini.response import (
    created_of,
    end_blocked,
    end_choice,
    logprobs_of,
    numbered,
    service_tier_of,
    usage_of,
)
from service.providers.gemini.server_tools import ServerTools
from service.providers.provider import ProviderCall
from service.providers.reading import malformed_if_unreadable
from service.providers.sse import SseEvent

_NOT_FINISHED: Final = Value(null_value=NULL_VALUE)
_FIRST_DELTA: Final = pb.Delta(role="assistant", content="")
_MOST_CHOICES: Final = 128


class StreamTranslator:
    """Translates one stream. Feed it each event, then call `finish`."""

    def __init__(self, provider: str, call: ProviderCall) -> None:
        self._provider = provider
        self._identity = call.identity
        self._id = ""
        self._created = 0
        self._readers: dict[int, CandidateReader] = {}
        self._server_tools = ServerTools()
        self._block: wire.PromptFeedback | None = None
        self._usage: wire.Usage | None = None

    @property
    def is_over(self) -> bool:
        """Always false: only the body's end says that nothing more comes."""
        return False

    def translate(self, event: SseEvent) -> list[pb.ChatCompletionChunk]:
        """Translate an event: to a chunk for each candidate that says something, and one where it begins.

        Raises:
            Malformed: It is no JSON, or has a wrong type somewhere.
            UpstreamError: It reports a failure.
        """
        with malformed_if_unreadable(self._provider):
            return self._translate(wire.decode_answer(event.data))

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """Translate the end of the stream: the finish of each choice, then the usage, where it is known.

        Raises:
            Interrupted: A candidate has no finish reason, or there was none.
            UpstreamError: A candidate ended in a failure.
        """
        if self._block is not None and not self._readers:
            chunks = [self._blocked(self._block)]
        elif self._readers and all(reader.finish_reason for reader in self._readers.values()):
            with malformed_if_unreadable(self._provider):
                chunks = [chunk for index in sorted(self._readers) for chunk in self._end(index)]
        else:
            raise Interrupted(
                "The provider's stream ended before the answer was complete.", metadata={"provider": self._provider}
            )
        if (usage := usage_of(self._usage, self._server_tools)) is not None:
            chunks.append(self._chunk())
            chunks[-1].usage.CopyFrom(usage)
        return chunks

    def _translate(self, event: wire.Answer) -> list[pb.ChatCompletionChunk]:
        if event.error is not None:
            raise error_within_answer(self._provider, event.error)
        if not self._id:
            self._id = event.response_id or self._identity.id
            self._created = created_of(event) or self._identity.created
        self._usage = event.usage_metadata or self._usage
        chunks = []
        if (feedback := event.prompt_feedback) is not None and feedback.block_reason and not self._readers:
            if self._block is None:
                chunks.append(self._choice_chunk(0, _FIRST_DELTA))
            self._block = feedback
        for index, candidate in numbered(self._provider, event.candidates or []):
            chunks += self._translate_candidate(index, candidate)
        return chunks

    def _translate_candidate(self, index: int, candidate: wire.Candidate) -> list[pb.ChatCompletionChunk]:
        chunks = []
        reader = self._readers.get(index)
        if reader is None:
            if len(self._readers) >= _MOST_CHOICES:
                raise Malformed("The provider's stream has too many candidates.", metadata={"provider": self._provider})
            reader = CandidateReader(self._provider, f"{self._id}_{index}", self._server_tools)
            self._readers[index] = reader
            if self._block is None or index:
                chunks.append(self._choice_chunk(index, _FIRST_DELTA))
        delta, logprobs = reader.read(candidate), logprobs_of(candidate.logprobs_result)
        if delta.ListFields() or logprobs is not None:
            chunks.append(self._choice_chunk(index, delta, logprobs))
        return chunks

    def _end(self, index: int) -> list[pb.ChatCompletionChunk]:
        reader = self._readers[index]
        ended = pb.Choice()
        end_choice(ended, self._provider, reader)
        delta = reader.finish()
        chunks = [self._choice_chunk(index, delta)] if delta.ListFields() else []
        return [*chunks, self._finish_chunk(index, ended)]

    def _blocked(self, feedback: wire.PromptFeedback) -> pb.ChatCompletionChunk:
        ended = pb.Choice()
        end_blocked(ended, feedback)
        return self._finish_chunk(0, ended)

    def _finish_chunk(self, index: int, ended: pb.Choice) -> pb.ChatCompletionChunk:
        chunk = self._choice_chunk(index, pb.Delta())
        choice = chunk.choices[0]
        choice.finish_reason.string_value = ended.finish_reason
        if ended.HasField("native_finish_reason"):
            choice.native_finish_reason = ended.native_finish_reason
        if ended.HasField("content_filter_results"):
            choice.content_filter_results.CopyFrom(ended.content_filter_results)
        return chunk

    def _choice_chunk(self, index: int, delta: pb.Delta, logprobs: pb.Logprobs | None = None) -> pb.ChatCompletionChunk:
        chunk = self._chunk()
        chunk.choices.add(index=index, delta=delta, logprobs=logprobs, finish_reason=_NOT_FINISHED)
        return chunk

    def _chunk(self) -> pb.ChatCompletionChunk:
        return pb.ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._identity.model,
            service_tier=service_tier_of(self._usage),
        )
