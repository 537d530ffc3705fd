"""What is asked: the same questions for every gateway, as its face takes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Final

from google.protobuf.json_format import ParseDict

from bench.compare.gateways.gateway import Face
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest

Messages = Sequence[dict[str, str]]
_PROSE: Final = (
    "Rivers that rise in the same hills may end in different seas. What a map shows as one line is, to those who live "
    'beside it, a ford, a mill, a "border" and a name that changes twice; tell which of these matters most, and why. '
)
"""With quotation marks, as texts have them: they are escaped in JSON."""
_TURN_BYTES: Final = 200
"""Of a message in a conversation."""


def question(text_bytes: int) -> Messages:
    """One message of that length."""
    return [{"role": "user", "content": _prose(text_bytes)}]


def conversation(messages: int) -> Messages:
    """Of that many messages; the last one is the user's."""
    roles = ("user", "assistant")
    return [{"role": roles[(messages - 1 - at) % 2], "content": _prose(_TURN_BYTES)} for at in range(messages)]


def order(events: int, gap_ms: int) -> Messages:
    """What has the provider stream that many events."""
    return [{"role": "user", "content": f"stream:{events}:{gap_ms}"}]


def body(face: Face, messages: Messages, *, is_stream: bool = False) -> bytes:
    """The request's body; of gRPC with the five bytes before a message."""
    request: dict[str, object] = {"model": face.model, "messages": list(messages)}
    if face.protocol == "rest":
        return json.dumps(request | {"stream": True} if is_stream else request).encode()
    # Which of the two RPCs it is says that it is a stream.
    encoded = ParseDict(request, ChatCompletionRequest()).SerializeToString()
    return struct.pack(">BI", 0, len(encoded)) + encoded


def path(face: Face, *, is_stream: bool = False) -> str:
    """Where it is sent."""
    if face.protocol == "rest":
        return face.path
    return f"{face.path}/{'StreamChatCompletion' if is_stream else 'CreateChatCompletion'}"


def _prose(text_bytes: int) -> str:
    return (_PROSE * (text_bytes // len(_PROSE) + 1))[:text_bytes]
