"""Makes one answer of what a model says in several turns, piece by piece. Pure.

Told at once is what the caller is to see: text, reasoning, citations, calls of the caller's own tools. Calls of
server-side tools are not told, nor how a turn ended before it is known to be the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, ChunkChoice, Delta, Usage
from service._gen.parley.v1.tool_pb2 import ToolCallDelta, ToolEvent
from service.errors import Malformed
from service.turns.places import Places

_NOT_FINISHED: Final = Value(null_value=NULL_VALUE)
_FIRST_DELTA: Final = Delta(role="assistant", content="")
_OF_EVERY_CHOICE: Final = frozenset({"index", "delta", "finish_reason"})
_FINISHES: Final = ("native_finish_reason", "stop_sequence")


class Telling:
    """Tells one answer.

    Args:
        is_server_side: Whether the tool of a name is the service's to run.
    """

    def __init__(self, is_server_side: Callable[[str], bool]) -> None:
        self._is_server_side = is_server_side
        self._places = Places()
        self._head: ChatCompletionChunk | None = None
        self._has_begun = False
        self._finish: ChunkChoice | None = None
        self._own_calls: dict[int, int] = {}
        """Of the running turn: the caller's calls, by their number among all, with their number in the message."""
        self._withheld: set[int] = set()
        self._nameless: dict[int, list[ToolCallDelta]] = {}
        """As `_own_calls`: the fragments of calls whose name is still to come."""
        self._event_count = 0

    def begin_turn(self) -> None:
        """What follows is the next turn's."""
        self._places.begin_turn()
        self._finish = None
        self._own_calls.clear()
        self._withheld.clear()
        self._nameless.clear()

    def number(self, chunk: ChatCompletionChunk) -> None:
        """Number what has to have a number, in place: to be done before `told`.

        Raises:
            Malformed: The provider gives several answers.
        """
        for choice in chunk.choices:
            if choice.index:
                raise Malformed("The provider gives several answers where one was asked for.")
            self._places.number(choice.delta)

    def told(self, chunk: ChatCompletionChunk) -> Iterator[ChatCompletionChunk]:
        """What a chunk of the running turn tells the caller."""
        told = ChatCompletionChunk()
        told.CopyFrom(chunk)
        told.ClearField("usage")
        if self._head is None:
            self._head = _head_of(chunk)
        told.id, told.created, told.model = self._head.id, self._head.created, self._head.model
        for choice in told.choices:
            self._fit(choice)
        if told.HasField("moderation") or any(map(_says_something, told.choices)):
            yield from self._opened(told)

    def event(self, event: ToolEvent) -> ChatCompletionChunk:
        """Tell of a tool that has run in the turn that has just ended; fills in where that was."""
        event.index = self._event_count
        self._event_count += 1
        event.text_length, event.reasoning_length, event.provider_content_length = self._places.end
        delta = Delta(tool_events=[event])
        if not self._has_begun:
            self._has_begun = True
            delta.MergeFrom(_FIRST_DELTA)
        return self._with_choice(ChunkChoice(index=0, delta=delta))

    def ending(self, last: ChatCompletion, usage: Usage | None) -> Iterator[ChatCompletionChunk]:
        """Tell how the last turn ended, and what all of them used.

        Args:
            last: The last turn's answer.
            usage: None where it is not known.
        """
        # Those whose name has never come are nobody's but the caller's.
        for number, held in enumerate(self._nameless.values(), len(self._own_calls)):
            for fragment in held:
                fragment.index = number
            yield from self._opened(self._with_choice(ChunkChoice(index=0, delta=Delta(tool_calls=held))))
        if self._finish is not None:
            yield from self._opened(self._with_choice(self._finish))
        if usage is not None:
            chunk = self._with_choice(None)
            for name in ("service_tier", "system_fingerprint"):
                chunk.ClearField(name)
                if last.HasField(name):
                    setattr(chunk, name, getattr(last, name))
            chunk.usage.CopyFrom(usage)
            yield chunk

    def _fit(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        delta.ClearField("role")
        if not delta.content:
            delta.ClearField("content")
        self._places.fit(delta)
        if delta.tool_calls:
            own = list(self._own(delta.tool_calls))
            del delta.tool_calls[:]
            delta.tool_calls.extend(own)
        if choice.finish_reason.string_value:
            self._finish = finish = ChunkChoice(index=0, delta=Delta(), finish_reason=choice.finish_reason)
            choice.finish_reason.CopyFrom(_NOT_FINISHED)
            for name in _FINISHES:
                if choice.HasField(name):
                    setattr(finish, name, getattr(choice, name))
                    choice.ClearField(name)

    def _own(self, fragments: Iterable[ToolCallDelta]) -> Iterator[ToolCallDelta]:
        """Those of the caller's calls, numbered among themselves."""
        for fragment in fragments:
            number = fragment.index
            if number in self._withheld:
                continue
            held = []
            if number not in self._own_calls:
                held = self._nameless.setdefault(number, [])
                if (name := fragment.function.name or fragment.custom.name) == "":
                    held.append(fragment)  # some providers tell the id alone first
                    continue
                del self._nameless[number]
                if fragment.HasField("function") and self._is_server_side(name):
                    self._withheld.add(number)
                    continue
                self._own_calls[number] = len(self._own_calls)
            for each in (*held, fragment):
                each.index = self._own_calls[number]
                yield each

    def _opened(self, chunk: ChatCompletionChunk) -> Iterator[ChatCompletionChunk]:
        """The chunk, behind the one that opens the answer."""
        if not self._has_begun:
            self._has_begun = True
            yield self._with_choice(ChunkChoice(index=0, delta=_FIRST_DELTA))
        yield chunk

    def _with_choice(self, choice: ChunkChoice | None) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk()
        if self._head is not None:
            chunk.CopyFrom(self._head)
        if choice is not None:
            if not choice.finish_reason.string_value:
                choice.finish_reason.CopyFrom(_NOT_FINISHED)
            chunk.choices.append(choice)
        return chunk


def _head_of(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    """What every chunk has."""
    head = ChatCompletionChunk()
    head.CopyFrom(chunk)
    for name in ("choices", "usage", "moderation"):
        head.ClearField(name)
    return head


def _says_something(choice: ChunkChoice) -> bool:
    if choice.delta.ListFields():
        return True
    return any(field.name not in _OF_EVERY_CHOICE for field, _ in choice.ListFields())
