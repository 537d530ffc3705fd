"""Which call a fragment of a stream belongs to, whatever its provider makes of indices and ids. Pure.

Fragments of one call have one index, and the first has the id. But: some providers give parallel calls one
index and different ids (https://github.com/ollama/ollama/issues/15457, https://github.com/vercel/ai/issues/14277),
some leave the index out (Google's compatible endpoint), some repeat id and name in each fragment.

An id that comes only after a call's first fragment is not told: the call has been given another by then,
and has to keep it.
"""

from __future__ import annotations

from typing import Any

from service.errors import Malformed
from service.json_values import json_object
from service.providers.openai import wire
from service.providers.openai.response import arguments_of, is_custom

_MOST_CALLS = 4_096


class _Call:
    """What has been told of one call."""

    __slots__ = ("id", "index", "is_named")

    def __init__(self, index: int, id_: str) -> None:
        self.index = index
        """Its place among the calls, as it is told."""
        self.id = id_
        """The provider's; empty until it has told one."""
        self.is_named = False


class StreamToolCalls:
    """The tool calls of one choice.

    Args:
        provider: Its name in the configuration.
        id_stem: What ids begin with that have to be made.
    """

    __slots__ = ("_by_id", "_id_stem", "_indices", "_last", "_latest", "_provider")

    def __init__(self, provider: str, id_stem: str) -> None:
        self._provider = provider
        self._id_stem = id_stem
        self._indices: set[int] = set()
        """Places that are taken."""
        self._last: _Call | None = None
        """To which fragments without an index belong."""
        self._latest: dict[int, _Call] = {}
        """By the provider's index, the call that begun last there."""
        self._by_id: dict[tuple[int | None, str], _Call] = {}

    def translate(self, fragment: wire.ToolCall) -> dict[str, Any]:
        """The fields of a `ToolCallDelta`, with the call's place; id, type and name are told once.

        Raises:
            Malformed: There are too many calls.
        """
        call = self._call_of(fragment)
        is_first = call is None
        if call is None:
            call = self._begin(fragment)
        self._last = call
        translated: dict[str, Any] = {"index": call.index}
        if is_first:
            translated["id"] = call.id or f"{self._id_stem}_{call.index}"
            translated["type"] = "custom" if is_custom(fragment) else "function"
        _put_content(translated, fragment, call)
        if fragment.extra_content is not None:
            translated["extra_content"] = json_object(fragment.extra_content)
        return translated

    def _call_of(self, fragment: wire.ToolCall) -> _Call | None:
        """The call that the fragment goes on with; None where it begins one."""
        index, id_ = fragment.index, fragment.id or ""
        if id_ and (known := self._by_id.get((index, id_))):
            if index is not None:
                self._latest[index] = known
            return known
        call = self._last if index is None else self._latest.get(index)
        if call is None or (id_ and id_ == call.id):
            return call
        if index is None and (id_ or (fragment.function and fragment.function.name)):
            return None
        if id_ and call.id:
            return None
        if id_:
            self._note_id(call, index, id_)
        return call

    def _begin(self, fragment: wire.ToolCall) -> _Call:
        if len(self._indices) >= _MOST_CALLS:
            raise Malformed("The provider's stream has too many tool calls.", metadata={"provider": self._provider})
        index = fragment.index
        place = index if index is not None and index not in self._indices else max(self._indices, default=-1) + 1
        self._indices.add(place)
        call = _Call(place, "")
        if index is not None:
            self._latest[index] = call
        if fragment.id:
            self._note_id(call, index, fragment.id)
        return call

    def _note_id(self, call: _Call, index: int | None, id_: str) -> None:
        call.id = id_
        self._by_id[index, id_] = call


def _put_content(translated: dict[str, Any], fragment: wire.ToolCall, call: _Call) -> None:
    function, custom = fragment.function, fragment.custom
    if custom is not None and is_custom(fragment):
        name = None if call.is_named else custom.name or None
        translated["custom"] = {"name": name, "input": custom.input}
    elif function is not None:
        name = None if call.is_named else function.name or None
        translated["function"] = {"name": name, "arguments": arguments_of(function)}
    else:
        return
    call.is_named = call.is_named or bool(name)
