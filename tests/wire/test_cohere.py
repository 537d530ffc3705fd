"""Cohere's chat API: what it is sent, and what its answers become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.catalogue import Capabilities
from service.errors import Interrupted, Malformed, Reason, RequestError
from service.providers.cohere import COHERE
from service.providers.omissions import Omissions
from service.providers.provider import Identity, ProviderCall
from service.providers.sse import SseDecoder
from tests.support.dropped import unplaced
from tests.support.json_form import json_of, to_proto

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"z": {}}}}}
OTHER_TOOL = {"type": "function", "function": {"name": "g", "description": "G", "strict": True}}
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"z":1}'}}


def call_of(body: dict[str, Any], *, may_drop: bool = False) -> ProviderCall:
    request = to_proto({"model": "public", "messages": [USER]} | body)
    identity = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
    return ProviderCall(request, "command-a", identity, Capabilities(), Omissions("acme", may_drop=may_drop))


def sent(body: dict[str, Any]) -> dict[str, Any]:
    encoded = COHERE.encode(call_of(body), False)  # noqa: FBT003 - ChatApi's form
    assert encoded.path == "/v2/chat"
    value: dict[str, Any] = json.loads(encoded.body)
    assert (value.pop("model"), value.pop("stream")) == ("command-a", False)
    return value


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7}, {"temperature": 0.5, "p": 0.9, "k": 5, "seed": 7}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens": 0, "n": 1, "logprobs": False}, {}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"presence_penalty": 0.5, "frequency_penalty": 0}, {"presence_penalty": 0.5}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        ({"thinking_budget": 100}, {"thinking": {"type": "enabled", "token_budget": 100}}),
        ({"thinking_budget": 0}, {"thinking": {"type": "disabled"}}),
        ({"enable_thinking": False}, {"thinking": {"type": "disabled"}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 50}, "reasoning_effort": "low"},
            {"thinking": {"type": "enabled", "token_budget": 50}},
        ),
        ({"parallel_tool_calls": True, "service_tier": "default"}, {}),
        ({"extra_body": {"safety_mode": "STRICT"}}, {"safety_mode": "STRICT"}),
    ],
)
def test_parameters_are_translated(asked: dict[str, Any], told: dict[str, Any]) -> None:
    assert sent(asked) == {"messages": [USER]} | told


def test_tools_and_their_choice_are_translated() -> None:
    f = {"name": "f", "description": "", "parameters": TOOL["function"]["parameters"]}  # type: ignore[index]
    g = {"name": "g", "description": "G", "parameters": {"type": "object", "properties": {}}}
    both = [{"type": "function", "function": f}, {"type": "function", "function": g}]

    told = sent({"tools": [TOOL, OTHER_TOOL], "tool_choice": "required"})
    assert told == {"messages": [USER], "tools": both, "strict_tools": True, "tool_choice": "REQUIRED"}

    named = {"type": "function", "function": {"name": "f"}}
    assert sent({"tools": [TOOL, OTHER_TOOL], "tool_choice": named})["tools"] == both[:1]
    assert "tool_choice" not in sent({"tools": [TOOL], "tool_choice": "auto"})


def test_the_order_of_a_schemas_keys_is_kept() -> None:
    asked = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}

    assert list(sent(asked)["response_format"]["json_schema"]["properties"]) == ["b", "a"]


def test_messages_are_translated() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, image]},
        {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "I will call f."},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": "It is 42.", "reasoning_content": "6 times 7."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "refusal": " Never."},
    ]

    assert sent({"messages": messages})["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "auto"}},
            ],
        },
        {"role": "assistant", "tool_calls": [CALL], "tool_plan": "I will call f."},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "6 times 7."}, {"type": "text", "text": "It is 42."}],
        },
        {"role": "assistant", "content": "No. Never."},
    ]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"thinking": {"type": "disabled"}, "thinking_budget": 500}, "thinking_budget"),
        ({"reasoning_effort": "none", "thinking_budget": 500}, "thinking_budget"),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        COHERE.encode(call_of(asked), False)  # noqa: FBT003

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"n": 2}, "n"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"frequency_penalty": 1.5}, "frequency_penalty"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"messages": [USER | {"name": "Ann"}]}, "messages[0].name"),
        ({"messages": [USER | {"cache_control": {"type": "ephemeral"}}]}, "messages[0].cache_control"),
        ({"tools": [{"type": "provider", "provider": {"type": "x"}}]}, "tools[0].type"),
    ],
)
def test_what_cohere_cannot_follow_is_refused_or_dropped(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        COHERE.encode(call_of(asked), False)  # noqa: FBT003
    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_UNSUPPORTED, param)

    call = call_of(asked, may_drop=True)
    body = json.loads(COHERE.encode(call, False).body)  # noqa: FBT003
    assert call.omissions.dropped == [unplaced(param)]
    assert set(body) == {"model", "stream", "messages"}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
            "messages[0].content[0].type",
        ),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role"),
        ({"role": "user", "parts": [{"type": "document_url", "document_url": "u"}]}, "messages[0].parts[0].type"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages[0].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f"}}]},
            "messages[0].tool_calls[0].custom",
        ),
    ],
)
def test_content_that_cohere_cannot_read_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        COHERE.encode(call_of({"messages": [message]}, may_drop=True), False)  # noqa: FBT003

    assert raised.value.param == param


CITATION = {"start": 0, "end": 2, "text": "It", "sources": [{"type": "tool", "id": "f:0"}]}
ANSWER: dict[str, Any] = {
    "id": "a-1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "tool_plan": "I will call f.",
        "tool_calls": [CALL, {"type": "function", "function": {"name": "g"}}],
        "content": [{"type": "thinking", "thinking": " Hm."}, {"type": "text", "text": "It is."}],
        "citations": [CITATION],
    },
    "usage": {"billed_units": {"input_tokens": 1.0}, "tokens": {"input_tokens": 9.0, "output_tokens": 3.0}}
    | {"cached_tokens": 4.0},
}
MESSAGE = {
    "role": "assistant",
    "content": "It is.",
    "reasoning_content": "I will call f. Hm.",
    "tool_calls": [CALL, {"id": "call_a-1_1", "type": "function", "function": {"name": "g", "arguments": ""}}],
}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def test_an_answer_is_translated() -> None:
    completion = COHERE.translate("acme", json.dumps(ANSWER).encode(), call_of({}))

    told = json_of(completion)
    (choice,) = told.pop("choices")
    assert told.pop("usage") == USAGE
    assert told == {"id": "a-1", "object": "chat.completion", "created": 1_700_000_000, "model": "public"}
    assert len(completion.choices[0].message.annotations) == 1
    choice["message"].pop("annotations")
    assert choice == {
        "index": 0,
        "message": MESSAGE,
        "finish_reason": "tool_calls",
        "native_finish_reason": "TOOL_CALL",
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.UPSTREAM_MALFORMED),
        (b'{"message":{}}', Reason.UPSTREAM_MALFORMED),
        (b'{"finish_reason":"a reason","message":{}}', Reason.UPSTREAM_MALFORMED),
        (b'{"finish_reason":"ERROR","message":{}}', Reason.UPSTREAM_INTERRUPTED),
        (b'{"finish_reason":"TIMEOUT","message":{}}', Reason.UPSTREAM_INTERRUPTED),
    ],
)
def test_an_answer_that_is_none_is_a_failure(body: bytes, reason: Reason) -> None:
    with pytest.raises((Malformed, Interrupted)) as raised:
        COHERE.translate("acme", body, call_of({}))

    assert raised.value.reason is reason
    assert raised.value.metadata == {"provider": "acme"}


OPENING = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
"""As the documentation prints it: https://docs.cohere.com/docs/streaming (2026-11-22)."""
EVENTS: list[dict[str, Any]] = [
    {"type": "message-start", "id": "a-1", "delta": {"message": OPENING}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will "}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "call f."}}},
    {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": CALL | {"function": {"name": "f"}}}}},
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '{"z"'}}}}},
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": ":1}"}}}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "tool-call-start", "index": 1, "delta": {"message": {"tool_calls": {"function": {"name": "g"}}}}},
    {"type": "tool-call-delta", "index": 1, "delta": {"message": {"tool_calls": {"function": {"arguments": ""}}}}},
    {"type": "tool-call-end", "index": 1},
    {"type": "a-new-type", "delta": {"message": {}, "more": [1]}, "more": {}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": " Hm."}}}},
    {"type": "content-end", "index": 0},
    {"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "text", "text": "It"}}}},
    {"type": "content-delta", "index": 1, "delta": {"message": {"content": {"text": " is."}}}},
    {"type": "citation-start", "index": 0, "delta": {"message": {"citations": CITATION}}},
    {"type": "citation-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": ANSWER["usage"]}},
]
STREAM = b"".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in EVENTS
) + b"data: [DONE]\n\n"  # fmt: skip


def chunks_of(stream: bytes, piece_bytes: int) -> list[ChatCompletionChunk]:
    decoder, translator = SseDecoder(), COHERE.stream("acme", call_of({}))
    chunks: list[ChatCompletionChunk] = []
    for place in range(0, len(stream), piece_bytes):
        for event in decoder.feed(stream[place : place + piece_bytes]):
            chunks += translator.translate(event)
    return chunks + translator.finish()


def test_a_stream_says_what_the_whole_answer_says() -> None:
    first, *middle, finish, usage = chunks_of(STREAM, len(STREAM))

    assert json_of(first)["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    ]
    deltas = [chunk.choices[0].delta for chunk in middle]
    assert "".join(delta.content for delta in deltas) == MESSAGE["content"]
    assert "".join(delta.reasoning_content for delta in deltas) == MESSAGE["reasoning_content"]
    fragments = [call for delta in deltas for call in delta.tool_calls]
    for index, call in enumerate(completion_calls()):
        mine = [fragment for fragment in fragments if fragment.index == index]
        assert [fragment.id for fragment in mine if fragment.HasField("id")] == [call["id"]]
        assert "".join(fragment.function.name for fragment in mine) == call["function"]["name"]
        assert "".join(fragment.function.arguments for fragment in mine) == call["function"]["arguments"]
    assert sum(len(delta.annotations) for delta in deltas) == 1
    (end,) = json_of(finish)["choices"]
    assert end == {"index": 0, "delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "TOOL_CALL"}
    assert json_of(usage)["usage"] == USAGE
    assert list(usage.choices) == []


def completion_calls() -> list[dict[str, Any]]:
    calls: Any = MESSAGE["tool_calls"]
    return list(calls)


def test_a_stream_gives_the_same_chunks_however_it_is_cut() -> None:
    expected = chunks_of(STREAM, len(STREAM))

    for piece_bytes in (1, 2, 3, 7, 64):
        assert chunks_of(STREAM, piece_bytes) == expected


def test_a_stream_that_is_cut_at_any_event_never_ends_well() -> None:
    events = STREAM.split(b"\n\n")
    for count in range(len(EVENTS)):
        with pytest.raises(Interrupted):
            chunks_of(b"".join(event + b"\n\n" for event in events[:count]) or b":\n\n", 4096)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Reason.UPSTREAM_REJECTED),
        (401, Reason.UPSTREAM_AUTH_FAILED),
        (402, Reason.UPSTREAM_QUOTA_EXHAUSTED),
        (404, Reason.UPSTREAM_MODEL_NOT_FOUND),
        (422, Reason.UPSTREAM_REJECTED),
        (429, Reason.UPSTREAM_RATE_LIMITED),
        (498, Reason.UPSTREAM_AUTH_FAILED),
        (499, Reason.UPSTREAM_TIMEOUT),
        (500, Reason.UPSTREAM_UNAVAILABLE),
        (503, Reason.UPSTREAM_UNAVAILABLE),
        (504, Reason.UPSTREAM_TIMEOUT),
        (302, Reason.UPSTREAM_MALFORMED),
    ],
)
def test_a_failure_is_told_by_its_status_without_coheres_words(status: int, reason: Reason) -> None:
    headers = {"x-debug-trace-id": "trace-1", "retry-after": "3"}

    error = COHERE.error("acme", status, b'{"message":"CANARY"}', headers.get)

    assert error.reason is reason
    assert error.metadata == {"provider": "acme", "upstream_status": str(status), "upstream_request_id": "trace-1"}
    assert error.retry_after_s == (3.0 if status in {429, 500, 503} else None)
    assert "CANARY" not in repr(error)


def test_a_stream_without_a_beginning_is_malformed_and_what_follows_its_end_is_nothing() -> None:
    with pytest.raises(Malformed):
        chunks_of(STREAM[STREAM.index(b"event: tool-plan-delta") :], 4096)
    late = STREAM + STREAM[STREAM.index(b"event: content-delta") :]
    assert chunks_of(late, 4096) == chunks_of(STREAM, 4096)


def test_a_finish_reason_that_is_not_known_is_passed_on() -> None:
    completion = COHERE.translate("acme", b'{"finish_reason":"NEW_ONE","message":{}}', call_of({}))

    assert completion.choices[0].finish_reason == "NEW_ONE"


def test_tools_that_are_dropped_take_their_choice_along() -> None:
    custom = {"type": "custom", "custom": {"name": "c"}}
    call = call_of({"tools": [custom], "tool_choice": "required"}, may_drop=True)

    assert "tool_choice" not in json.loads(COHERE.encode(call, False).body)  # noqa: FBT003
    assert call.omissions.dropped == ["tools[].type", "tool_choice"]
