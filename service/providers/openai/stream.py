"""From an OpenAI-compatible provider's stream of events to the contract's chunks. Pure.

The contract promises more than providers keep, so this is where it is made true: one id, time and
model in every chunk (Groq sends another id in nearly each); a first delta with role and empty
content; an empty delta beside the finish reason, which comes once (OpenRouter sends it twice);
usage once, at the end; and never an end without a finish reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Interrupted, Malformed, UpstreamError
from service.json_values import Json, json_object
from service.providers.openai import wire
from service.providers.openai.error_body import read_error
from service.providers.openai.errors import error_within_answer
from service.providers.openai.finish import Finish, finish_of
from service.providers.openai.origin import Origin
from service.providers.openai.response import (
    arguments_of,
    audio_output,
    created_of,
    logprobs_of,
    moderation_of,
    raise_if_failed,
    split_content,
    tool_runs,
)
from service.providers.openai.sources import has_sources, url_citations
from service.providers.openai.stream_tool_calls import StreamToolCalls
from service.providers.openai.usage import usage_of
from service.providers.reading import UNREADABLE, malformed_by
from service.providers.sse import SseEvent

_NOT_FINISHED = Value(null_value=NULL_VALUE)
_FIRST_DELTA = pb.Delta(role="assistant", content="")
_read_chunk = pb.ChatCompletionChunk.FromString
_MOST_CHOICES = 128
_MOST_SOURCES = 1_000
_MOST_RUNS = 128


class _ChoiceState:
    """What has been seen of one choice."""

    __slots__ = ("finished", "open_runs", "text_length", "tool_calls")

    def __init__(self) -> None:
        self.finished = False
        self.tool_calls: StreamToolCalls | None = None
        self.text_length = 0
        """Characters of the text so far."""
        self.open_runs: dict[int, dict[str, Any]] = {}
        """Groq's own tool runs that have begun, without their results, by index."""


class StreamTranslator:
    """Translates one stream. Feed it each event, then call `finish`."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._provider = origin.provider
        self._identity = origin.identity
        self._id = ""
        self._created = 0
        self._service_tier: str | None = None
        self._system_fingerprint: str | None = None
        self._choices: dict[int, _ChoiceState] = {}
        self._blanks: dict[int, bytes] = {}
        """By choice, a chunk of it with an empty delta, serialised: reading one is quicker than making one."""
        self._usage: pb.Usage | None = None
        self._moderation: JsonObject | None = None
        self._cited: set[str] = set()
        """Addresses of sources that have been told; some providers repeat all of them in every chunk."""
        self._is_over = False
        self._closes_itself = False
        """Whether nothing is missing if the stream ends without `[DONE]`."""

    @property
    def is_over(self) -> bool:
        """Whether `[DONE]` has come."""
        return self._is_over

    def translate(self, event: SseEvent) -> list[pb.ChatCompletionChunk]:
        """Translate an event; often to one chunk, or to none.

        Raises:
            Malformed: It is no JSON, or has a wrong type somewhere.
            UpstreamError: It reports a failure.
        """
        if event.data == b"[DONE]":
            self._is_over = True
            return []
        if event.event == "error":
            raise self._error_of_event(event.data)
        try:
            return self._translate(wire.decode_completion(event.data))
        except UNREADABLE as error:
            raise malformed_by(self._provider, error) from None

    def _translate(self, event: wire.Completion) -> list[pb.ChatCompletionChunk]:
        if event.error or event.x_groq or event.object == "error":
            raise_if_failed(event, self._origin)
        self._note(event)
        chunks: list[pb.ChatCompletionChunk] = []
        for choice in event.choices or ():
            self._translate_choice(choice, chunks)
        if event.usage is not None and self._is_finished and not self._origin.dialect.says_done:
            self._closes_itself = True  # the usage was asked for, and is the last that comes
        if event.moderation is not None or event.prompt_filter_results:
            self._moderation = moderation_of(event)
        if self._moderation is not None and self._choices:  # Azure's come before the first choice: they wait for it
            chunks = chunks or [self._chunk()]
            chunks[0].moderation.CopyFrom(self._moderation)
            self._moderation = None
        return chunks + self._citations(event) if has_sources(event) else chunks

    def _note(self, event: wire.Completion) -> None:
        """Keep what belongs to the whole answer."""
        if not self._id:
            self._id = event.id or self._identity.id
            self._created = created_of(event) or self._identity.created
        tier, fingerprint = event.service_tier, event.system_fingerprint
        if (tier and tier != self._service_tier) or (fingerprint and fingerprint != self._system_fingerprint):
            self._service_tier = tier or self._service_tier
            self._system_fingerprint = fingerprint or self._system_fingerprint
            self._blanks.clear()
        if event.usage is not None or event.x_groq is not None:
            usage = usage_of(event, self._origin.dialect)
            self._usage = self._usage if usage is None else pb.Usage(**usage)

    def _citations(self, event: wire.Completion) -> list[pb.ChatCompletionChunk]:
        """Sources that are named for the whole answer; they are told of the first choice."""
        new = [citation for url, citation in url_citations(event) if url not in self._cited]
        if not new or not self._choices:
            return []
        if len(self._cited) + len(new) > _MOST_SOURCES:
            raise Malformed("The provider's stream names too many sources.", metadata={"provider": self._provider})
        self._cited.update(url for url, _ in url_citations(event))
        annotations = [json_object(citation) for citation in new]
        chunk = self._blank(min(self._choices))
        chunk.choices[0].delta.annotations.extend(annotations)
        return [chunk]

    def _error_of_event(self, data: bytes) -> UpstreamError:
        """The error that an event named `error` stands for, whatever its data looks like."""
        return error_within_answer(self._provider, read_error(data)[0], self._origin.dialect.error_reasons)

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """Translate the end of the stream: the chunk with the usage, where it is known.

        Raises:
            Interrupted: A choice has no finish reason, or there is none; or the provider closed the stream
                without having said that it is over.
        """
        # With `[DONE]`, a provider that ignores `n` has answered as it does in one piece: with fewer choices.
        has_ended = self._is_over or (self._closes_itself and len(self._choices) >= self._origin.choices)
        if not has_ended or not self._is_finished:
            raise Interrupted(
                "The provider's stream ended before the answer was complete.", metadata={"provider": self._provider}
            )
        if self._usage is None:
            return []
        return [self._chunk(usage=self._usage)]

    @property
    def _is_finished(self) -> bool:
        """Whether there is a choice, and none without its finish reason."""
        return bool(self._choices) and all(state.finished for state in self._choices.values())

    def _translate_choice(self, choice: wire.Choice, chunks: list[pb.ChatCompletionChunk]) -> None:
        """Add the choice's chunks, often one, to those of its event."""
        index, before = choice.index or 0, len(chunks)
        state = self._choices.get(index)
        if state is None:
            state = self._begin(index)
            chunks.append(self._blank(index))
            chunks[-1].choices[0].delta.MergeFrom(_FIRST_DELTA)
        chunk = self._blank(index)
        translated = chunk.choices[0]
        delta = choice.delta or choice.message
        is_filled = delta is not None and self._fill(translated.delta, delta, state, index)
        if choice.logprobs is not None and (logprobs := logprobs_of(choice.logprobs)) is not None:
            translated.logprobs.MergeFrom(pb.Logprobs(**logprobs))
            is_filled = True
        if is_filled:
            chunks.append(chunk)
        if choice.finish_reason or choice.error:
            finish = finish_of(self._origin, choice)
            if finish and not state.finished:
                chunks += self._last_chunks(index, finish, state)
        if choice.content_filter_results:
            if len(chunks) == before:
                chunks.append(chunk)
            chunks[-1].choices[0].content_filter_results.CopyFrom(json_object(choice.content_filter_results))

    def _begin(self, index: int) -> _ChoiceState:
        if len(self._choices) >= _MOST_CHOICES:
            raise Malformed("The provider's stream has too many choices.", metadata={"provider": self._provider})
        state = self._choices[index] = _ChoiceState()
        return state

    def _fill(self, translated: pb.Delta, delta: wire.Message, state: _ChoiceState, index: int) -> bool:
        """Put what the delta has into an empty one; most have a text alone. False where it stays empty."""
        text, reasoning = delta.content, delta.reasoning_content or delta.reasoning
        references: Sequence[dict[str, Json]] = ()
        if isinstance(text, list):
            text, thought, references = split_content(text, state.text_length)
            reasoning = thought or reasoning
        if text:
            state.text_length += len(text)
            translated.content = text
        if reasoning:
            translated.reasoning_content = reasoning
        if delta.tool_calls:
            if state.tool_calls is None:
                state.tool_calls = StreamToolCalls(self._provider, f"call_{self._id}_{index}")
            for call in delta.tool_calls:
                translated.tool_calls.add(**state.tool_calls.translate(call))
        if references or wire.has_more(delta):
            self._fill_more(translated, delta, state, references)
        return bool(text or reasoning or translated.ByteSize())

    def _fill_more(
        self, translated: pb.Delta, delta: wire.Message, state: _ChoiceState, references: Sequence[dict[str, Json]]
    ) -> None:
        """Put what few deltas have."""
        if delta.reasoning_details:
            translated.reasoning_details.extend(map(json_object, delta.reasoning_details))
        if delta.annotations or references:
            translated.annotations.extend(map(json_object, (*(delta.annotations or ()), *references)))
        if delta.refusal:
            translated.refusal = delta.refusal
        if delta.executed_tools:
            translated.provider_content.extend(tool_runs(self._finished_runs(delta.executed_tools, state)))
        if (call := delta.function_call) is not None and (call.name or call.arguments):
            translated.function_call.MergeFrom(tool_pb2.FunctionCall(name=call.name, arguments=arguments_of(call)))
        if (audio := audio_output(delta.audio)) is not None:
            translated.audio.MergeFrom(pb.AudioOutput(**audio))

    def _finished_runs(self, runs: list[dict[str, Any]], state: _ChoiceState) -> list[dict[str, Any]]:
        """Groq's tool runs that have their results; each comes once without and once with them."""
        finished = []
        for run in runs:
            index = run.get("index")
            if isinstance(index, int) and run.get("output") is None:
                state.open_runs[index] = run
                continue
            if isinstance(index, int):
                state.open_runs.pop(index, None)
            finished.append(run)
        if len(state.open_runs) > _MOST_RUNS:
            raise Malformed("The provider's stream has too many tool runs.", metadata={"provider": self._provider})
        return finished

    def _last_chunks(self, index: int, finish: Finish, state: _ChoiceState) -> list[pb.ChatCompletionChunk]:
        state.finished = True
        chunks = []
        if state.open_runs:  # without results to the end
            chunks.append(self._blank(index))
            chunks[0].choices[0].delta.provider_content.extend(tool_runs(state.open_runs.values()))
        chunks.append(self._blank(index))
        choice = chunks[-1].choices[0]
        choice.finish_reason.string_value = finish.reason
        if finish.native is not None:
            choice.native_finish_reason = finish.native
        if finish.stop_sequence is not None:
            choice.stop_sequence = finish.stop_sequence
        return chunks

    def _blank(self, index: int) -> pb.ChatCompletionChunk:
        """A chunk of a choice, whose delta is there, and empty."""
        blank = self._blanks.get(index)
        if blank is None:
            choice = pb.ChunkChoice(index=index, delta=pb.Delta(), finish_reason=_NOT_FINISHED)
            blank = self._blanks[index] = self._chunk(choices=[choice]).SerializeToString()
        return _read_chunk(blank)

    def _chunk(self, **fields: Any) -> pb.ChatCompletionChunk:
        return pb.ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._identity.model,
            service_tier=self._service_tier,
            system_fingerprint=self._system_fingerprint,
            **fields,
        )
