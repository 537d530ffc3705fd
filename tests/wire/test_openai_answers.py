"""What single APIs answer beyond OpenAI's form, whole and in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.errors import UpstreamError
from service.json_values import object_to_json
from service.providers.openai.dialects import DIALECTS
from service.providers.openai.origin import Origin
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.sse import SseEvent
from tests.support.openai_asking import IDENTITY

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def origin(name: str = "generic", *stops: str) -> Origin:
    return Origin("acme", IDENTITY, DIALECTS[name], frozenset(stops))


def whole(answer: dict[str, Any], origin_: Origin) -> dict[str, Any]:
    """Choice 0, usage and moderation of a whole answer."""
    completion = translate_completion(json.dumps(answer).encode(), origin_)
    choice = completion.choices[0]
    return {
        "content": choice.message.content,
        "annotations": [object_to_json(entry) for entry in choice.message.annotations],
        "provider_content": [object_to_json(entry) for entry in choice.message.provider_content],
        "finish": (choice.finish_reason, choice.native_finish_reason, choice.stop_sequence),
        "usage": MessageToDict(completion.usage, preserving_proto_field_name=True),
        "moderation": object_to_json(completion.moderation),
    }


def streamed(events: list[dict[str, Any]], origin_: Origin) -> dict[str, Any]:
    """As `whole`, of a stream whose chunks are put together."""
    chunks = chunks_of(events, origin_)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    last = next(choice for choice in choices if choice.finish_reason.string_value)
    return {
        "content": "".join(choice.delta.content for choice in choices),
        "annotations": [object_to_json(entry) for choice in choices for entry in choice.delta.annotations],
        "provider_content": [object_to_json(entry) for choice in choices for entry in choice.delta.provider_content],
        "finish": (last.finish_reason.string_value, last.native_finish_reason, last.stop_sequence),
        "usage": MessageToDict(chunks[-1].usage, preserving_proto_field_name=True),
        "moderation": next((object_to_json(chunk.moderation) for chunk in chunks if chunk.HasField("moderation")), {}),
    }


def chunks_of(events: list[dict[str, Any]], origin_: Origin) -> list[ChatCompletionChunk]:
    translator = StreamTranslator(origin_)
    chunks = [
        chunk for event in events for chunk in translator.translate(SseEvent("message", json.dumps(event).encode()))
    ]
    return chunks + translator.translate(SseEvent("message", b"[DONE]")) + translator.finish()


def answer(message: Any = "Hi", finish: Any = "stop", usage: Any = None, **rest: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": message} if not isinstance(message, dict) else message
    choice = {"index": 0, "message": message, "finish_reason": finish, **rest.pop("choice", {})}
    return {"id": "c", "created": 5, "choices": [choice], "usage": usage or USAGE, **rest}


def piece(delta: Any = None, finish: Any = None, **rest: Any) -> dict[str, Any]:
    delta = {"content": delta} if isinstance(delta, str) else delta or {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **rest.pop("choice", {})}
    return {"id": "c", "created": 5, "choices": [choice], **rest}


COUNTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("openrouter", {"cost": 0.95, "is_byok": False}, {"cost_usd": 0.95}),
    ("openrouter", {"cost": 0}, {"cost_usd": 0.0}),
    ("openrouter", {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, {"cost_usd": 1.05}),
    ("openrouter", {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, {}),
    ("openrouter", {"cost": "0.05"}, {}),
    ("openrouter", {"cost": True}, {}),
    ("openrouter", {"cost": -1}, {}),
    ("generic", {"cost": 0.95}, {}),
    ("generic", {"cost": {"total_cost": 0.95, "currency": "USD"}}, {}),
    ("xai", {"cost_in_usd_ticks": 318_319_000}, {"cost_usd": 0.0318319}),
    ("xai", {"cost_in_usd_ticks": "many"}, {}),
    ("deepseek", {"prompt_cache_hit_tokens": 5}, {"prompt_tokens_details": {"cached_tokens": 5}}),
    ("mistral", {"num_cached_tokens": 5}, {"prompt_tokens_details": {"cached_tokens": 5}}),
    ("together", {"cached_tokens": 5}, {"prompt_tokens_details": {"cached_tokens": 5}}),
    (
        "mistral",
        {"num_cached_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens_details": {"cached_tokens": 6}},
    ),
    ("openrouter", {"prompt_tokens_details": {"video_tokens": 4}}, {"prompt_tokens_details": {"video_tokens": 4}}),
    (
        "openrouter",
        {"server_tool_use_details": {"web_search_requests": 1, "tool_calls_executed": 0, "x": None}},
        {"server_tool_use": {"web_search_requests": 1}},
    ),
    (
        "xai",
        {"num_sources_used": 3, "server_side_tool_usage_details": {"x_search_calls": 2, "mcp_calls": 0}},
        {"server_tool_use": {"num_sources_used": 3, "x_search_calls": 2}},
    ),
    (  # reasoning counted apart from the completion, as the total shows
        "xai",
        {"total_tokens": 62, "completion_tokens_details": {"reasoning_tokens": 50}},
        {"completion_tokens": 53, "total_tokens": 62, "completion_tokens_details": {"reasoning_tokens": 50}},
    ),
    (
        "openai",
        {"completion_tokens_details": {"reasoning_tokens": 2}},
        {"completion_tokens_details": {"reasoning_tokens": 2}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "told"), COUNTED)
def test_usage_and_cost_are_told_as_each_api_counts_them(name: str, given: Any, told: dict[str, Any]) -> None:
    usage = USAGE | given

    assert whole(answer(usage=usage), origin(name))["usage"] == USAGE | told
    assert streamed([piece("Hi", "stop"), {"choices": [], "usage": usage}], origin(name))["usage"] == USAGE | told


ENDED: list[tuple[str, dict[str, Any], tuple[str, str, str]]] = [
    ("stop", {}, ("stop", "", "")),
    ("stop", {"native_finish_reason": "stop"}, ("stop", "", "")),
    ("stop", {"native_finish_reason": "end_turn"}, ("stop", "end_turn", "")),
    ("length", {"native_finish_reason": "MAX_TOKENS"}, ("length", "MAX_TOKENS", "")),
    ("stop", {"native_finish_reason": "c4n4ry with spaces"}, ("stop", "", "")),
    ("stop", {"native_finish_reason": 5}, ("stop", "", "")),
    ("model_length", {}, ("length", "model_length", "")),
    ("eos", {"native_finish_reason": None}, ("stop", "eos", "")),
    ("sensitive", {}, ("content_filter", "sensitive", "")),
    ("recitation", {}, ("recitation", "", "")),
    ("stop", {"stop_reason": "END"}, ("stop", "", "END")),
    ("stop", {"matched_stop": "END"}, ("stop", "", "END")),
    ("stop", {"stop_reason": "end_turn"}, ("stop", "", "")),
    ("stop", {"stop_reason": 154827}, ("stop", "", "")),
    ("stop", {"stop_reason": None}, ("stop", "", "")),
]


@pytest.mark.parametrize(("reason", "choice", "told"), ENDED)
def test_how_an_answer_ended_is_told_in_both_words(reason: str, choice: dict[str, Any], told: Any) -> None:
    asked = origin("generic", "END", "STOP")

    assert whole(answer(finish=reason, choice=choice), asked)["finish"] == told
    assert streamed([piece("Hi"), piece(finish=reason, choice=choice)], asked)["finish"] == told


RUN = {
    "index": 0,
    "type": "search",
    "arguments": '{"query": "x"}',
    "output": "found",
    "search_results": {"results": []},
}
BEGUN = {name: value for name, value in RUN.items() if name != "output"}


def test_groqs_tool_runs_are_told_once_with_their_results() -> None:
    other = RUN | {"index": 1, "type": "visit"}
    expected = [{"format": "groq", "block": RUN}, {"format": "groq", "block": other}]
    message = {"role": "assistant", "content": "Hi", "executed_tools": [RUN, other]}
    events = [
        piece({"executed_tools": [BEGUN]}),
        piece({"executed_tools": [RUN, BEGUN | {"index": 1, "type": "visit"}]}),
        piece("Hi"),
        piece({"executed_tools": [other]}),
        piece(finish="stop"),
    ]

    assert whole(answer(message), origin("groq"))["provider_content"] == expected
    assert streamed(events, origin("groq"))["provider_content"] == expected


def test_a_tool_run_without_results_is_told_at_the_end() -> None:
    events = [piece({"executed_tools": [BEGUN]}), piece("Hi", "stop")]
    *_, run, finish = chunks_of(events, origin("groq"))

    assert streamed(events, origin("groq"))["provider_content"] == [{"format": "groq", "block": BEGUN}]
    assert not run.choices[0].finish_reason.string_value
    assert finish.choices[0].finish_reason.string_value == "stop"


def cited(url: str, title: str | None = None) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": url} | ({"title": title} if title else {})}


SOURCES: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"citations": ["https://a", "https://b", "https://a"]}, [cited("https://a"), cited("https://b")]),
    (
        {"citations": ["https://a"], "search_results": [{"url": "https://a", "title": "A"}, {"url": "https://b"}]},
        [cited("https://a", "A")],
    ),
    ({"search_results": [{"url": "https://a", "title": "A"}]}, [cited("https://a", "A")]),
    ({"web_search": [{"link": "https://a", "title": "A", "refer": "ref_1"}]}, [cited("https://a", "A")]),
    ({"citations": [], "search_results": None, "web_search": [5, {"link": 6}]}, []),
    ({"citations": {"a": 1}, "web_search": "x"}, []),
]


@pytest.mark.parametrize(("given", "told"), SOURCES)
def test_sources_beside_the_message_become_annotations(given: dict[str, Any], told: list[Any]) -> None:
    repeated = [piece("Hi", **given), piece("!", **given), piece(finish="stop", **given)]
    late = [piece("Hi"), piece(finish="stop"), {"choices": [], "usage": USAGE, **given}]

    assert whole(answer(**given), origin())["annotations"] == told
    assert streamed(repeated, origin())["annotations"] == told
    assert streamed(late, origin())["annotations"] == told


@pytest.mark.parametrize(
    "event",
    [
        {"citations": [f"https://a/{number}" for number in range(600)]},
        {"executed_tools": [BEGUN | {"index": number} for number in range(100)]},
    ],
    ids=["sources", "tool runs"],
)
def test_what_is_kept_of_a_stream_has_a_limit(event: dict[str, Any]) -> None:
    """Twice as much is too much."""
    other = json.loads(json.dumps(event).replace("https://a", "https://b").replace('"index": ', '"index": 1'))
    pieces = [piece("Hi", **each) if "citations" in each else piece(each) for each in (event, other)]

    assert chunks_of([piece("Hi"), pieces[0], piece(finish="stop")], origin())
    with pytest.raises(UpstreamError) as raised:
        chunks_of([piece("Hi"), *pieces], origin())
    assert raised.value.reason.name == "UPSTREAM_MALFORMED"


def test_sources_come_after_the_messages_own_annotations() -> None:
    own = cited("https://own", "Own")
    message = {"role": "assistant", "content": "Hi", "annotations": [own]}

    assert whole(answer(message, citations=["https://a"]), origin())["annotations"] == [own, cited("https://a")]


def test_mistrals_references_tell_where_their_text_ends() -> None:
    first = [{"type": "text", "text": "Paris 🇫🇷"}, {"type": "reference", "reference_ids": [1, 2]}]
    second = [{"type": "text", "text": "."}, {"type": "reference", "reference_ids": ["x"]}]
    told = [
        {"type": "reference", "reference_ids": [1, 2], "end_index": 8},
        {"type": "reference", "reference_ids": ["x"], "end_index": 9},
    ]
    message = {"role": "assistant", "content": [*first, *second]}
    in_pieces = [piece({"content": first}), piece({"content": second}), piece(finish="stop")]

    for said in (whole(answer(message), origin("mistral")), streamed(in_pieces, origin("mistral"))):
        assert (said["content"], said["annotations"]) == ("Paris 🇫🇷.", told)


def test_azures_results_about_the_prompt_are_told_with_the_answer() -> None:
    results = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]
    before = {"id": "", "created": 0, "choices": [], "prompt_filter_results": results}
    events = [before, piece("Hi"), piece(finish="stop")]

    assert whole(answer(prompt_filter_results=results), origin("azure"))["moderation"] == {
        "prompt_filter_results": results
    }
    assert streamed(events, origin("azure"))["moderation"] == {"prompt_filter_results": results}
    assert all(chunk.choices or chunk.HasField("usage") for chunk in chunks_of(events, origin("azure")))


FAILED_MIDWAY: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"object": "error", "message": "c4n4ry", "type": "BadRequestError", "code": 400}, "UPSTREAM_REJECTED"),
    ("vllm", {"error": {"message": "c4n4ry", "type": "InternalServerError", "code": 500}}, "UPSTREAM_UNAVAILABLE"),
    ("mistral", {"object": "error", "message": "c4n4ry", "type": "server_error", "code": "3000"}, "UPSTREAM_INTERRUPTED"),
    ("huggingface", {"error": "c4n4ry", "error_type": "generation"}, "UPSTREAM_INTERRUPTED"),
    ("ollama", {"error": "c4n4ry"}, "UPSTREAM_INTERRUPTED"),
    ("zai", {"error": {"code": "1301", "message": "c4n4ry"}}, "CONTENT_FILTERED"),
    ("zai", {"choices": [{"index": 0, "delta": {}, "finish_reason": "network_error"}]}, "UPSTREAM_INTERRUPTED"),
    ("openrouter", {"id": "c", "error": {"code": "server_error", "message": "c4n4ry"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}, "UPSTREAM_INTERRUPTED"),
    ("openrouter", {"id": "c", "error": {"code": 429, "message": "c4n4ry"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}, "UPSTREAM_RATE_LIMITED"),
    ("groq", {"x_groq": {"id": "r", "error": "c4n4ry"}, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "UPSTREAM_INTERRUPTED"),
    ("groq", {"x_groq": {"error": "over the maximum context length c4n4ry"}}, "CONTEXT_LENGTH_EXCEEDED"),
    ("groq", {"x_groq": {"error": {"message": "c4n4ry", "status_code": 503}}}, "UPSTREAM_UNAVAILABLE"),
    ("generic", {"error": "This model's maximum context length is 4096 tokens. c4n4ry"}, "CONTEXT_LENGTH_EXCEEDED"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "event", "reason"), FAILED_MIDWAY)
def test_a_failure_within_a_stream_or_an_answer_ends_it(name: str, event: dict[str, Any], reason: str) -> None:
    with pytest.raises(UpstreamError) as in_stream:
        chunks_of([piece("Hi"), event], origin(name))

    assert in_stream.value.reason.name == reason
    assert "c4n4ry" not in f"{in_stream.value} {in_stream.value!r} {in_stream.value.metadata}"
    if "choices" not in event:
        with pytest.raises(UpstreamError) as in_answer:
            whole(event, origin(name))
        assert in_answer.value.reason is in_stream.value.reason


def test_chunks_of_many_forms_are_read() -> None:
    """The usage beside choices (Together), times (Cerebras), role and index in every delta, padding (OpenAI)."""
    events = [
        piece({"role": "assistant", "content": "", "token_id": 5}, obfuscation="x"),
        piece({"role": "assistant", "content": "Hi"}, time_info={"queue_time": 0.1}, usage=None),
        piece({"content": ""}, "eos", usage=USAGE, warnings=[], choice={"seed": 2**60, "text": ""}),
    ]

    said = streamed(events, origin("together"))
    assert (said["content"], said["finish"], said["usage"]) == ("Hi", ("stop", "eos", ""), USAGE)


def test_thoughts_between_tags_stay_in_the_text() -> None:
    text = "<think>\n2+2\n</think>\n\n4"

    assert whole(answer(text), origin("huggingface"))["content"] == text
    assert streamed([piece("<think>\n2+2\n</"), piece("think>\n\n4", "stop")], origin("huggingface"))["content"] == text
