"""What the tests of the Anthropic adapter have in common: short ways in, and answers as events."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.catalogue import Capabilities
from service.errors import RequestError
from service.providers.anthropic.request import encode_request
from service.providers.anthropic.response import translate_message
from service.providers.anthropic.stream import StreamTranslator
from service.providers.omissions import Omissions
from service.providers.provider import Identity, ProviderCall
from service.providers.sse import SseDecoder, SseEvent
from tests.support.json_form import json_of, to_proto
from tests.wire.anthropic_json import Json, collected

IDENTITY = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
HELLO: list[Json] = [{"role": "user", "content": "Hello"}]
ASKED: list[Json] = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
"""What `HELLO` is for the provider."""
BUDGET = Capabilities(reasoning="budget", max_output_tokens=64_000)
ADAPTIVE = Capabilities(reasoning="adaptive", max_output_tokens=64_000)
NO_SCHEMA = Capabilities(structured_output=False)


def call_of(body: Json, capabilities: Capabilities | None = None, *, drop: bool = False) -> ProviderCall:
    """A call to the model `claude` of the provider `acme`."""
    request = to_proto({"messages": HELLO, **body})
    omissions = Omissions("acme", may_drop=drop)
    return ProviderCall(request, "claude", IDENTITY, capabilities or Capabilities(), omissions)


def sent(body: Json, capabilities: Capabilities | None = None, *, stream: bool = False) -> Json:
    """The body that the provider is sent for a request over REST."""
    encoded = encode_request(call_of(body, capabilities), stream)
    assert encoded.path == "/v1/messages"
    assert not encoded.headers
    value: Json = json.loads(encoded.body)
    return value


def sent_further(body: Json, capabilities: Capabilities | None = None) -> Json:
    """As `sent`, without what every request has."""
    value = sent(body, capabilities)
    assert value.pop("model") == "claude"
    if value["messages"] == ASKED:
        del value["messages"]
    if value["max_tokens"] == 4096:
        del value["max_tokens"]
    return value


def refused(body: Json, capabilities: Capabilities | None = None) -> RequestError:
    """The error that a request is refused with."""
    try:
        encode_request(call_of(body, capabilities), False)  # noqa: FBT003 - as ChatApi has it
    except RequestError as error:
        return error
    raise AssertionError("the request is not refused")


def without(body: Json, capabilities: Capabilities | None = None) -> tuple[list[str], Json]:
    """Which parameters are left out of a request that allows it, and what is sent further."""
    call = call_of(body, capabilities, drop=True)
    value: Json = json.loads(encode_request(call, False).body)  # noqa: FBT003 - as ChatApi has it
    return call.omissions.dropped, {
        name: item for name, item in value.items() if name not in {"model", "max_tokens", "messages"}
    }


def answer_of(content: list[Json], stop_reason: str | None = "end_turn", **fields: Any) -> Json:
    """A whole answer of the provider."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-up",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2},
        **fields,
    }


def translated(answer: Json, call: ProviderCall | None = None) -> Json:
    """The completion that REST callers are shown."""
    return json_of(translate_message("acme", json.dumps(answer).encode(), call or call_of({})))


def choice(answer: Json, call: ProviderCall | None = None) -> Json:
    """The only choice of a translated answer."""
    (only,) = translated(answer, call)["choices"]
    assert isinstance(only, dict)
    return only


def message(content: list[Json], call: ProviderCall | None = None) -> Json:
    """The message that the blocks become."""
    value: Json = choice(answer_of(content), call)["message"]
    return value


def sse(events: Iterable[Json]) -> bytes:
    """The bytes of a stream, as the provider writes them."""
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (str(item["type"]).encode(), json.dumps(item).encode()) for item in events
    )


def chunks_of(events: Iterable[Json], call: ProviderCall | None = None) -> list[Json]:
    """The chunks that REST callers are shown of a stream."""
    return chunks_of_bytes([sse(events)], call)


def chunks_of_bytes(pieces: Iterable[bytes], call: ProviderCall | None = None) -> list[Json]:
    """As `chunks_of`, of bytes that arrive in pieces."""
    translator, decoder = StreamTranslator("acme", call or call_of({})), SseDecoder()
    chunks: list[ChatCompletionChunk] = []
    for piece in pieces:
        for event in decoder.feed(piece):
            if event.data and not translator.is_over:
                chunks += translator.translate(event)
    return [json_of(chunk) for chunk in chunks + translator.finish()]


def event_of(item: Json) -> SseEvent:
    return SseEvent(item["type"], json.dumps(item).encode())


def deltas_of(events: Iterable[Json], call: ProviderCall | None = None) -> list[Json]:
    """What the chunks add, from after the first one to before the last with a choice."""
    chunks = [chunk for chunk in chunks_of(events, call) if chunk["choices"]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    return [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]]


def merged(chunks: list[Json]) -> Json:
    """The completion that a client joins of chunks, as the unary answer would show it."""
    last = chunks[-1]
    completion: Json = {
        name: last[name] for name in ("id", "created", "model", "usage", "service_tier") if name in last
    }
    joined = collected(chunks)
    content = joined["message"]
    if "reasoning_details" in content:
        content["reasoning_details"] = joined_details(content["reasoning_details"])
    return {**completion, "object": "chat.completion", "choices": [joined]}


def joined_details(pieces: list[Json]) -> list[Json]:
    """Reasoning blocks whose pieces are joined: those of one index."""
    blocks: dict[int, Json] = {}
    for piece in pieces:
        block = blocks.setdefault(piece["index"], {})
        text = block.get("text", "") + piece.get("text", "")
        block |= piece
        if piece["type"] == "reasoning.text":
            block["text"] = text
    return list(blocks.values())


def started(usage: Json | None = None, **fields: Any) -> Json:
    """The first event of a stream."""
    usage = {"input_tokens": 9, "output_tokens": 1} if usage is None else usage
    return {
        "type": "message_start",
        "message": {"id": "msg_1", "type": "message", "content": [], "usage": usage, **fields},
    }


def block_events(index: int, block: Json, *deltas: Json) -> list[Json]:
    """A block that begins as `block` and goes on with `deltas`."""
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text_events(index: int, *texts: str) -> list[Json]:
    """A block of text."""
    return block_events(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))


def ended(stop_reason: str | None = "end_turn", usage: Json | None = None, **fields: Any) -> list[Json]:
    """The last two events of a stream."""
    usage = {"output_tokens": 2} if usage is None else usage
    delta = {"stop_reason": stop_reason, "stop_sequence": None, **fields}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def events_of_answer(answer: Json) -> list[Json]:
    """A stream that says the same as a whole answer."""
    events = [started(answer["usage"], id=answer["id"])]
    for index, block in enumerate(answer["content"]):
        events += _streamed(index, block)
    end = {name: answer[name] for name in ("stop_sequence", "stop_details", "container") if name in answer}
    return events + ended(answer["stop_reason"], answer["usage"], **end)


def _streamed(index: int, block: Json) -> list[Json]:
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": text} for text in halves(block["text"])]
            deltas += [{"type": "citations_delta", "citation": item} for item in block.get("citations") or []]
            return block_events(index, {"type": "text", "text": ""}, *deltas)
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": text} for text in halves(block["thinking"])]
            deltas += [{"type": "signature_delta", "signature": block["signature"]}] if block["signature"] else []
            return block_events(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            pieces = halves(json.dumps(block["input"])) if block["input"] else [""]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            return block_events(index, {**block, "input": {}}, *deltas)
        case _:  # whole at its start
            return block_events(index, block)


def halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [part for part in (text[:middle], text[middle:]) if part]
