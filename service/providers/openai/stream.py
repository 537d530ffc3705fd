"""From an OpenAI-compatible provider's stream of events to the contract's chunks. Pure.

The contract promises more than providers keep, so this is where it is made true: one id, time and
model in every chunk (Groq sends another id in nearly each); a first delta with role and empty
content; an empty delta beside the finish reason, which comes once (OpenRouter sends it twice);
usage once, at the end; and never an end without a finish reason.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service.errors import Interrupted, Malformed, UpstreamError
from service.json_values import json_object
from service.providers.openai import wire
from service.providers.openai.errors import error_within_answer
from service.providers.openai.finish import finish_reason_of
from service.providers.openai.response import (
    audio_output,
    created_of,
    function_call,
    is_custom,
    logprobs_of,
    malformed_if_unreadable,
    split_content,
    usage_of,
)
from service.providers.provider import Identity

_NOT_FINISHED = Value(null_value=NULL_VALUE)
_FIRST_DELTA = pb.Delta(role="assistant", content="")
_MOST_CHOICES = 128


class _ChoiceState:
    """What has been seen of one choice."""

    __slots__ = ("finished", "open_call", "started_calls")

    def __init__(self) -> None:
        self.finished = False
        self.open_call = -1
        """Index of the call that fragments without an index belong to; -1 before the first."""
        self.started_calls: set[int] = set()


class StreamTranslator:
    """Translates one stream. Feed it the data of each event, then call `finish`."""

    def __init__(self, provider: str, identity: Identity) -> None:
        self._provider = provider
        self._identity = identity
        self._id = ""
        self._created = 0
        self._service_tier: str | None = None
        self._system_fingerprint: str | None = None
        self._choices: dict[int, _ChoiceState] = {}
        self._usage: pb.Usage | None = None

    def translate(self, data: bytes) -> list[pb.ChatCompletionChunk]:
        """Translate the data of an event other than `[DONE]`; often to one chunk, or to none.

        Raises:
            Malformed: It is no JSON, or has a wrong type somewhere.
            UpstreamError: It reports a failure.
        """
        with malformed_if_unreadable(self._provider):
            return self._translate(wire.decode_completion(data))

    def _translate(self, event: wire.Completion) -> list[pb.ChatCompletionChunk]:
        if event.error:
            raise error_within_answer(self._provider, event.error)
        if not self._id:
            self._id = event.id or self._identity.id
            self._created = created_of(event) or self._identity.created
        self._service_tier = event.service_tier or self._service_tier
        self._system_fingerprint = event.system_fingerprint or self._system_fingerprint
        self._usage = usage_of(event) or self._usage
        chunks = [chunk for choice in event.choices or () for chunk in self._translate_choice(choice)]
        if event.moderation is not None:
            chunks.append(self._chunk())
            chunks[-1].moderation.CopyFrom(json_object(event.moderation))
        return chunks

    def error_of_event(self, data: bytes) -> UpstreamError:
        """The error that an event named `error` stands for, whatever its data looks like."""
        try:
            reported = wire.decode_error(data).error
        except wire.UNREADABLE:
            reported = None
        return error_within_answer(self._provider, reported or wire.Error())

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """Translate the end of the stream: the chunk with the usage, where it is known.

        Raises:
            Interrupted: A choice has no finish reason, or there was no choice.
        """
        if not self._choices or not all(state.finished for state in self._choices.values()):
            raise Interrupted(
                "The provider's stream ended before the answer was complete.", metadata={"provider": self._provider}
            )
        if self._usage is None:
            return []
        chunk = self._chunk()
        chunk.usage.CopyFrom(self._usage)
        return [chunk]

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
        finish_reason = finish_reason_of(self._provider, choice)
        if finish_reason and not state.finished:
            state.finished = True
            last = self._choice_chunk(choice.index, pb.Delta())
            last.choices[0].finish_reason.string_value = finish_reason
            chunks.append(last)
        if choice.content_filter_results:
            chunks = chunks or [self._choice_chunk(choice.index, pb.Delta())]
            chunks[-1].choices[0].content_filter_results.CopyFrom(json_object(choice.content_filter_results))
        return chunks

    def _delta(self, delta: wire.Message, state: _ChoiceState, choice_index: int) -> pb.Delta:
        text, reasoning = split_content(delta.content)
        call = delta.function_call
        return pb.Delta(
            content=text or None,
            refusal=delta.refusal or None,
            tool_calls=[self._tool_call(call, state, choice_index) for call in delta.tool_calls or ()],
            function_call=function_call(call) if call and (call.name or call.arguments) else None,
            annotations=[json_object(annotation) for annotation in delta.annotations or ()],
            audio=audio_output(delta.audio),
            reasoning_content=reasoning or delta.reasoning_content or delta.reasoning or None,
            reasoning_details=[json_object(detail) for detail in delta.reasoning_details or ()],
        )

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
