"""What an OpenAI-compatible provider's stream becomes: exact sequences of chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, Parse

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Interrupted, Malformed, Reason, UpstreamError
from service.json_values import object_to_json
from service.providers.openai.dialects import DIALECTS
from service.providers.openai.origin import Origin
from service.providers.openai.stream import StreamTranslator
from service.providers.provider import Identity
from service.providers.sse import SseDecoder, SseEvent

IDENTITY = Identity(id="chatcmpl-own", created=1_700_000_000, model="public")
CANARY = "c4n4ry"
NOT_AS_THE_API_SAYS = "The provider's answer is not as its API says: "
INCOMPLETE = "The provider's stream ended before the answer was complete."

Event = dict[str, Any]
Step = dict[str, Any]


def event(delta: Event | None = None, finish_reason: str | None = None, index: int = 0, **fields: Any) -> Event:
    """A provider's chunk as OpenAI sends it, with one choice; `fields` go beside the delta."""
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish_reason, **fields}
    return {**ENVELOPE, "choices": [choice]}


ENVELOPE: Event = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1_710_000_000,
    "model": "up-1",
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def chunks_of(*events: Event | bytes) -> list[ChatCompletionChunk]:
    translator = StreamTranslator(Origin("acme", IDENTITY))
    data = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in (*events, b"[DONE]")]
    chunks = [chunk for item in data for chunk in translator.translate(SseEvent("message", item))]
    return chunks + translator.finish()


def steps_of(*events: Event | bytes) -> list[Step]:
    """The chunks of a stream without the envelope, which is checked to be the same in all."""
    return [without_envelope(chunk) for chunk in chunks_of(*events)]


def without_envelope(chunk: ChatCompletionChunk, id_: str = "chatcmpl-1", created: int = 1_710_000_000) -> Step:
    step = plain(chunk)
    envelope = {name: step.pop(name) for name in ("id", "object", "created", "model")}
    assert envelope == {"id": id_, "object": "chat.completion.chunk", "created": created, "model": "public"}
    return step


def plain(message: Any) -> dict[str, Any]:
    """`message` as REST clients see it: JsonObjects as ordinary objects."""
    restored = _with_objects(MessageToDict(message, preserving_proto_field_name=True))
    assert isinstance(restored, dict)
    return restored


def _with_objects(item: Any) -> Any:
    if isinstance(item, list):
        return [_with_objects(each) for each in item]
    if not isinstance(item, dict):
        return item
    if set(item) == {"fields"}:
        return object_to_json(Parse(json.dumps(item), JsonObject()))
    return {key: _with_objects(each) for key, each in item.items()}


def step(delta: Event | None = None, finish_reason: str | None = None, index: int = 0, **fields: Any) -> Step:
    """A chunk of ours, without the envelope."""
    return {"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish_reason, **fields}]}


FIRST = step({"role": "assistant", "content": ""})
STOP = step(finish_reason="stop")


def test_the_plain_transcript_of_openai_is_kept() -> None:
    assert steps_of(
        event({"role": "assistant", "content": "", "refusal": None}),
        event({"content": "Hello"}),
        event({"content": "!"}),
        event(finish_reason="stop"),
    ) == [FIRST, step({"content": "Hello"}), step({"content": "!"}), STOP]


def test_every_chunk_prints_what_openai_prints() -> None:
    for chunk in chunks_of(event({"role": "assistant", "content": "x"}), event(finish_reason="stop")):
        (choice,) = chunk.choices
        assert chunk.HasField("created")
        assert choice.HasField("index")
        assert choice.HasField("delta")
        assert choice.finish_reason.WhichOneof("kind") in {"null_value", "string_value"}


@pytest.mark.parametrize("role", [{"role": "assistant"}, {}, {"role": ""}, {"role": None}, {"role": "model"}])
def test_a_first_delta_with_text_is_split(role: Event) -> None:
    assert steps_of(event({**role, "content": "Hi"}), event(finish_reason="stop")) == [
        FIRST,
        step({"content": "Hi"}),
        STOP,
    ]


def test_a_role_in_every_delta_is_told_once() -> None:
    assert steps_of(
        event({"role": "assistant", "content": "a"}),
        event({"role": "assistant", "content": "b"}),
        event({"role": "assistant", "content": ""}, "stop"),
    ) == [FIRST, step({"content": "a"}), step({"content": "b"}), STOP]


def test_empty_deltas_are_skipped() -> None:
    empty: Event = {
        "content": "",
        "refusal": "",
        "tool_calls": None,
        "reasoning": "",
        "reasoning_content": None,
        "reasoning_details": [],
        "annotations": [],
        "audio": {"id": "", "data": "", "expires_at": 0, "transcript": ""},
        "function_call": {"name": "", "arguments": ""},
    }
    assert steps_of(
        event(empty, logprobs={"content": None, "refusal": None}),
        event(empty),
        event({"content": "a"}),
        event(None),
        event(empty, "stop"),
    ) == [FIRST, step({"content": "a"}), STOP]


def test_an_answer_without_text_is_a_first_and_a_last_chunk() -> None:
    assert steps_of(event(None, "stop")) == [FIRST, STOP]


def test_tool_calls_come_in_fragments() -> None:
    def call(**fields: Any) -> Event:
        return {"tool_calls": [{"index": 0, **fields}]}

    assert steps_of(
        event({"role": "assistant", "content": None, **call(id="call_1", type="function", function={"name": "f", "arguments": ""})}),
        event(call(function={"arguments": '{"'})),
        event(call(function={"arguments": 'a":1}'})),
        event(None, "tool_calls"),
    ) == [
        FIRST,
        step(call(id="call_1", type="function", function={"name": "f", "arguments": ""})),
        step(call(function={"arguments": '{"'})),
        step(call(function={"arguments": 'a":1}'})),
        step(None, "tool_calls"),
    ]  # fmt: skip


def test_parallel_tool_calls_keep_their_indices() -> None:
    assert steps_of(
        event({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        event({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "[]"}}]}),
        event(None, "tool_calls"),
    ) == [
        FIRST,
        step({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        step({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]}),
        step({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "[]"}}]}),
        step(None, "tool_calls"),
    ]  # fmt: skip


def test_whole_calls_without_index_are_numbered() -> None:
    """As Google's compatible endpoint sends them, with empty ids."""
    whole = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert steps_of(event({"tool_calls": [whole, whole]}), event({"tool_calls": [whole]}, "tool_calls")) == [
        FIRST,
        step(
            {
                "tool_calls": [
                    {**whole, "index": 0, "id": "call_chatcmpl-1_0_0"},
                    {**whole, "index": 1, "id": "call_chatcmpl-1_0_1"},
                ]
            }
        ),
        step({"tool_calls": [{**whole, "index": 2, "id": "call_chatcmpl-1_0_2"}]}),
        step(None, "tool_calls"),
    ]


def test_fragments_without_index_go_on_with_the_open_call() -> None:
    assert steps_of(
        event({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]}),
        event({"tool_calls": [{"function": {"arguments": "{"}}]}),
        event({"tool_calls": [{"function": {"arguments": "}"}}]}),
        event({"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "[]"}}]}),
        event(None, "tool_calls"),
    )[1:-1] == [
        step({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        step({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
        step({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        step({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}}]}),
    ]  # fmt: skip


def test_a_first_fragment_without_index_id_and_name_begins_the_first_call() -> None:
    assert steps_of(event({"tool_calls": [{"function": {"arguments": "{}"}}]}), event(None, "tool_calls"))[1] == step(
        {"tool_calls": [{"index": 0, "id": "call_chatcmpl-1_0_0", "type": "function", "function": {"arguments": "{}"}}]}
    )


def test_id_type_and_name_of_a_call_are_told_once() -> None:
    """Some providers repeat them, or send them empty, in every fragment."""
    assert steps_of(
        event({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}),
        event({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "", "arguments": "}"}}]}),
        event({"tool_calls": [{"index": 0, "id": "", "type": None, "function": {"name": None, "arguments": " "}}]}),
        event(None, "tool_calls"),
    )[1:-1] == [
        step({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]}),
        step({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        step({"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}),
    ]  # fmt: skip


def test_arguments_as_an_object_become_json_text() -> None:
    assert steps_of(
        event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"b": 1, "a": "é"}}}]}),
        event(None, "tool_calls"),
    )[1] == step(
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":"é"}'}}
            ]
        }
    )


def test_custom_tool_calls_come_in_fragments() -> None:
    assert steps_of(
        event({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": ""}}]}),
        event({"tool_calls": [{"index": 0, "custom": {"input": "select 1"}}]}),
        event(None, "tool_calls"),
    )[1:-1] == [
        step({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": ""}}]}),
        step({"tool_calls": [{"index": 0, "custom": {"input": "select 1"}}]}),
    ]


def test_an_empty_custom_placeholder_does_not_make_a_function_call_a_custom_one() -> None:
    """Snowflake's whole answers have one beside every function (`test_snowflake_tool_calling`)."""
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert steps_of(
        event({"tool_calls": [{**call, "custom": {"name": "", "input": ""}}]}),
        event(None, "tool_calls"),
    )[1] == step({"tool_calls": [call]})


def test_a_thought_signature_stays_with_its_call() -> None:
    call = {
        "index": 0,
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert steps_of(event({"tool_calls": [call]}), event(None, "tool_calls"))[1] == step({"tool_calls": [call]})


def test_a_second_finish_reason_is_dropped() -> None:
    """OpenRouter sends one in the chunk with the usage, too."""
    usage = {**event({"role": "assistant", "content": ""}, "stop"), "usage": USAGE}

    assert steps_of(event({"content": "a"}), event({"content": ""}, "stop"), usage) == [
        FIRST,
        step({"content": "a"}),
        STOP,
        {"usage": USAGE},
    ]


def test_a_finish_reason_beside_content_is_split_off() -> None:
    assert steps_of(event({"content": "a"}), event({"content": "b"}, "length")) == [
        FIRST,
        step({"content": "a"}),
        step({"content": "b"}),
        step(None, "length"),
    ]


def test_a_whole_answer_in_one_event_is_split() -> None:
    assert steps_of({**event({"role": "assistant", "content": "a"}, "stop"), "usage": USAGE}) == [
        FIRST,
        step({"content": "a"}),
        STOP,
        {"usage": USAGE},
    ]


def test_a_whole_message_in_place_of_a_delta_is_read() -> None:
    whole = {**ENVELOPE, "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}

    assert steps_of(whole) == [FIRST, step({"content": "a"}), STOP]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_a_finish_reason_is_handed_on(reason: str) -> None:
    assert steps_of(event({"content": "a"}), event(None, reason))[-1] == step(None, reason)


def test_an_index_that_is_null_is_the_first() -> None:
    assert steps_of(event({"content": "a"}, index=None), event(None, "stop")) == [FIRST, step({"content": "a"}), STOP]  # type: ignore[arg-type]


def test_an_odd_number_in_the_usage_does_not_end_a_stream() -> None:
    usage = {**event(None, "stop"), "usage": USAGE | {"prompt_tokens": 9.0, "prompt_tokens_details": []}}

    assert steps_of(event({"content": "a"}), usage) == [FIRST, step({"content": "a"}), STOP, {"usage": USAGE}]


def test_empty_log_probabilities_are_none() -> None:
    assert steps_of(event({"content": "a"}, logprobs={"content": [], "refusal": []}), event(None, "stop")) == [
        FIRST,
        step({"content": "a"}),
        STOP,
    ]


def test_an_empty_finish_reason_is_none() -> None:
    assert steps_of(event({"content": "a"}, ""), event({"content": "b"}, ""), event(None, "stop")) == [
        FIRST,
        step({"content": "a"}),
        step({"content": "b"}),
        STOP,
    ]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([event(None, "stop"), {**ENVELOPE, "choices": [], "usage": USAGE}], id="own chunk"),
        pytest.param([event(None, "stop"), {**ENVELOPE, "usage": USAGE}], id="own chunk without choices"),
        pytest.param([{**event(None, "stop"), "usage": USAGE}], id="beside the finish reason"),
        pytest.param([{**event(None, "stop"), "x_groq": {"id": "req_1", "usage": USAGE}}], id="x_groq"),
        pytest.param(
            [{**event(None, "stop"), "usage": USAGE, "x_groq": {"usage": {**USAGE, "prompt_tokens": 1}}}], id="both"
        ),
        pytest.param(
            [
                {**event(None, "stop"), "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}},
                {**ENVELOPE, "choices": [], "usage": USAGE},
                {**ENVELOPE, "choices": [], "usage": None},
            ],
            id="the last that is told counts",
        ),
    ],
)
def test_usage_comes_once_and_last(ending: list[Event]) -> None:
    assert steps_of({**event({"content": "a"}), "usage": None}, *ending) == [
        FIRST,
        step({"content": "a"}),
        STOP,
        {"usage": USAGE},
    ]


def test_usage_in_every_chunk_is_told_once() -> None:
    growing = [{**event({"content": "a"}), "usage": {"prompt_tokens": 9, "completion_tokens": n}} for n in range(3)]

    assert steps_of(*growing, event(None, "stop"))[-2:] == [
        STOP,
        {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
    ]


def test_the_usage_chunk_is_set_apart_by_zeros_that_print() -> None:
    last = chunks_of(event(None, "stop"), {**ENVELOPE, "choices": [], "usage": {"prompt_tokens": 0}})[-1]

    assert list(last.choices) == []
    assert last.usage.HasField("prompt_tokens")
    assert last.usage.HasField("completion_tokens")
    assert last.usage.HasField("total_tokens")


def test_ids_and_times_that_differ_become_the_first() -> None:
    """Groq's compound models send another id in nearly every chunk."""
    events = [
        {**event({"content": "a"}), "id": "x-1", "created": 5},
        {**event({"content": "b"}), "id": "x-2", "created": 6},
        {**event(None, "stop"), "id": "stub", "created": 7},
        {**ENVELOPE, "id": "x-3", "choices": [], "usage": USAGE},
    ]
    assert [(chunk.id, chunk.created) for chunk in chunks_of(*events)] == [("x-1", 5)] * 5


@pytest.mark.parametrize("envelope", [{"id": "", "created": 0}, {"id": None, "created": None}])
def test_an_empty_id_and_time_are_replaced(envelope: Event) -> None:
    events = [{**item, **envelope} for item in (event({"content": "a"}), event(None, "stop"))]

    assert [without_envelope(chunk, "chatcmpl-own", 1_700_000_000) for chunk in chunks_of(*events)] == [
        FIRST,
        step({"content": "a"}),
        STOP,
    ]


def test_made_ids_of_calls_use_the_streams_id() -> None:
    call = {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    first = {**event(call), "id": ""}

    chunks = chunks_of(first, event(None, "tool_calls"))

    assert chunks[1].choices[0].delta.tool_calls[0].id == "call_chatcmpl-own_0_0"


def test_tier_and_fingerprint_are_told() -> None:
    fields = {"service_tier": "default", "system_fingerprint": "fp_1"}

    chunks = chunks_of({**event({"content": "a"}), **fields}, event(None, "stop"))

    assert [(chunk.service_tier, chunk.system_fingerprint) for chunk in chunks] == [("default", "fp_1")] * 3


def test_an_empty_tier_and_fingerprint_are_absent() -> None:
    for chunk in chunks_of({**event(None, "stop"), "service_tier": "", "system_fingerprint": ""}):
        assert not chunk.HasField("service_tier")
        assert not chunk.HasField("system_fingerprint")


def test_interleaved_choices_are_kept_apart() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert steps_of(
        event({"role": "assistant", "content": "a0"}),
        event({"role": "assistant", "content": "b0"}, index=1),
        event({"content": "b1"}, index=1),
        event({"tool_calls": [call]}),
        event(None, "length", index=1),
        event(None, "tool_calls"),
        {**ENVELOPE, "choices": [], "usage": USAGE},
    ) == [
        FIRST,
        step({"content": "a0"}),
        step({"role": "assistant", "content": ""}, index=1),
        step({"content": "b0"}, index=1),
        step({"content": "b1"}, index=1),
        step({"tool_calls": [call]}),
        step(None, "length", index=1),
        step(None, "tool_calls"),
        {"usage": USAGE},
    ]


def test_choices_in_one_event_become_chunks_of_their_own() -> None:
    both = {**ENVELOPE, "choices": [event({"content": text}, index=n)["choices"][0] for n, text in enumerate("ab")]}
    last = {**ENVELOPE, "choices": [event(None, "stop", index=n)["choices"][0] for n in (1, 0)]}

    assert steps_of(both, last) == [
        FIRST,
        step({"content": "a"}),
        step({"role": "assistant", "content": ""}, index=1),
        step({"content": "b"}, index=1),
        step(None, "stop", index=1),
        STOP,
    ]


def test_made_call_ids_differ_between_choices() -> None:
    call = {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}

    chunks = chunks_of(event(call), event(call, index=1), event(None, "tool_calls"), event(None, "tool_calls", index=1))

    ids = [call.id for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls]
    assert ids == ["call_chatcmpl-1_0_0", "call_chatcmpl-1_1_0"]


def test_logprobs_stay_with_their_text() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    told = {"token": "a", "logprob": -0.5, "bytes": [97], "empty_top_logprobs": None}

    assert steps_of(
        event({"role": "assistant", "content": ""}, logprobs={"content": [], "refusal": None}),
        event({"content": "a"}, logprobs={"content": [token], "refusal": None}),
        event(None, logprobs={"content": None, "refusal": [token]}),
        event({"content": "b"}, "stop", logprobs={"content": [token, token]}),
    ) == [
        FIRST,
        step({"content": "a"}, logprobs={"content": [told]}),
        step(None, logprobs={"refusal": [told]}),
        step({"content": "b"}, logprobs={"content": [told, told]}),
        STOP,
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"reasoning_content": "hm"}, {"reasoning_content": "hm"}),
        ({"reasoning": "hm", "channel": "analysis"}, {"reasoning_content": "hm"}),
        (
            {"content": "", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]},
            {"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]},
        ),
        (
            {"reasoning": None, "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
            {"reasoning_content": "hm"},
        ),
        ({"content": [{"type": "text", "text": "hm"}]}, {"content": "hm"}),
        ({"refusal": "No."}, {"refusal": "No."}),
        (
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "start_index": 0}}]},
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "start_index": 0}}]},
        ),
        ({"audio": {"id": "audio_1", "transcript": "Hi"}}, {"audio": {"id": "audio_1", "transcript": "Hi"}}),
        ({"audio": {"data": "UklG"}}, {"audio": {"data": "UklG"}}),
        ({"audio": {"expires_at": 1_710_003_600}}, {"audio": {"expires_at": 1_710_003_600}}),
        ({"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"name": "f", "arguments": ""}}),
        ({"function_call": {"arguments": "{}"}}, {"function_call": {"arguments": "{}"}}),
    ],
    ids=[
        "reasoning_content (DeepSeek)",
        "reasoning (Groq)",
        "reasoning_details (OpenRouter)",
        "encrypted reasoning",
        "thinking parts (Mistral)",
        "text parts (Mistral)",
        "refusal",
        "annotations",
        "audio id",
        "audio data",
        "audio expiry, OpenAI's last audio update",
        "function_call",
        "function_call fragment",
    ],
)  # fmt: skip
def test_a_delta_is_translated(given: Event, told: Event) -> None:
    assert steps_of(event(given), event(None, "stop")) == [FIRST, step(told), STOP]


def test_azures_filter_results_come_beside_the_finish_reason() -> None:
    """The first event of Azure has no choices and an empty id."""
    results = {"hate": {"filtered": False, "severity": "safe"}}
    prompt = {"id": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}

    chunks = chunks_of(prompt, event({"content": "a"}), event(None, "stop", content_filter_results=results))

    assert [without_envelope(chunk, "chatcmpl-own", 1_700_000_000) for chunk in chunks] == [
        FIRST | {"moderation": {"prompt_filter_results": [{"prompt_index": 0}]}},
        step({"content": "a"}),
        step(None, "stop", content_filter_results=results),
    ]


def test_moderation_results_have_a_chunk() -> None:
    moderation = {"input": {"type": "moderation_results", "model": "omni", "results": []}}

    assert steps_of(event({"content": "a"}, "stop"), {**ENVELOPE, "choices": [], "moderation": moderation}) == [
        FIRST,
        step({"content": "a"}),
        STOP,
        {"moderation": moderation},
    ]


@pytest.mark.parametrize("text", ["data: [DONE]", "[DONE]", "data: {}\n\n", '{"error":{}}', "", "\x00", "🇫🇷"])
def test_text_is_handed_on_whatever_it_looks_like(text: str) -> None:
    steps = steps_of(event({"content": text}), event(None, "stop"))

    assert steps == [FIRST, *([step({"content": text})] if text else []), STOP]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([{**ENVELOPE, "choices": []}], id="no choices"),
        pytest.param([{**ENVELOPE, "choices": None}], id="null choices"),
        pytest.param([{**ENVELOPE, "choices": [], "usage": USAGE}], id="only usage"),
        pytest.param([event({"role": "assistant", "content": ""})], id="only the role"),
        pytest.param([event({"content": "a"}), event(None)], id="no finish reason"),
        pytest.param([event({"content": "a"}, ""), {**ENVELOPE, "choices": [], "usage": USAGE}], id="usage, no reason"),
        pytest.param([event({"content": "a"}, "stop"), event({"content": "b"}, index=1)], id="one of two choices"),
        pytest.param([event(None, "stop", index=1), event({"content": "a"})], id="the other of two choices"),
    ],
)
def test_an_end_before_every_choice_has_finished_is_an_interruption(events: list[Event]) -> None:
    with pytest.raises(Interrupted) as raised:
        chunks_of(*events)

    assert raised.value.reason is Reason.UPSTREAM_INTERRUPTED
    assert raised.value.message == INCOMPLETE
    assert raised.value.metadata == {"provider": "acme"}


@pytest.mark.parametrize(
    ("error", "reason", "metadata"),
    [
        ({"message": CANARY}, Reason.UPSTREAM_INTERRUPTED, {}),
        (CANARY, Reason.UPSTREAM_INTERRUPTED, {}),
        ({"message": CANARY, "type": "server_error", "code": None}, Reason.UPSTREAM_INTERRUPTED, {}),
        ({"message": CANARY, "code": 502}, Reason.UPSTREAM_UNAVAILABLE, {"upstream_status": "502"}),
        ({"message": CANARY, "code": 429}, Reason.UPSTREAM_RATE_LIMITED, {"upstream_status": "429"}),
        ({"message": CANARY, "code": 401}, Reason.UPSTREAM_AUTH_FAILED, {"upstream_status": "401"}),
        (
            {"message": CANARY, "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400},
            Reason.UPSTREAM_REJECTED,
            {"upstream_status": "400"},
        ),
        ({"message": CANARY, "code": "context_length_exceeded"}, Reason.CONTEXT_LENGTH_EXCEEDED, {}),
        ({"message": CANARY, "type": "insufficient_quota"}, Reason.UPSTREAM_QUOTA_EXHAUSTED, {}),
        ({"message": CANARY, "code": "content_filter"}, Reason.CONTENT_FILTERED, {}),
        ({"message": CANARY, "code": 7}, Reason.UPSTREAM_INTERRUPTED, {}),
        ({"message": CANARY, "code": 200}, Reason.UPSTREAM_INTERRUPTED, {}),
    ],
)
@pytest.mark.parametrize("beside_choices", [False, True])
def test_an_error_event_ends_the_stream_with_what_it_is(
    error: Any,
    reason: Reason,
    metadata: dict[str, str],
    beside_choices: bool,  # noqa: FBT001
) -> None:
    translator = StreamTranslator(Origin("acme", IDENTITY))
    translator.translate(SseEvent("message", json.dumps(event({"content": "a"})).encode()))
    failure = {**event({"content": CANARY}), "error": error} if beside_choices else {"error": error}

    with pytest.raises(UpstreamError) as raised:
        translator.translate(SseEvent("message", json.dumps(failure).encode()))

    assert raised.value.reason is reason
    assert raised.value.metadata == {"provider": "acme", **metadata}
    assert CANARY not in f"{raised.value!s}{raised.value!r}{raised.value.metadata}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The provider's answer is no valid JSON."),
        (b"c4n4ry", "The provider's answer is no valid JSON."),
        (b"[DONE] c4n4ry", NOT_AS_THE_API_SAYS + "Expected `object`, got `array`."),
        (b'{"choices":[{"delta":{"content":"c4n4ry', "The provider's answer is no valid JSON."),
        (b'{"choices":[{"delta":{"content":"c4n4ry\xff"}}]}', "The provider's answer is no valid JSON."),
        (b'"c4n4ry"', NOT_AS_THE_API_SAYS + "Expected `object`, got `str`."),
        (
            b'{"choices":[{"delta":{"content":5}}]}',
            NOT_AS_THE_API_SAYS + "Expected `str | array | null`, got `int` - at `$.choices[0].delta.content`.",
        ),
        (
            b'{"choices":[{"delta":{"tool_calls":[{"index":65536}]}}]}',
            NOT_AS_THE_API_SAYS + "Expected `int` <= 65535 - at `$.choices[0].delta.tool_calls[0].index`.",
        ),
        (
            b'{"choices":[{"index":"c4n4ry","delta":{}}]}',
            NOT_AS_THE_API_SAYS + "Expected `int | null`, got `str` - at `$.choices[0].index`.",
        ),
    ],
)
def test_an_event_that_is_no_chunk_is_malformed_and_only_its_path_is_told(data: bytes, message: str) -> None:
    with pytest.raises(Malformed) as raised:
        chunks_of(event({"content": "a"}), data)

    assert raised.value.reason is Reason.UPSTREAM_MALFORMED
    assert raised.value.message == message
    assert raised.value.metadata == {"provider": "acme"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="unknown field"),
        pytest.param(b'{"moderation":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", id="deeper than protobuf decodes"),
        pytest.param(b'{"moderation":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", id="deeper than Python recurses"),
        pytest.param(b'{"moderation":{"a":1' + b"0" * 400 + b"}}", id="integer beyond doubles"),
    ],
)
def test_an_event_beyond_all_limits_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as raised:
        chunks_of(data)

    assert raised.value.metadata == {"provider": "acme"}


@pytest.mark.parametrize(
    ("dialect", "events", "is_complete"),
    [
        ("openai", [event({"content": "a"}, "stop"), {**ENVELOPE, "choices": [], "usage": USAGE}], False),
        ("generic", [event({"content": "a"}, "stop"), {**ENVELOPE, "choices": [], "usage": USAGE}], True),
        ("generic", [event({"content": "a"}, "stop") | {"usage": USAGE}], True),
        ("generic", [event({"content": "a"}, "stop")], False),
        ("generic", [event({"content": "a"}) | {"usage": USAGE}, event(None, "stop")], False),
        ("generic", [event({"content": "a"}), {**ENVELOPE, "choices": [], "usage": USAGE}], False),
    ],
)
def test_a_close_without_done_is_an_end_only_after_the_usage_of_an_api_that_is_not_known(
    dialect: str,
    events: list[Event],
    is_complete: bool,  # noqa: FBT001 - a column of the table
) -> None:
    translator = StreamTranslator(Origin("acme", IDENTITY, DIALECTS[dialect]))
    for item in events:
        translator.translate(SseEvent("message", json.dumps(item).encode()))

    if is_complete:
        assert translator.finish()[-1].usage.prompt_tokens == USAGE["prompt_tokens"]
    else:
        with pytest.raises(Interrupted, match="before the answer was complete"):
            translator.finish()


def test_128_choices_are_taken_and_not_one_more() -> None:
    translator = StreamTranslator(Origin("acme", IDENTITY))
    for index in range(128):
        assert (
            len(translator.translate(SseEvent("message", json.dumps(event(None, "stop", index=index)).encode()))) == 2
        )
    assert translator.translate(SseEvent("message", json.dumps(event(None, "stop", index=5)).encode())) == []

    with pytest.raises(Malformed, match="too many choices") as raised:
        translator.translate(SseEvent("message", json.dumps(event(None, "stop", index=128)).encode()))

    assert raised.value.metadata == {"provider": "acme"}


TRANSCRIPT = b"".join(
    [
        b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n",
        b'data: {"id":"chatcmpl-1","created":1710000000,"choices":[{"index":0,"delta":{"role":"assistant"}}]}\r\n\r\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa9 data: [DONE]\\n\\n"}}]}\n\n',
        b":\r\r",
        b'event: message\ndata:{"choices":[{"index":0,\ndata:"delta":{"content":"\xf0\x9f\x87\xab"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\rid: 5\nretry: 5\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    ]
)


def chunks_of_bytes(*pieces: bytes) -> list[Step]:
    decoder = SseDecoder()
    translator = StreamTranslator(Origin("acme", IDENTITY))
    chunks = [chunk for piece in pieces for event in decoder.feed(piece) for chunk in translator.translate(event)]
    assert translator.is_over
    return [without_envelope(chunk) for chunk in chunks + translator.finish()]


TRANSLATED = [
    FIRST,
    step({"content": "é data: [DONE]\n\n"}),
    step({"content": "🇫"}),
    STOP,
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
]


def test_a_transcript_gives_the_same_chunks_at_every_split_point() -> None:
    for place in range(len(TRANSCRIPT) + 1):
        assert chunks_of_bytes(TRANSCRIPT[:place], TRANSCRIPT[place:]) == TRANSLATED, f"split at byte {place}"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_transcript_gives_the_same_chunks_in_small_pieces(size: int) -> None:
    pieces = [TRANSCRIPT[place : place + size] for place in range(0, len(TRANSCRIPT), size)]

    assert chunks_of_bytes(*pieces) == TRANSLATED
