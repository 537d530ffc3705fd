"""From an OpenAI-compatible provider's stream of events to the contract's chunks. Pure.

The contract promises more than providers keep, so this is where it is made true: one id, time and
model in every chunk (Groq sends another id in nearly each); a first delta with role and empty
content; an empty delta beside the finish reason, which comes once (OpenRouter sends it twice);
usage once, at the end; and never an end without a finish reason.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Interrupted, Malformed, UpstreamError
from service.json_values import json_object
from service.providers.openai import wire
from service.providers.openai.error_body import read_error
from service.providers.openai.errors import error_within_answer
from service.providers.openai.finish import Finish, finish_of
from service.providers.openai.origin import Origin
from service.providers.openai.response import (
    audio_output,
    created_of,
    function_call,
    is_custom,
    logprobs_of,
    moderation_of,
    raise_if_failed,
    split_content,
    tool_runs,
)
from service.providers.openai.sources import url_citations
from service.providers.openai.usage import usage_of
from service.providers.reading import malformed_if_unreadable
from service.providers.sse import SseEvent

_NOT_FINISHED = Value(null_value=NULL_VALUE)
_FIRST_DELTA = pb.Delta(role="assistant", content="")
_MOST_CHOICES = 128
_MOST_SOURCES = 1_000
_MOST_RUNS = 128


class _ChoiceState:
    """What has been seen of one choice."""

    __slots__ = ("finished", "open_call", "open_runs", "started_calls", "text_length")

    def __init__(self) -> None:
        self.finished = False
        self.open_call = -1
        """Index of the call that fragments without an index belong to; -1 before the first."""
        self.started_calls: set[int] = set()
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
        with malformed_if_unreadable(self._provider):
            return self._translate(wire.decode_completion(event.data))

    def _translate(self, event: wire.Completion) -> list[pb.ChatCompletionChunk]:
        raise_if_failed(event, self._origin)
        if not self._id:
            self._id = event.id or self._identity.id
            self._created = created_of(event) or self._identity.created
        self._service_tier = event.service_tier or self._service_tier
        self._system_fingerprint = event.system_fingerprint or self._system_fingerprint
        self._usage = usage_of(event, self._origin.dialect) or self._usage
        chunks = [chunk for choice in event.choices or () for chunk in self._translate_choice(choice)]
        if event.usage is not None and self._is_finished and not self._origin.dialect.says_done:
            self._closes_itself = True  # the usage was asked for, and is the last that comes
        self._moderation = moderation_of(event) or self._moderation
        if self._moderation is not None and self._choices:  # Azure's come before the first choice: they wait for it
            chunks = chunks or [self._chunk()]
            chunks[0].moderation.CopyFrom(self._moderation)
            self._moderation = None
        return chunks + self._citations(event)

    def _citations(self, event: wire.Completion) -> list[pb.ChatCompletionChunk]:
        """Sources that are named for the whole answer; they are told of the first choice."""
        new = [citation for url, citation in url_citations(event) if url not in self._cited]
        if not new or not self._choices:
            return []
        if len(self._cited) + len(new) > _MOST_SOURCES:
            raise Malformed("The provider's stream names too many sources.", metadata={"provider": self._provider})
        self._cited.update(url for url, _ in url_citations(event))
        annotations = [json_object(citation) for citation in new]
        return [self._choice_chunk(min(self._choices), pb.Delta(annotations=annotations))]

    def _error_of_event(self, data: bytes) -> UpstreamError:
        """The error that an event named `error` stands for, whatever its data looks like."""
        return error_within_answer(self._provider, read_error(data)[0], self._origin.dialect.error_reasons)

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """Translate the end of the stream: the chunk with the usage, where it is known.

        Raises:
            Interrupted: A choice has no finish reason, or there was no choice; or the provider closed the
                stream without having said that it is over.
        """
        if not (self._is_over or self._closes_itself) or not self._is_finished:
            raise Interrupted(
                "The provider's stream ended before the answer was complete.", metadata={"provider": self._provider}
            )
        if self._usage is None:
            return []
        chunk = self._chunk()
        chunk.usage.CopyFrom(self._usage)
        return [chunk]

    @property
    def _is_finished(self) -> bool:
        """Whether there is a choice, and none without its finish reason."""
        return bool(self._choices) and all(state.finished for state in self._choices.values())

    def _translate_choice(self, choice: wire.Choice) -> list[pb.ChatCompletionChunk]:
        chunks = []
        state = self._choices.get(choice.index)
        if state is None:
            if len(self._choices) >= _MOST_CHOICES:
                raise Malformed("The provider's stream has too many choices.", metadata={"provider": self._provider})
            state = self._choices[choice.index] = _ChoiceState()
            chunks.append(self._choice_chunk(choice.index, _FIRST_DELTA))
        delta = self._delta(choice.delta or choice.message or wire.Message(), state, choice.index)
        logprobs = logprobs_of(choice.logprobs)
        if delta.ByteSize() or (logprobs and logprobs.ByteSize()):
            chunks.append(self._choice_chunk(choice.index, delta, logprobs))
        finish = finish_of(self._origin, choice)
        if finish and not state.finished:
            state.finished = True
            if state.open_runs:  # without results to the end
                runs = tool_runs(state.open_runs.values())
                chunks.append(self._choice_chunk(choice.index, pb.Delta(provider_content=runs)))
            chunks.append(self._last_chunk(choice.index, finish))
        if choice.content_filter_results:
            chunks = chunks or [self._choice_chunk(choice.index, pb.Delta())]
            chunks[-1].choices[0].content_filter_results.CopyFrom(json_object(choice.content_filter_results))
        return chunks

    def _delta(self, delta: wire.Message, state: _ChoiceState, choice_index: int) -> pb.Delta:
        content = split_content(delta.content, state.text_length)
        state.text_length += len(content.text or "")
        call = delta.function_call
        return pb.Delta(
            content=content.text or None,
            refusal=delta.refusal or None,
            tool_calls=[self._tool_call(call, state, choice_index) for call in delta.tool_calls or ()],
            function_call=function_call(call) if call and (call.name or call.arguments) else None,
            annotations=[json_object(annotation) for annotation in (*(delta.annotations or ()), *content.references)],
            audio=audio_output(delta.audio),
            reasoning_content=content.reasoning or delta.reasoning_content or delta.reasoning or None,
            reasoning_details=[json_object(detail) for detail in delta.reasoning_details or ()],
            provider_content=tool_runs(self._finished_runs(delta, state)),
        )

    def _finished_runs(self, delta: wire.Message, state: _ChoiceState) -> list[dict[str, Any]]:
        """Groq's tool runs that have their results; each comes once without and once with them."""
        finished = []
        for run in delta.executed_tools or ():
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

    def _tool_call(self, call: wire.ToolCall, state: _ChoiceState, choice_index: int) -> tool_pb2.ToolCallDelta:
        index = call.index
        if index is None:
            begins = bool(call.id) or bool(call.function and call.function.name)
            index = state.open_call + 1 if begins or state.open_call < 0 else state.open_call
        state.open_call = index
        is_first = index not in state.started_calls
        state.started_calls.add(index)
        translated = tool_pb2.ToolCallDelta(index=index)
        if is_first:
            translated.id = call.id or f"call_{self._id}_{choice_index}_{index}"
            translated.type = "custom" if is_custom(call) else "function"
        if is_custom(call) and call.custom is not None:
            translated.custom.CopyFrom(tool_pb2.CustomToolCall(name=call.custom.name, input=call.custom.input))
        elif call.function is not None:
            translated.function.CopyFrom(function_call(call.function))
            if not is_first and not translated.function.name:
                translated.function.ClearField("name")
        if call.extra_content is not None:
            translated.extra_content.CopyFrom(json_object(call.extra_content))
        return translated

    def _last_chunk(self, index: int, finish: Finish) -> pb.ChatCompletionChunk:
        chunk = self._choice_chunk(index, pb.Delta())
        choice = chunk.choices[0]
        choice.finish_reason.string_value = finish.reason
        if finish.native is not None:
            choice.native_finish_reason = finish.native
        if finish.stop_sequence is not None:
            choice.stop_sequence = finish.stop_sequence
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
            service_tier=self._service_tier,
            system_fingerprint=self._system_fingerprint,
        )
