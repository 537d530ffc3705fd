"""Real answers of OpenAI-compatible providers, all of them, as they were recorded.

What they should become is worked out here from the raw bytes, without the adapter.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.errors import Reason, UpstreamError
from service.json_values import object_to_json
from service.providers.openai.dialects import DIALECTS, GENERIC
from service.providers.openai.errors import error_of_answer
from service.providers.openai.origin import Origin
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.provider import Identity
from service.providers.sse import SseDecoder
from tests.support.recordings import INTERACTIONS, require_recordings

IDENTITY = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")

require_recordings()

FAILING = {
    ("demo-endpoints/test_text_response", 0): Reason.UPSTREAM_MALFORMED,  # an echo server, no model
    ("groq/test_tool_use_failed_error_streaming_with_text", 0): Reason.UPSTREAM_REJECTED,  # midway, after text
    ("snowflake/test_snowflake_thinking_streaming", 0): Reason.UPSTREAM_INTERRUPTED,  # no finish reason
}
"""Answers of status 200 that are failures; every other one is translated."""

ERRORS = {
    ("groq/test_model_name_suggestions-test_model_name_suggestion-groq", 0): (
        Reason.UPSTREAM_MODEL_NOT_FOUND,
        "model",
    ),
    ("groq/test_tool_use_failed_error_with_text", 0): (Reason.UPSTREAM_REJECTED, None),
    ("openai/test_model_name_suggestions-test_model_name_suggestion-openai-chat", 0): (
        Reason.UPSTREAM_MODEL_NOT_FOUND,
        "model",
    ),
    ("openai/test_multimodal_tool_return_matrix-tool_return_content-binary-audio-openai_chat", 1): (
        Reason.UPSTREAM_REJECTED,
        "messages[3]",
    ),
    ("openai/test_openai_web_search_tool_model_not_supported", 0): (Reason.UPSTREAM_REJECTED, "web_search_options"),
    ("openrouter/test_openrouter_errors_raised", 0): (Reason.UPSTREAM_RATE_LIMITED, None),
    ("openrouter/test_openrouter_errors_raised", 1): (Reason.UPSTREAM_RATE_LIMITED, None),
    ("openrouter/test_openrouter_errors_raised", 2): (Reason.UPSTREAM_RATE_LIMITED, None),
}


@dataclass(frozen=True)
class Exchange:
    """One recorded answer."""

    name: str
    number: int
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


EXCHANGES = {
    item.key: Exchange(item.recording, item.number, item.status, item.headers, item.answer.encode())
    for item in INTERACTIONS.values()
    if item.protocol == "openai"
}
ANSWERS = [exchange for key, exchange in EXCHANGES.items() if exchange.status == 200 and key not in FAILING]
WHOLE = [
    pytest.param(exchange, id=f"{exchange.name}:{exchange.number}") for exchange in ANSWERS if not exchange.is_stream
]
STREAMS = [
    pytest.param(exchange, id=f"{exchange.name}:{exchange.number}") for exchange in ANSWERS if exchange.is_stream
]


def origin_of(name: str) -> Origin:
    """As the recording's provider is configured; those that are not in the table are of no known dialect."""
    return Origin("acme", IDENTITY, DIALECTS.get(name.partition("/")[0], GENERIC), frozenset({"Paris"}))


def whole(name: str, number: int = 0) -> ChatCompletion:
    return translate_completion(EXCHANGES[name, number].body, origin_of(name))


def chunks_of(exchange: Exchange, piece_bytes: int = 1024) -> list[ChatCompletionChunk]:
    """Translate a stream as the provider's adapter does it."""
    chunks: list[ChatCompletionChunk] = []
    _translate_into(chunks, exchange, piece_bytes)
    return chunks


def _translate_into(chunks: list[ChatCompletionChunk], exchange: Exchange, piece_bytes: int = 1024) -> None:
    decoder, translator = SseDecoder(), StreamTranslator(origin_of(exchange.name))
    for place in range(0, len(exchange.body), piece_bytes):
        for event in decoder.feed(exchange.body[place : place + piece_bytes]):
            chunks += translator.translate(event)
    chunks += translator.finish()


def streamed(name: str, number: int = 0) -> list[ChatCompletionChunk]:
    return chunks_of(EXCHANGES[name, number])


def raw_events(exchange: Exchange) -> list[dict[str, Any]]:
    """The JSON of a stream's events, read without the decoder: all of these have one data line each."""
    lines = re.findall(r"^data: (.*?)\r?$", exchange.body.decode(), re.MULTILINE)
    return [json.loads(line) for line in lines if line != "[DONE]"]


@dataclass
class Said:
    """What an answer says, put together."""

    text: str = ""
    reasoning: str = ""
    details: tuple[Any, ...] = ()
    annotations: tuple[Any, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()

    def add_call(self, index: int, name: str, arguments: str) -> None:
        calls = [*self.calls, *[("", "")] * (index + 1 - len(self.calls))]
        calls[index] = (calls[index][0] + name, calls[index][1] + arguments)
        self.calls = tuple(calls)


def said_raw(messages: list[dict[str, Any]]) -> Said:
    """Put together what `messages` (one whole message, or the deltas of a stream) say."""
    said = Said()
    for message in messages:
        content = message.get("content") or ""
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                said.text += part["text"]
            elif part["type"] == "thinking":
                said.reasoning += "".join(piece["text"] for piece in part["thinking"])
        said.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
        said.details += tuple(message.get("reasoning_details") or ())
        said.annotations += tuple(message.get("annotations") or ())
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call["function"]
            said.add_call(call.get("index", place), function.get("name") or "", function.get("arguments") or "")
    return said


def said_translated(messages: list[Any]) -> Said:
    """As `said_raw`, of the contract's messages or deltas."""
    said = Said()
    for message in messages:
        said.text += message.content
        said.reasoning += message.reasoning_content
        said.details += tuple(object_to_json(detail) for detail in message.reasoning_details)
        said.annotations += tuple(object_to_json(annotation) for annotation in message.annotations)
        for place, call in enumerate(message.tool_calls):
            index = getattr(call, "index", place)
            said.add_call(index, call.function.name, call.function.arguments)
    return said


def raw_usage(answers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last usage told, without what the contract has no place for."""
    told = [answer.get("usage") or (answer.get("x_groq") or {}).get("usage") for answer in answers]
    last = next((usage for usage in reversed(told) if usage), None)
    if last is None:
        return None
    usage: dict[str, Any] = {name: last[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if last.get(name):
            usage[name] = {key: count for key, count in last[name].items() if count is not None}
    for name in ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"):
        if name in last:
            usage.setdefault("prompt_tokens_details", {}).setdefault("cached_tokens", last[name])
    if "cost" in last:
        usage["cost_usd"] = last["cost"]
    if last.get("server_tool_use_details"):
        usage["server_tool_use"] = last["server_tool_use_details"]
    return usage


def usage_dict(usage: Any) -> dict[str, Any]:
    return MessageToDict(usage, preserving_proto_field_name=True)


def test_there_are_recordings_of_every_kind() -> None:
    assert set(FAILING) | set(ERRORS) <= set(EXCHANGES)
    assert {key for key, exchange in EXCHANGES.items() if exchange.status != 200} == set(ERRORS)
    assert len(WHOLE) >= 58
    assert len(STREAMS) >= 17


@pytest.mark.parametrize("exchange", WHOLE)
def test_a_whole_answer_is_translated(exchange: Exchange) -> None:
    raw = json.loads(exchange.body)

    completion = translate_completion(exchange.body, origin_of(exchange.name))

    assert (completion.object, completion.model) == ("chat.completion", "public")
    assert completion.id == (raw["id"] or "chatcmpl-own")
    assert completion.created == raw["created"]
    assert [choice.index for choice in completion.choices] == [choice["index"] for choice in raw["choices"]]
    for choice, raw_choice in zip(completion.choices, raw["choices"], strict=True):
        assert said_translated([choice.message]) == said_raw([raw_choice["message"]])
        assert choice.message.role == "assistant"
        assert choice.finish_reason == (
            raw_choice["finish_reason"] or ("tool_calls" if choice.message.tool_calls else "stop")
        )
        ids = [call.id for call in choice.message.tool_calls]
        assert all(ids)
        assert len(set(ids)) == len(ids)
    assert usage_dict(completion.usage) == raw_usage([raw])


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_says_what_its_events_say(exchange: Exchange) -> None:
    chunks, events = chunks_of(exchange), raw_events(exchange)

    indices = {choice["index"] for event in events for choice in event["choices"]}
    assert indices
    for index in indices:
        deltas = [choice["delta"] for event in events for choice in event["choices"] if choice["index"] == index]
        translated = [choice.delta for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert said_translated(translated) == said_raw(deltas)


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_has_the_form_that_the_contract_promises(exchange: Exchange) -> None:
    chunks, events = chunks_of(exchange), raw_events(exchange)

    first_id = next(event["id"] for event in events)
    assert {(chunk.id, chunk.created, chunk.object, chunk.model) for chunk in chunks} == {
        (first_id, events[0]["created"], "chat.completion.chunk", "public")
    }
    *answers, last = chunks
    assert list(last.choices) == []
    assert usage_dict(last.usage) == raw_usage(events)
    assert not any(chunk.HasField("usage") for chunk in answers)
    assert all(len(chunk.choices) == 1 for chunk in answers)
    assert not any(chunk.HasField("error") or chunk.HasField("keepalive") for chunk in chunks)
    for index in {choice.index for chunk in answers for choice in chunk.choices}:
        _assert_choice_form([choice for chunk in answers for choice in chunk.choices if choice.index == index])


def _assert_choice_form(pieces: list[Any]) -> None:
    first, *middle, last = pieces
    assert MessageToDict(first.delta) == {"role": "assistant", "content": ""}
    assert all(not piece.delta.HasField("role") and piece.delta.ByteSize() for piece in middle)
    assert all(piece.finish_reason.WhichOneof("kind") == "null_value" for piece in pieces[:-1])
    assert last.delta.ByteSize() == 0
    assert last.finish_reason.string_value in {"stop", "length", "tool_calls"}
    starts = Counter(call.index for piece in pieces for call in piece.delta.tool_calls if call.HasField("id"))
    assert starts == Counter({call.index for piece in pieces for call in piece.delta.tool_calls})


@pytest.mark.parametrize("exchange", STREAMS)
def test_a_stream_gives_the_same_chunks_however_it_is_cut(exchange: Exchange) -> None:
    expected = chunks_of(exchange, len(exchange.body))

    for piece_bytes in (1, 2, 17, 4096):
        assert chunks_of(exchange, piece_bytes) == expected


@pytest.mark.parametrize(("key", "reason"), FAILING.items(), ids=[name for name, _ in FAILING])
def test_a_failure_of_status_200_is_told(key: tuple[str, int], reason: Reason) -> None:
    exchange = EXCHANGES[key]

    with pytest.raises(UpstreamError) as raised:
        chunks_of(exchange) if exchange.is_stream else translate_completion(exchange.body, origin_of(exchange.name))

    assert raised.value.reason is reason
    assert raised.value.metadata["provider"] == "acme"


@pytest.mark.parametrize(("key", "told"), ERRORS.items(), ids=[f"{name}:{number}" for name, number in ERRORS])
def test_an_error_is_told_without_the_providers_words(key: tuple[str, int], told: tuple[Reason, str | None]) -> None:
    exchange = EXCHANGES[key]

    error = error_of_answer("acme", exchange.status, exchange.body, exchange.headers.get)

    assert (error.reason, error.param) == told
    assert error.metadata == {"provider": "acme", "upstream_status": str(exchange.status)}
    words = json.loads(exchange.body)["error"]["message"]
    assert words not in f"{error!s}{error!r}"


def test_openrouters_two_finish_reasons_and_late_usage_become_one_of_each() -> None:
    name = "openrouter/test_openrouter_web_search_annotations_stream"
    raw = [choice["finish_reason"] for event in raw_events(EXCHANGES[name, 0]) for choice in event["choices"]]
    assert raw.count("stop") == 2

    chunks = streamed(name)

    reasons = [choice.finish_reason.string_value for chunk in chunks for choice in chunk.choices]
    assert reasons.count("stop") == 1
    assert reasons[-1] == "stop"
    assert [chunk.HasField("usage") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    urls = [
        object_to_json(annotation)["url_citation"]
        for chunk in chunks
        for choice in chunk.choices
        for annotation in choice.delta.annotations
    ]
    assert len(urls) == 5


def test_openrouters_signature_stands_once_among_its_reasoning_blocks() -> None:
    chunks = streamed("openrouter/test_openrouter_streaming_reasoning")

    details = [
        object_to_json(detail) for chunk in chunks for c in chunk.choices for detail in c.delta.reasoning_details
    ]
    assert [detail["type"] for detail in details] == ["reasoning.text"] * len(details)
    assert len([detail for detail in details if detail.get("signature")]) == 1


def test_openrouters_integer_code_is_read() -> None:
    exchange = EXCHANGES["openrouter/test_openrouter_errors_raised", 0]
    assert json.loads(exchange.body)["error"]["code"] == 429

    error = error_of_answer("acme", exchange.status, exchange.body, exchange.headers.get)

    assert error.reason is Reason.UPSTREAM_RATE_LIMITED


def test_openrouters_annotations_of_files_are_handed_on() -> None:
    annotations = whole("openrouter/test_openrouter_file_annotation").choices[0].message.annotations

    assert [object_to_json(annotation) for annotation in annotations] == [
        {
            "file": {
                "content": [
                    {"text": '<file name="filename.pdf">', "type": "text"},
                    {"text": "# Dummy PDF file", "type": "text"},
                    {"text": "</file>", "type": "text"},
                ],
                "hash": "a1e01852b473a959e3d5234eea9ca3489acec9dfb82938d51f1a45d980a23fe5",
                "name": "filename.pdf",
            },
            "type": "file",
        }
    ]


def test_groqs_many_ids_become_the_first_and_its_own_usage_is_read() -> None:
    name = "groq/test_groq_model_web_search_tool_stream"
    events = raw_events(EXCHANGES[name, 0])
    assert len({event["id"] for event in events}) > 100
    assert not any(event.get("usage") for event in events)

    chunks = streamed(name)

    assert {chunk.id for chunk in chunks} == {"chatcmpl-03ea1ed2-c2dc-4f8d-ba51-54e08ca9287c"}
    assert usage_dict(chunks[-1].usage) == {"prompt_tokens": 5003, "completion_tokens": 359, "total_tokens": 5362}


def test_groqs_failure_midway_comes_after_its_text() -> None:
    chunks: list[ChatCompletionChunk] = []

    with pytest.raises(UpstreamError) as raised:
        _translate_into(chunks, EXCHANGES["groq/test_tool_use_failed_error_streaming_with_text", 0])

    said = said_translated([choice.delta for chunk in chunks for choice in chunk.choices])
    assert said.text == "maybe"
    assert said.reasoning.startswith("The user says:")
    assert not any(choice.finish_reason.string_value for chunk in chunks for choice in chunk.choices)
    assert raised.value.reason is Reason.UPSTREAM_REJECTED
    assert raised.value.metadata == {"provider": "acme", "upstream_status": "400"}
    assert "Tool choice" not in f"{raised.value!s}{raised.value!r}"


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("snowflake/test_snowflake_native_output", 0, "stop"),
        ("snowflake/test_snowflake_tool_calling", 0, "tool_calls"),
        ("snowflake/test_snowflake_tool_calling", 1, "stop"),
    ],
)
def test_snowflakes_placeholders_are_left_out(name: str, number: int, reason: str) -> None:
    completion = whole(name, number)

    (choice,) = completion.choices
    assert completion.id == "chatcmpl-own"
    assert choice.finish_reason == reason
    assert not choice.HasField("logprobs")
    assert not choice.message.HasField("audio")
    assert not choice.message.HasField("function_call")
    assert not choice.message.HasField("refusal")
    assert not any(call.HasField("custom") for call in choice.message.tool_calls)
    assert [call.type for call in choice.message.tool_calls] == ["function"] * len(choice.message.tool_calls)


def test_snowflakes_stream_without_a_finish_reason_has_id_and_time_of_ours() -> None:
    chunks: list[ChatCompletionChunk] = []

    with pytest.raises(UpstreamError):
        _translate_into(chunks, EXCHANGES["snowflake/test_snowflake_thinking_streaming", 0])

    assert {(chunk.id, chunk.created) for chunk in chunks} == {("chatcmpl-own", 1_700_000_000)}
    said = said_translated([choice.delta for chunk in chunks for choice in chunk.choices])
    assert said.text == (
        "15 \u00d7 27 = **405**\n\nHere's the breakdown:"
        "\n- 15 \u00d7 20 = 300\n- 15 \u00d7 7 = 105\n- 300 + 105 = **405**"
    )
    assert [detail["text"] for detail in said.details] == ["15", " * 27 = 405"]


def test_googles_empty_call_id_is_replaced_and_its_total_is_kept() -> None:
    completion = whole("google-openai/test_compatible_api_with_tool_calls_without_id")

    (choice,) = completion.choices
    assert MessageToDict(choice.message, preserving_proto_field_name=True) == {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_3SE-aKjdCcCEz7IPxpqjCA_0_0",
                "type": "function",
                "function": {"name": "get_current_time", "arguments": "{}"},
            }
        ],
    }
    assert usage_dict(completion.usage) == {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}


def test_mistrals_parts_become_reasoning_and_text() -> None:
    (choice,) = whole(
        "mistral/test_thinking_wire_contract-test_reasoning_wire_contract-mistral-small-thinking-high"
    ).choices

    assert MessageToDict(choice.message, preserving_proto_field_name=True) == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": (
            "The user is asking for the result of 2+2. The instruction is to reply with just the number, "
            'so I should respond with "4".'
        ),
    }


def test_mistrals_call_without_a_type_is_of_a_function() -> None:
    (choice,) = whole("mistral/test_multimodal_tool_return_matrix-direct-url-document-mistral").choices

    assert MessageToDict(choice.message, preserving_proto_field_name=True) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "Ah0BFgzqX", "type": "function", "function": {"name": "get_file", "arguments": "{}"}}],
    }


def test_crusoes_integer_stop_reason_does_not_disturb() -> None:
    name = "crusoe/test_crusoe_model_simple"
    assert json.loads(EXCHANGES[name, 0].body)["choices"][0]["stop_reason"] == 154827

    (choice,) = whole(name).choices

    assert (choice.finish_reason, choice.message.content) == ("stop", "2 + 2 = 4.")
    assert choice.message.reasoning_content.startswith("1.  **Analyze the Input:**")


def test_deepseeks_cached_tokens_are_told() -> None:
    completion = whole("deepseek/test_deepseek_deferred_capability_with_thinking")

    assert usage_dict(completion.usage) == {
        "prompt_tokens": 563,
        "completion_tokens": 116,
        "total_tokens": 679,
        "prompt_tokens_details": {"cached_tokens": 512},
        "completion_tokens_details": {"reasoning_tokens": 60},
    }
    assert completion.choices[0].message.reasoning_content.startswith("The user wants to play a dice game.")


def test_azures_filter_results_are_handed_on() -> None:
    (choice,) = whole("azure/test_azure_provider_call").choices

    assert object_to_json(choice.content_filter_results) == {
        "hate": {"filtered": False, "severity": "safe"},
        "protected_material_code": {"detected": False, "filtered": False},
        "protected_material_text": {"detected": False, "filtered": False},
        "self_harm": {"filtered": False, "severity": "safe"},
        "sexual": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": False, "severity": "safe"},
    }


def test_an_empty_list_of_calls_beside_text_is_none() -> None:
    name = "huggingface/test_hf_model_instructions"
    assert json.loads(EXCHANGES[name, 0].body)["choices"][0]["message"]["tool_calls"] == []
    assert EXCHANGES[name, 0].headers["retry-after"] == "13"

    (choice,) = whole(name).choices

    assert choice.finish_reason == "stop"
    assert list(choice.message.tool_calls) == []
    assert choice.message.content.endswith("historical heart of France. 🇫🇷")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("deepseek/test_deepseek_deferred_capability_with_thinking", "reasoning_content"),
        ("zai/test_zai_vision_thinking", "reasoning_content"),
        ("groq/test_groq_prompted_output", "reasoning"),
        ("cerebras/test_cerebras_zai_reasoning_replayed_as_think_tags", "reasoning"),
        ("crusoe/test_crusoe_native_output", "reasoning"),
        ("openrouter/test_openrouter_thinking_high_emits_effort_high", "reasoning"),
    ],
)
def test_reasoning_is_found_under_each_of_its_names(name: str, field: str) -> None:
    raw = json.loads(EXCHANGES[name, 0].body)["choices"][0]["message"]

    message = whole(name).choices[0].message

    assert raw[field]
    assert message.reasoning_content == raw[field]


def test_openais_last_two_events_become_the_finish_and_the_usage() -> None:
    name = "openai/test_run_stream_sync_streams_real_model"
    events = raw_events(EXCHANGES[name, 0])
    assert (events[-2]["choices"][0]["delta"], events[-1]["choices"]) == ({}, [])

    *_, finish, usage = streamed(name)

    assert finish.choices[0].finish_reason.string_value == "tool_calls"
    assert usage_dict(usage.usage) == {
        "prompt_tokens": 53,
        "completion_tokens": 15,
        "total_tokens": 68,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    assert usage.service_tier == "default"


def test_openais_streamed_call_keeps_its_id_and_fragments() -> None:
    fragments = [
        call
        for chunk in streamed("openai/test_run_stream_sync_streams_real_model")
        for choice in chunk.choices
        for call in choice.delta.tool_calls
    ]

    assert [(call.id, call.type, call.function.name, call.function.arguments) for call in fragments] == [
        ("call_ZR5UUuTt3pf61kjwAJIYdVMj", "function", "get_capital", ""),
        ("", "", "", '{"'),
        ("", "", "", "country"),
        ("", "", "", '":"'),
        ("", "", "", "UK"),
        ("", "", "", '"}'),
    ]


def test_no_text_of_the_echo_server_is_shown() -> None:
    with pytest.raises(UpstreamError) as raised:
        whole("demo-endpoints/test_text_response")

    assert raised.value.message == "The provider's answer is no valid JSON."
