"""Joins what a stream adds to the lists of a message. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service._gen.parley.v1.json_pb2 import JsonObject, JsonValue
from service._gen.parley.v1.tool_pb2 import ToolCall, ToolCallDelta

_INDEX: Final = "index"
_TYPE: Final = "type"


def without_index(entry: JsonObject) -> JsonObject:
    """A copy of an entry that is whole, without the number that it has in a stream alone."""
    return JsonObject(fields=[member for member in entry.fields if member.key != _INDEX])


class Members:
    """Members of an object, of which a stream tells more and more; what is told last holds."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, JsonValue] = {}

    def __len__(self) -> int:
        return len(self._values)

    def update(self, told: JsonObject) -> None:
        """Take what is told."""
        for member in told.fields:
            self._values[member.key] = _copied(member.value)

    def joined(self) -> JsonObject:
        """All that was told."""
        return JsonObject(fields=[JsonObject.Entry(key=key, value=value) for key, value in self._values.items()])


class Blocks:
    """Reasoning blocks. Entries of one type and index are pieces of one, whose texts are joined."""

    __slots__ = ("_blocks", "_latest")

    def __init__(self) -> None:
        self._blocks: dict[object, _Block] = {}
        self._latest: dict[float, object] = {}
        """By index, the key of the block that had a piece last."""

    def take(self, pieces: Iterable[JsonObject]) -> None:
        """Add pieces of blocks; one without an index is a block of its own."""
        for piece in pieces:
            members = {member.key: member.value for member in piece.fields}
            key = self._key_of(members)
            block = self._blocks.get(key)
            if block is None:
                block = self._blocks[key] = _Block()
            block.take(members)

    def joined(self) -> list[JsonObject]:
        """The blocks, in the order in which they began."""
        return [block.joined() for block in self._blocks.values()]

    def _key_of(self, members: dict[str, JsonValue]) -> object:
        if _INDEX not in members or not members[_INDEX].HasField("number_value"):
            return object()
        index = members[_INDEX].number_value
        if _TYPE not in members and index in self._latest:
            return self._latest[index]
        key = (index, members[_TYPE].string_value if _TYPE in members else "")
        self._latest[index] = key
        return key


class _Block:
    """The pieces of one block, by member: texts to join, or one value."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, list[str] | JsonValue] = {}

    def take(self, members: dict[str, JsonValue]) -> None:
        for key, value in members.items():
            known = self._members.get(key)
            if not value.HasField("string_value"):
                # OpenRouter tells `"signature": null` until there is one, and may do so again behind it.
                if known is None or not value.HasField("null_value"):
                    self._members[key] = _copied(value)
            elif isinstance(known, list) and key != _TYPE:
                known.append(value.string_value)
            else:
                self._members[key] = [value.string_value]

    def joined(self) -> JsonObject:
        block = JsonObject()
        for key, value in self._members.items():
            if isinstance(value, list):
                block.fields.add(key=key).value.string_value = "".join(value)
            else:
                block.fields.add(key=key, value=value)
        return block


class Calls:
    """Tool calls. Fragments of one index are one call."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    def take(self, fragments: Iterable[ToolCallDelta]) -> None:
        """Add fragments of calls."""
        for fragment in fragments:
            call = self._calls.get(fragment.index)
            if call is None:
                call = self._calls[fragment.index] = _Call()
            call.take(fragment)

    def joined(self) -> list[ToolCall]:
        """The calls by index, the last of them perhaps not whole."""
        return [call.joined() for _, call in sorted(self._calls.items())]


class _Call:
    """The fragments of one call."""

    __slots__ = ("_arguments", "_head", "_input")

    def __init__(self) -> None:
        self._head = ToolCall()
        self._arguments: list[str] = []
        self._input: list[str] = []

    def take(self, fragment: ToolCallDelta) -> None:
        head = self._head
        # What is told anew, and empty, does not take the place of what was told before.
        if fragment.id:
            head.id = fragment.id
        if fragment.type:
            head.type = fragment.type
        if fragment.HasField("extra_content"):
            head.extra_content.CopyFrom(fragment.extra_content)
        if fragment.HasField("function"):
            head.function.SetInParent()
            if fragment.function.name:
                head.function.name = fragment.function.name
            self._arguments.append(fragment.function.arguments)
        if fragment.HasField("custom"):
            head.custom.SetInParent()
            if fragment.custom.name:
                head.custom.name = fragment.custom.name
            self._input.append(fragment.custom.input)

    def joined(self) -> ToolCall:
        call = ToolCall()
        call.CopyFrom(self._head)
        if call.HasField("function"):
            call.function.arguments = "".join(self._arguments)
        if call.HasField("custom"):
            call.custom.input = "".join(self._input)
        return call


def _copied(value: JsonValue) -> JsonValue:
    copied = JsonValue()
    copied.CopyFrom(value)
    return copied
