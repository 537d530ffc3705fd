"""From an answer that is sent back with its `tool_events` to the model's turns that it was written in. Pure.

- Each turn becomes an assistant message with its part of the content, of `reasoning_details` and of
  `provider_content`, and with its calls; then come the results.
- What follows the last call is the final message. Calls of the caller's that the last turn with server-side calls made
  as well (`beside_calls`) stand beside these, and the caller's results come behind the server-side ones.
- `reasoning_content` can't be told apart and stands in the first turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import ToolEvent
from service.answers.joining_lists import without_index
from service.errors import invalid, missing
from service.turns.contents import Contents
from service.turns.entries import number_in, shift_number
from service.turns.messages import ERROR, OK, call_of, result_of
from service.turns.places import Place

_MOST_EVENTS: Final = 10_000
"""More is no conversation, and would keep other calls waiting while it is taken apart."""
_CUT: Final = (
    "content",
    "parts",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "provider_content",
    "tool_events",
    "annotations",  # they count characters of the whole content, and no provider is sent them
)
"""What the final message has only its part of, or nothing."""
_SAYS_NOTHING: Final = frozenset({"role", "name", "id", "completion_id", "metadata", "cache_control", "prefix"})


def expanded(message: Message, path: str) -> list[Message]:
    """The messages that stand for one with `tool_events`.

    Args:
        message: Validated.
        path: Where it stands, such as `messages[1]`.

    Raises:
        RequestError: The events are not as an answer has them; `param` is the path, such as
            `messages[1].tool_events[0].text_length`.
    """
    if message.role != "assistant":
        raise invalid(f"{path}.tool_events", 'left out unless the role is "assistant"')
    if len(message.tool_events) > _MOST_EVENTS:
        raise invalid(f"{path}.tool_events", f"an array of at most {_MOST_EVENTS} events")
    return _turns(message, path)


def _turns(message: Message, path: str) -> list[Message]:
    contents = Contents(path, message)
    turns = _events_by_turn(path, message.tool_events, contents)
    bounds = [_end_of(events[0]) for events in turns]
    reasoning = _reasoning_by_turn(message.reasoning_details, [bound.reasoning_length for bound in bounds])
    told: list[Message] = []
    for number, (events, end) in enumerate(zip(turns, bounds, strict=True)):
        begin = bounds[number - 1] if number else Place()
        last_turn = Message(role="assistant", name=message.name or None)
        _fill(last_turn, message, reasoning[number], begin, end)
        contents.put(last_turn, end.text_length)
        last_turn.tool_calls.extend(map(call_of, events))
        told += [last_turn, *map(result_of, events)]
    _put_reasoning(told[0], message)
    rest = _rest(message, contents, reasoning[-1], bounds[-1])
    said = {field.name for field, _ in rest.ListFields()} - _SAYS_NOTHING
    if said == {"tool_calls"} and turns[-1][-1].beside_calls:
        _put_beside(last_turn, rest)
    elif said:
        told.append(rest)
    elif rest.HasField("cache_control"):  # the mark is for all that is sent
        told[-1].cache_control.CopyFrom(rest.cache_control)
    return told


def _events_by_turn(path: str, events: Sequence[ToolEvent], contents: Contents) -> list[list[ToolEvent]]:
    """The events, checked, those of one turn together."""
    before = ToolEvent()
    ids: set[str] = set()
    for index, event in enumerate(events):
        place = f"{path}.tool_events[{index}]"
        _check_event(place, event)
        if event.turn < before.turn:
            raise invalid(f"{place}.turn", "no lower than that of the event before")
        if event.turn > before.turn or not index:
            ids.clear()
            _check_end(place, event, before, contents)
        elif _end_of(event) != _end_of(before):
            raise invalid(place, "as the other events of its turn in `text_length` and the other lengths")
        if event.id in ids:
            raise invalid(f"{place}.id", "another one than that of the other events of its turn")
        ids.add(event.id)
        before = event
    return [list(turn) for _, turn in groupby(events, key=attrgetter("turn"))]


def _check_event(place: str, event: ToolEvent) -> None:
    if not event.id:
        raise missing(f"{place}.id", "the id of the call")
    if not event.tool:
        raise missing(f"{place}.tool", "the id of the tool")
    if event.status not in {OK, ERROR}:
        raise invalid(f"{place}.status", '"ok" or "error"')


def _check_end(place: str, event: ToolEvent, before: ToolEvent, contents: Contents) -> None:
    for name in ("text_length", "reasoning_length", "provider_content_length"):
        if getattr(event, name) < getattr(before, name):
            raise invalid(f"{place}.{name}", "no lower than that of the turn before")
    if event.text_length > contents.text_length:
        raise invalid(f"{place}.text_length", "at most the length of the message's text")


def _end_of(event: ToolEvent) -> Place:
    return Place(event.text_length, event.reasoning_length, event.provider_content_length)


def _reasoning_by_turn(blocks: Iterable[JsonObject], bounds: Sequence[int]) -> list[list[JsonObject]]:
    """The blocks of each turn, and last those of the rest, as the turn had them; one without an index goes on with
    the one before it.
    """  # noqa: D205 - one sentence
    turns: list[list[JsonObject]] = [[] for _ in range(len(bounds) + 1)]
    turn = 0
    for block in blocks:
        index = number_in(block, "index")
        if index is not None:
            turn = bisect_right(bounds, index)
        copied = JsonObject()
        copied.CopyFrom(block)
        shift_number(copied, "index", -bounds[turn - 1] if turn else 0)
        turns[turn].append(copied)
    return turns


def _fill(turn: Message, message: Message, reasoning: list[JsonObject], begin: Place, end: Place | None) -> None:
    """Give the turn what lies between the two places in the message's lists."""
    turn.reasoning_details.extend(reasoning)
    last = None if end is None else end.provider_content_length
    for entry in message.provider_content[begin.provider_content_length : last]:
        own = without_index(entry)
        shift_number(own, "reasoning_index", -begin.reasoning_length)
        turn.provider_content.append(own)


def _put_reasoning(turn: Message, message: Message) -> None:
    if message.HasField("reasoning_content"):
        turn.reasoning_content = message.reasoning_content
    if message.HasField("reasoning"):
        turn.reasoning = message.reasoning


def _rest(message: Message, contents: Contents, reasoning: list[JsonObject], begin: Place) -> Message:
    """The message without the turns before."""
    rest = Message()
    rest.CopyFrom(message)
    for name in _CUT:
        rest.ClearField(name)
    _fill(rest, message, reasoning, begin, None)
    contents.put(rest, None)
    return rest


def _put_beside(turn: Message, rest: Message) -> None:
    """The caller's calls are of the turn, and so is what the message says besides."""
    turn.MergeFrom(rest)
    # Of calls made at once Gemini signs the first alone: it has to come first again, whosever it is.
    turn.tool_calls.sort(key=lambda call: not call.HasField("extra_content"))
