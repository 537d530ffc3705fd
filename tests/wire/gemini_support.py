"""Asks the Gemini adapter, and tells what it says as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.catalogue import Capabilities
from service.providers.gemini import GEMINI
from service.providers.omissions import Omissions
from service.providers.provider import Identity, ProviderCall
from service.providers.sse import SseDecoder
from tests.support.json_form import json_of, to_proto

Json = dict[str, Any]

OLD, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
IDENTITY = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
USER: Json = {"role": "user", "content": "Hi"}
HI: Json = {"role": "user", "parts": [{"text": "Hi"}]}
FIRST: Json = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def call_of(
    body: Json | None = None, model: str = OLD, known: Capabilities | None = None, *, may_drop: bool = False
) -> ProviderCall:
    request = to_proto({"model": "public", "messages": [USER]} | (body or {}))
    return ProviderCall(request, model, IDENTITY, known or Capabilities(), Omissions("acme", may_drop=may_drop))


def sent(body: Json, model: str = OLD, known: Capabilities | None = None) -> Json:
    """The body that the provider is sent."""
    return sent_by(call_of(body, model, known))


def sent_by(call: ProviderCall) -> Json:
    value: Json = json.loads(GEMINI.encode(call, False).body)  # noqa: FBT003 - ChatApi's form
    return value


def contents(messages: list[Json], model: str = OLD) -> list[Json]:
    """What the messages become."""
    value: list[Json] = sent({"messages": messages}, model)["contents"]
    return value


def whole(answer: Any) -> Json:
    """What a whole answer becomes."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return json_of(GEMINI.translate("acme", data, call_of()))


def candidate(*parts: Json, reason: str | None = "STOP", **fields: Any) -> Json:
    """A candidate, or a piece of one."""
    content: Json = {"content": {"parts": list(parts), "role": "model"}} if parts else {}
    return content | ({"finishReason": reason} if reason else {}) | fields


def answer_of(*candidates: Json, **fields: Any) -> Json:
    return {"candidates": list(candidates), "responseId": "r1", "modelVersion": "m", **fields}


def choice_of(*parts: Json, reason: str = "STOP", **fields: Any) -> Json:
    """The choice that a whole answer of one candidate becomes."""
    (choice,) = whole(answer_of(candidate(*parts, reason=reason, **fields)))["choices"]
    assert isinstance(choice, dict)
    return choice


def message_of(*parts: Json, **fields: Any) -> Json:
    message = choice_of(*parts, **fields)["message"]
    assert isinstance(message, dict)
    return message


def sse(*events: Any) -> bytes:
    """A stream's body, with the line ends that Google sends."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)


def chunks_of(pieces: Iterable[bytes]) -> list[ChatCompletionChunk]:
    """The chunks of a stream whose body comes in these pieces."""
    decoder, translator = SseDecoder(), GEMINI.stream("acme", call_of())
    chunks = []
    for piece in pieces:
        for event in decoder.feed(piece):
            chunks += translator.translate(event)
            assert not translator.is_over
    return chunks + translator.finish()


def steps_of(*events: Any) -> list[Json]:
    """The chunks of a stream; of those with one choice, the choice alone."""
    chunks = [json_of(chunk) for chunk in chunks_of([sse(*events)])]
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        ("r1", "chat.completion.chunk", "public")
    }
    return [_only(chunk) for chunk in chunks]


def _only(chunk: Json) -> Json:
    if not chunk["choices"]:
        return {"usage": chunk["usage"]}
    (choice,) = chunk["choices"]
    assert isinstance(choice, dict)
    return {name: value for name, value in choice.items() if name != "index" or value}


def merged(chunks: list[ChatCompletionChunk]) -> list[Json]:
    """The choices of a stream in the form of a whole answer's, by index; lists are joined as they came."""
    choices: dict[int, Json] = {}
    for chunk in chunks:
        for piece in json_of(chunk)["choices"]:
            choice = choices.setdefault(piece["index"], {"index": piece["index"], "message": {}})
            _add(choice["message"], piece.pop("delta"))
            logprobs = piece.pop("logprobs", None)
            if logprobs:
                choice.setdefault("logprobs", {"content": []})["content"] += logprobs["content"]
            choice |= {name: value for name, value in piece.items() if value is not None}
    return [choices[index] for index in sorted(choices)]


def _add(message: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name in {"content", "reasoning_content"}:
            message[name] = message.get(name, "") + value
        elif name == "tool_calls":
            calls = [{key: item for key, item in call.items() if key != "index"} for call in value]
            message[name] = message.get(name, []) + calls
        elif isinstance(value, list):
            message[name] = message.get(name, []) + value
        else:
            message[name] = value


def with_whole_details(choice: Json) -> Json:
    """The choice with the pieces of each reasoning block joined, and without an empty content."""
    message: Json = dict(choice["message"])
    blocks: dict[int, Json] = {}
    for detail in message.get("reasoning_details", []):
        block = blocks.setdefault(detail["index"], {})
        text = block.get("text", "") + detail.get("text", "")
        block |= detail | ({"text": text} if text else {})
    if blocks:
        message["reasoning_details"] = list(blocks.values())
    if not message.get("content"):
        message.pop("content", None)
    return {**choice, "message": message}
