"""Makes few chunks of many, for a reader that is slower than the provider. Pure.

Whoever joins the pieces as OpenAI's SDKs do gets the same message from the merged chunks as from the single
ones. A merged chunk is one that a provider could have sent: it has pieces of one choice, and what opens a
choice, what ends it, and the usage stay chunks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from google.protobuf.message import Message

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk, ChunkChoice, Delta
from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.tool_pb2 import ToolCallDelta

_APART: Final = ("usage", "error", "keepalive", "empty_choices", "moderation", "session_id")
_APART_IN_CHOICE: Final = ("completion_id", "model", "native_finish_reason", "stop_sequence")
_TEXTS: Final = ("content", "refusal", "reasoning_content")

_Marks = dict[tuple[object, ...], str | None]
"""What a piece has that two pieces of one chunk may not both have; unless it is the same word."""


def merged(chunks: Iterable[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    """The same answer in as few chunks as can be.

    Pieces of different choices may change places; those of one never do.
    """
    runs: list[_Run] = []
    growing: dict[int, _Run] = {}
    for chunk in chunks:
        if len(chunk.choices) == 1:
            run = growing.get(chunk.choices[0].index)
            if run is not None and run.takes_alike(chunk):
                continue
        marks = _marks_of(chunk)
        if marks is None:
            runs.append(_Run(chunk, {}))
            growing.clear()  # what follows stays behind it
            continue
        index = chunk.choices[0].index
        run = growing.get(index)
        if run is None or not run.takes(chunk, marks):
            growing[index] = run = _Run(chunk, marks)
            runs.append(run)
    return [run.joined() for run in runs]


class _Run:
    """Chunks that become one."""

    def __init__(self, chunk: ChatCompletionChunk, marks: _Marks) -> None:
        self._chunks = [chunk]
        self._marks = marks
        self._like_first = ChatCompletionChunk()
        """A copy of the first chunk, but for its text."""
        self._text: str | None = None
        """The field which that text is in; empty where there is more than a text. None until it is looked at."""
        self._texts: list[str] = []
        """Of the chunks, as long as they are alike."""

    def takes_alike(self, chunk: ChatCompletionChunk) -> bool:
        """Whether `chunk` is the first one with another text, and so becomes part of it.

        Most are; to look at each field of each takes seven times as long.
        """
        if self._text is None:
            self._text = self._look_at_first()
        if not self._text:
            return False
        text = getattr(chunk.choices[0].delta, self._text)
        setattr(self._like_first.choices[0].delta, self._text, text)
        if self._like_first != chunk:
            return False
        self._chunks.append(chunk)
        self._texts.append(text)
        return True

    def takes(self, chunk: ChatCompletionChunk, marks: _Marks) -> bool:
        """Whether `chunk` becomes part of it."""
        if _head(chunk) != _head(self._chunks[0]):
            return False
        if any(key in self._marks and (word is None or self._marks[key] != word) for key, word in marks.items()):
            return False
        self._marks.update(marks)
        self._chunks.append(chunk)
        return True

    def joined(self) -> ChatCompletionChunk:
        """One chunk of all."""
        if len(self._chunks) == 1:
            return self._chunks[0]
        chunk = ChatCompletionChunk()
        chunk.CopyFrom(self._chunks[0])
        if self._text and len(self._texts) == len(self._chunks):
            setattr(chunk.choices[0].delta, self._text, "".join(self._texts))
        else:
            _join_choices(chunk.choices[0], [chunk.choices[0] for chunk in self._chunks])
        return chunk

    def _look_at_first(self) -> str:
        first = self._chunks[0]
        fields = first.choices[0].delta.ListFields()
        if len(fields) != 1 or fields[0][0].name not in _TEXTS or first.choices[0].HasField("logprobs"):
            return ""
        self._like_first.CopyFrom(first)
        self._texts.append(fields[0][1])
        return fields[0][0].name


def _head(chunk: ChatCompletionChunk) -> tuple[object, ...]:
    """What is said of every piece anew, and has to be the same."""
    filtered = chunk.choices[0].content_filter_results.SerializeToString()
    return (chunk.id, chunk.created, chunk.model, chunk.service_tier, chunk.system_fingerprint, filtered)


def _marks_of(chunk: ChatCompletionChunk) -> _Marks | None:
    """The marks of a piece; None where it can't be joined to others."""
    if len(chunk.choices) != 1 or _has_any(chunk, _APART):
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    if choice.finish_reason.string_value or delta.HasField("role") or delta.HasField("id"):
        return None
    if _has_any(choice, _APART_IN_CHOICE):
        return None
    marks: _Marks = {}
    for key, word in _marks_in(delta):
        if key is None or (key in marks and (word is None or marks[key] != word)):
            return None
        marks[key] = word
    return marks


def _has_any(message: Message, names: Iterable[str]) -> bool:
    return any(map(message.HasField, names))


def _marks_in(delta: Delta) -> Iterator[tuple[tuple[object, ...] | None, str | None]]:
    for call in delta.tool_calls:
        # An empty one as well: it would take the place of the name that was told before.
        is_named = call.function.HasField("name") or call.custom.HasField("name")
        if is_named or _has_any(call, ("id", "type", "extra_content")):
            yield ("tool_calls", call.index), None
    if delta.function_call.HasField("name"):
        yield ("function_call",), None
    if delta.HasField("audio"):
        yield from ((("audio", name), None) for name in ("id", "expires_at") if delta.audio.HasField(name))
    for entry in delta.annotations:
        yield _numbered("annotations", entry), None
    for entry in delta.provider_content:
        yield _numbered("provider_content", entry), None
    for block in delta.reasoning_details:
        yield from _marks_in_block(block)


def _marks_in_block(block: JsonObject) -> Iterator[tuple[tuple[object, ...] | None, str | None]]:
    """Pieces of a block of reasoning are of one type; their texts are joined, all else is said once."""
    key = _numbered("reasoning_details", block)
    members = {entry.key: entry.value for entry in block.fields}
    yield key, members["type"].string_value if "type" in members else ""
    if key is not None:
        for name, value in members.items():
            if name != "index" and value.WhichOneof("kind") != "string_value":
                yield (*key, name), None


def _numbered(name: str, entry: JsonObject) -> tuple[object, ...] | None:
    for member in entry.fields:
        if member.key == "index" and member.value.HasField("number_value"):
            return name, member.value.number_value
    return None


def _join_choices(into: ChunkChoice, pieces: Sequence[ChunkChoice]) -> None:
    """Make `into`, a copy of the first of `pieces`, all of them."""
    deltas = [piece.delta for piece in pieces]
    joined = Delta()
    for delta in deltas:
        joined.MergeFrom(delta)
    _join_texts(joined, deltas, _TEXTS)
    if joined.HasField("function_call"):
        _join_texts(joined.function_call, [delta.function_call for delta in deltas], ("arguments",))
    if joined.HasField("audio"):
        _join_texts(joined.audio, [delta.audio for delta in deltas], ("data", "transcript"))
    if joined.tool_calls:
        calls = _joined_calls(joined.tool_calls)
        del joined.tool_calls[:]
        joined.tool_calls.extend(calls)
    if joined.reasoning_details:
        blocks = _joined_blocks(joined.reasoning_details)
        del joined.reasoning_details[:]
        joined.reasoning_details.extend(blocks)
    for piece in pieces[1:]:
        if piece.HasField("logprobs"):
            into.logprobs.MergeFrom(piece.logprobs)
    into.delta.CopyFrom(joined)


def _join_texts(into: Message, pieces: Sequence[Message], names: Sequence[str]) -> None:
    # All at once: strings that grow piece by piece would cost memory with the square of their length.
    for name in names:
        texts = [getattr(piece, name) for piece in pieces if piece.HasField(name)]
        if texts:
            setattr(into, name, "".join(texts))


def _joined_calls(fragments: Iterable[ToolCallDelta]) -> list[ToolCallDelta]:
    by_index: dict[int, list[ToolCallDelta]] = {}
    for fragment in fragments:
        by_index.setdefault(fragment.index, []).append(fragment)
    calls = []
    for same in by_index.values():
        call = ToolCallDelta()
        for fragment in same:
            call.MergeFrom(fragment)
        if call.HasField("function"):
            _join_texts(call.function, [fragment.function for fragment in same], ("arguments",))
        if call.HasField("custom"):
            _join_texts(call.custom, [fragment.custom for fragment in same], ("input",))
        calls.append(call)
    return calls


def _joined_blocks(pieces: Iterable[JsonObject]) -> list[JsonObject]:
    by_index: dict[object, list[JsonObject]] = {}
    for piece in pieces:
        by_index.setdefault(_numbered("", piece), []).append(piece)
    return [_joined_block(same) for same in by_index.values()]


def _joined_block(pieces: Sequence[JsonObject]) -> JsonObject:
    texts: dict[str, list[str]] = {}
    block = JsonObject()
    for piece in pieces:
        for member in piece.fields:
            if member.key not in texts:
                texts[member.key] = []
                block.fields.add().CopyFrom(member)
            if member.value.HasField("string_value"):
                texts[member.key].append(member.value.string_value)
    for member in block.fields:
        if texts[member.key] and member.key != "type":
            member.value.string_value = "".join(texts[member.key])
    return block
