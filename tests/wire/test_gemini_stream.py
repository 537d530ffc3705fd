"""What Gemini's streams become: exact sequences of chunks."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import pytest

from service.errors import Interrupted, Malformed, Reason, UpstreamError
from service.providers.gemini import GEMINI
from service.providers.sse import SseEvent
from tests.support.json_form import json_of
from tests.wire.gemini_support import (
    FIRST,
    Json,
    call_of,
    candidate,
    chunks_of,
    merged,
    sse,
    steps_of,
    whole,
    with_whole_details,
)

CANARY = "c4n4ry"
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "cw=="}
CALL = {"functionCall": {"name": "f", "args": {"z": 1, "a": 2}}, "thoughtSignature": "c2ln"}


def event(*parts: Json, reason: str | None = None, **fields: Any) -> Json:
    """An event with one candidate; `fields` go beside the candidates."""
    return {"candidates": [candidate(*parts, reason=reason, index=0)], "responseId": "r1", **fields}


def step(finish_reason: str | None = None, **delta: Any) -> Json:
    return {"delta": delta, "finish_reason": finish_reason}


def own(**entry: Any) -> Json:
    return {"format": "gemini", **entry}


STOP = step("stop") | {"native_finish_reason": "STOP"}
CALLS = step("tool_calls") | {"native_finish_reason": "STOP"}
CALLED = {
    "index": 0,
    "id": "call_r1_0_0",
    "type": "function",
    "function": {"name": "f", "arguments": '{"z":1,"a":2}'},
    "extra_content": {"google": {"thought_signature": "c2ln"}},
}


def test_a_plain_stream_is_translated() -> None:
    counts = {"promptTokenCount": 5, "totalTokenCount": 5}
    last = {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6, "serviceTier": "flex"}

    steps = steps_of(
        event({"text": "Hel"}, usageMetadata=counts),
        event({"text": "lo"}, usageMetadata=counts),
        event({"text": ""}, reason="STOP", usageMetadata=last),
    )

    usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    assert steps == [FIRST, step(content="Hel"), step(content="lo"), STOP, {"usage": usage}]


def test_every_chunk_has_one_envelope() -> None:
    body = sse(
        event({"text": "a"}, createTime="2026-05-27T16:53:45Z"),
        event({"text": "b"}, reason="STOP", createTime="2026-05-27T16:53:46Z") | {"responseId": "other"},
    )

    envelopes = [(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks_of([body])]

    assert set(envelopes) == {("r1", 1_779_900_825, "public", "chat.completion.chunk")}


def test_a_stream_without_an_id_has_ours() -> None:
    (first, *_) = chunks_of([sse({"candidates": [candidate({"text": "a"})]})])

    assert (first.id, first.created) == ("chatcmpl-own", 1_700_000_000)


def test_a_call_is_one_fragment_and_an_empty_text_after_it_is_nothing() -> None:
    steps = steps_of(event(CALL), event({"text": ""}, reason="STOP"))

    assert steps == [FIRST, step(tool_calls=[CALLED]), CALLS]


def test_calls_of_all_events_are_counted() -> None:
    bare = {"functionCall": {"name": "g"}}

    steps = steps_of(event(CALL, bare), event(bare | {"functionCall": {"name": "h", "id": "theirs"}}, reason="STOP"))

    calls = [call for item in steps for call in item["delta"].get("tool_calls", [])]
    assert [(call["index"], call["id"], call["function"]["name"]) for call in calls] == [
        (0, "call_r1_0_0", "f"),
        (1, "call_r1_0_1", "g"),
        (2, "theirs", "h"),
    ]


def test_a_finish_that_comes_before_a_call_knows_of_it() -> None:
    steps = steps_of(event({"text": "a"}, reason="STOP"), event(CALL), event(reason="STOP"))

    assert steps[-1] == CALLS
    assert [item["finish_reason"] for item in steps[:-1]] == [None] * (len(steps) - 1)


def test_thoughts_come_in_pieces_of_one_block() -> None:
    def thought(text: str, **fields: Any) -> Json:
        return {"text": text, "thought": True, **fields}

    def detail(**fields: Any) -> list[Json]:
        return [{"type": "reasoning.text", **fields, "format": "google-gemini-v1", "index": fields.pop("index", 0)}]

    steps = steps_of(
        event(thought("a")),
        event(thought("b")),
        event(thought("", thoughtSignature="s")),
        event({"text": "x"}),
        event(thought("c"), reason="STOP"),
    )

    assert steps == [
        FIRST,
        step(reasoning_content="a", reasoning_details=detail(text="a")),
        step(reasoning_content="b", reasoning_details=detail(text="b")),
        step(reasoning_details=detail(signature="s")),
        step(content="x"),
        step(reasoning_content="c", reasoning_details=detail(text="c") and [{**detail(text="c")[0], "index": 1}]),
        STOP,
    ]


def test_entries_for_what_came_before_follow_when_they_are_needed() -> None:
    steps = steps_of(
        event({"text": "t", "thought": True}),
        event({"text": "é"}),
        event({"text": "b"}),
        event(CODE),
        event({"text": "c"}),
        event({"text": "", "thoughtSignature": "s"}, reason="STOP"),
    )

    entries = [item["delta"].get("provider_content") for item in steps]
    assert entries == [
        *(None, None, None, None),
        [own(reasoning_index=0), own(text_length=2), own(block=CODE)],
        None,
        [own(text_length=1), own(text_length=0, block={"thoughtSignature": "s"})],
        None,
    ]


def test_the_rest_of_the_text_is_told_at_the_end() -> None:
    steps = steps_of(event({"text": "a", "thoughtSignature": "s"}), event({"text": "bc"}), event(reason="STOP"))

    assert steps == [
        FIRST,
        step(content="a", provider_content=[own(text_length=1, block={"thoughtSignature": "s"})]),
        step(content="bc"),
        step(provider_content=[own(text_length=2)]),
        STOP,
    ]


def test_candidates_are_told_apart() -> None:
    chunks = chunks_of(
        [
            sse(
                {"candidates": [candidate({"text": "a"}, reason=None), candidate({"text": "b"}, reason=None, index=1)]},
                {"candidates": [candidate(CALL, index=1)]},
                {"candidates": [candidate({"text": "c"}, reason="MAX_TOKENS", index=0)]},
            )
        ]
    )

    choices = merged(chunks)
    assert [(choice["index"], choice["finish_reason"]) for choice in choices] == [(0, "length"), (1, "tool_calls")]
    assert [choice["message"]["content"] for choice in choices] == ["ac", "b"]


def test_log_probabilities_stand_beside_their_text() -> None:
    def piece(token: str, reason: str | None = None) -> Json:
        result = {"chosenCandidates": [{"token": token, "logProbability": -1}]}
        return {"candidates": [candidate({"text": token}, reason=reason, logprobsResult=result)], "responseId": "r1"}

    steps = steps_of(piece("a"), piece("b", "STOP"))

    assert [item.get("logprobs") for item in steps] == [
        None,
        {"content": [{"token": "a", "logprob": -1, "top_logprobs": []}]},
        {"content": [{"token": "b", "logprob": -1, "top_logprobs": []}]},
        None,
    ]


RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}]


def test_a_blocked_answer_is_a_finish() -> None:
    blocked = {"candidates": [{"finishReason": "SAFETY", "safetyRatings": RATINGS}], "responseId": "r1"}

    assert steps_of(event({"text": "a"}), blocked) == [
        FIRST,
        step(content="a"),
        step("content_filter")
        | {"native_finish_reason": "SAFETY", "content_filter_results": {"safety_ratings": RATINGS}},
    ]


def test_ratings_hold_until_others_come() -> None:
    rated = {"candidates": [candidate({"text": "a"}, reason=None, safetyRatings=RATINGS)], "responseId": "r1"}

    assert steps_of(rated, event(reason="SAFETY"))[-1]["content_filter_results"] == {"safety_ratings": RATINGS}


def test_a_choice_that_a_block_began_begins_once() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1"}

    assert steps_of(blocked, event({"text": "a"}, reason="STOP")) == [FIRST, step(content="a"), STOP]


def test_a_blocked_prompt_is_a_finish() -> None:
    feedback = {"blockReason": "SAFETY", "safetyRatings": RATINGS}
    usage = {"promptTokenCount": 3, "totalTokenCount": 3}

    assert steps_of({"promptFeedback": feedback, "usageMetadata": usage, "responseId": "r1"}) == [
        FIRST,
        step("content_filter")
        | {
            "native_finish_reason": "SAFETY",
            "content_filter_results": {"block_reason": "SAFETY", "safety_ratings": RATINGS},
        },
        {"usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}},
    ]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{"usageMetadata": {"promptTokenCount": 1}}],
        [event({"text": "a"})],
        [event({"text": "a"}, reason="STOP"), {"candidates": [candidate({"text": "b"}, reason=None, index=1)]}],
        [{"promptFeedback": {"safetyRatings": RATINGS}}],
    ],
)
def test_a_stream_without_every_finish_reason_is_interrupted(events: list[Json]) -> None:
    with pytest.raises(Interrupted) as raised:
        chunks_of([sse(*events)])

    assert raised.value.metadata == {"provider": "acme"}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("MALFORMED_FUNCTION_CALL", Malformed), ("OTHER", Interrupted), ("UNEXPECTED_TOOL_CALL", Malformed)],
)
def test_a_finish_that_is_a_failure_is_raised(reason: str, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind):
        chunks_of([sse(event({"text": "a"}), event(reason=reason))])


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": 503, "status": "UNAVAILABLE"}, Reason.UPSTREAM_UNAVAILABLE),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, Reason.UPSTREAM_RATE_LIMITED),
        ({"status": "INTERNAL"}, Reason.UPSTREAM_INTERRUPTED),
    ],
)
def test_an_error_amid_the_stream_is_raised(wrap: Any, error: Json, reason: Reason) -> None:
    with pytest.raises(UpstreamError) as raised:
        chunks_of([sse(event({"text": "a"}), wrap({"error": error | {"message": CANARY}}))])

    assert raised.value.reason is reason
    assert CANARY not in f"{raised.value}{raised.value!r}"


@pytest.mark.parametrize("data", [b"", b"{", b"[DONE]", b'{"candidates":5}', b"\xff", b"[" * 100_000])
def test_an_event_that_is_none_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        GEMINI.stream("acme", call_of()).translate(SseEvent("message", data))


def test_an_index_of_0_may_be_left_out() -> None:
    both = [candidate({"text": "b"}, index=1), candidate({"text": "a"})]

    choices = merged(chunks_of([sse({"candidates": both}, {"candidates": both})]))

    assert [choice["message"]["content"] for choice in choices] == ["aa", "bb"]


def test_two_candidates_of_one_number_are_malformed() -> None:
    with pytest.raises(Malformed):
        chunks_of([sse({"candidates": [candidate({"text": "a"}, index=1), candidate({"text": "b"}, index=1)]})])


def test_too_many_candidates_are_malformed() -> None:
    with pytest.raises(Malformed):
        chunks_of([sse({"candidates": [candidate({"text": "a"}, index=index) for index in range(129)]})])


def test_unknown_fields_do_not_disturb() -> None:
    odd = event({"text": "a"}, reason="STOP", newField={"x": 1})
    odd["candidates"][0] |= {"tokenCount": 3, "newField": [], "citationMetadata": {}, "groundingMetadata": {}}

    assert steps_of(odd, {"responseId": "r1", "modelStatus": {}}) == [FIRST, step(content="a"), STOP]


LONG = [
    event({"text": "Hm", "thought": True}),
    event({"text": "m", "thought": True, "thoughtSignature": "s0"}),
    event({"text": "Zür"}),
    event({"text": "ich ", "thoughtSignature": "s1"}, CODE),
    event({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, {"text": "😀"}),
    event(CALL, {"functionCall": {"name": "g"}}),
    event({"text": "", "thoughtSignature": "s2"}, usageMetadata={"promptTokenCount": 3, "totalTokenCount": 9}),
    event(reason="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 6, "totalTokenCount": 9}),
]


def test_chunks_do_not_depend_on_how_the_bytes_are_cut() -> None:
    body = sse(*LONG)
    expected = chunks_of([body])

    assert chunks_of(body[i : i + 1] for i in range(len(body))) == expected
    for place in range(len(body)):
        assert chunks_of([body[:place], body[place:]]) == expected


def test_a_cut_at_any_event_is_noticed() -> None:
    for count in range(len(LONG)):
        with pytest.raises(Interrupted):
            chunks_of([sse(*LONG[:count])])


def test_a_stream_says_what_the_whole_answer_says() -> None:
    parts = [part for item in LONG for part in item["candidates"][0].get("content", {}).get("parts", [])]
    usage = LONG[-1]["usageMetadata"]

    answer = whole({"candidates": [candidate(*parts, index=0)], "responseId": "r1", "usageMetadata": usage})
    chunks = chunks_of([sse(*LONG)])

    (streamed,) = merged(chunks)
    assert with_whole_details(streamed) == answer["choices"][0]
    assert json_of(chunks[-1])["usage"] == answer["usage"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, item in inner for place in _places(item, (*path, key))]


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], by)
    return copy


GROUNDED = event(
    {"text": "é"},
    reason="STOP",
) | {"promptFeedback": {"safetyRatings": RATINGS}}
GROUNDED["candidates"][0] |= {
    "safetyRatings": RATINGS,
    "citationMetadata": {"citations": [{"uri": "u", "endIndex": 1}]},
    "urlContextMetadata": {"urlMetadata": []},
    "logprobsResult": {"chosenCandidates": [{"token": "a"}], "topCandidates": [{"candidates": [{"token": "a"}]}]},
    "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 2}, "groundingChunkIndices": [0]}],
    },
}


@pytest.mark.parametrize("odd", [None, True, -1, 2**70, 0.5, "odd", [], [[]], [None], {}, {"text": {}}])
def test_no_form_of_an_event_is_more_than_malformed(odd: Any) -> None:
    events = [*LONG[:-1], GROUNDED]
    for number, item in enumerate(events):
        for place in _places(item):
            changed = [*events[:number], _replaced(item, place, odd), *events[number + 1 :]]
            with contextlib.suppress(UpstreamError):
                chunks_of([sse(*changed)])


def _kept_bytes(events: list[SseEvent], count: int) -> int:
    """Memory that a translator keeps after so many events."""
    translator = GEMINI.stream("acme", call_of())
    tracemalloc.start()
    for number in range(count):
        translator.translate(events[number % len(events)])
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return kept


def test_memory_does_not_grow_with_the_stream() -> None:
    pieces = [{"text": "some thought", "thought": True}] * 50 + [{"text": "some text"}] * 50
    events = [SseEvent("message", sse(event(piece, usageMetadata={"promptTokenCount": 1}))[6:-4]) for piece in pieces]
    thoughts, texts = events[:50], events[50:]

    for kind in (thoughts, texts):
        _kept_bytes(kind, 100)
        # 19,000 pieces of text kept would be 171,000 bytes or more; what pytest itself keeps is a few thousand.
        assert _kept_bytes(kind, 20_000) - _kept_bytes(kind, 1_000) < 65_536
