"""Names of members: of Google's two spellings the one that is sent. Pure."""

from __future__ import annotations

from typing import Final

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.json_pb2 import JsonObject

_MESSAGES: Final = frozenset({"generationConfig", "thinkingConfig", "toolConfig", "functionCallingConfig"})
"""Members that the adapter builds and whose own members are Google's, and no keys of somebody's."""


def camel_case(name: str) -> str:
    """The name as Google's JSON has it, such as "topP" for "top_p"."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def with_camel_case(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """A request with the `extra_body` alone, its members in the spelling of the body that it is merged with.

    The API reads both. Source: https://protobuf.dev/programming-guides/json/ (2026-11-22).
    """
    told = ChatCompletionRequest()
    if request.HasField("extra_body"):
        told.extra_body.CopyFrom(request.extra_body)
        _rename(told.extra_body)
    return told


def _rename(members: JsonObject) -> None:
    for entry in members.fields:
        entry.key = camel_case(entry.key)
        if entry.key in _MESSAGES and entry.value.HasField("struct_value"):
            _rename(entry.value.struct_value)
