"""What Gemini's whole answers become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import Auth, Interrupted, Malformed, Reason, Rejected, UpstreamError
from tests.wire.gemini_support import Json, answer_of, candidate, choice_of, message_of, whole

CANARY = "c4n4ry"
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)", "id": "x"}, "thoughtSignature": "cw=="}
OUTPUT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n", "id": "x"}}


def call(name: str = "f", args: Json | None = None, **fields: Any) -> Json:
    return {"functionCall": {"name": name, "args": args or {}}, **fields}


def own(**entry: Any) -> Json:
    return {"format": "gemini", **entry}


def test_a_plain_answer_is_translated() -> None:
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}

    assert whole(answer_of(candidate({"text": "Hello"}), usageMetadata=usage)) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "public",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


@pytest.mark.parametrize(
    ("told", "created"),
    [
        ("2026-05-27T16:53:45.443719Z", 1_779_900_825),
        ("2026-05-27T16:53:45.443719123Z", 1_779_900_825),
        ("2026-05-27T16:53:45", 1_700_000_000),
        ("today", 1_700_000_000),
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01T00:00:00Z", 1_700_000_000),
        ("1969-12-31T23:59:59Z", 1_700_000_000),
        ("2106-02-07T06:28:15Z", 2**32 - 1),
        ("2106-02-07T06:28:16Z", 1_700_000_000),
    ],
)
def test_the_time_is_the_providers_where_it_tells_one(told: str, created: int) -> None:
    assert whole(answer_of(candidate({"text": "a"}), createTime=told))["created"] == created


def test_an_id_is_made_where_there_is_none() -> None:
    completion = whole({"candidates": [candidate(call())]})

    assert completion["id"] == "chatcmpl-own"
    assert completion["choices"][0]["message"]["tool_calls"][0]["id"] == "call_chatcmpl-own_0_0"


def test_candidates_become_choices_by_their_index() -> None:
    told = whole(answer_of(candidate(call(), index=1), candidate({"text": "a"}, index=0), candidate(index=2)))

    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]
    assert told["choices"][0]["message"]["content"] == "a"
    assert told["choices"][1]["message"]["tool_calls"][0]["id"] == "call_r1_1_0"
    assert told["choices"][2]["message"] == {"role": "assistant"}


def test_candidates_without_an_index_are_counted() -> None:
    told = whole(answer_of(candidate({"text": "a"}), candidate({"text": "b"})))

    assert [(choice["index"], choice["message"]["content"]) for choice in told["choices"]] == [(0, "a"), (1, "b")]


def test_an_index_of_0_may_be_left_out() -> None:
    told = whole(answer_of(candidate({"text": "a"}, index=1), candidate({"text": "b"})))

    assert [(choice["index"], choice["message"]["content"]) for choice in told["choices"]] == [(0, "b"), (1, "a")]


def test_calls_are_translated() -> None:
    first = call("f", {"z": 1.0, "a": ["ü"]}, thoughtSignature="c2ln")
    second = {"functionCall": {"id": "theirs", "name": "g"}}

    choice = choice_of({"text": "So."}, first, second)

    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("tool_calls", "STOP")
    assert choice["message"] == {
        "role": "assistant",
        "content": "So.",
        "tool_calls": [
            {
                "id": "call_r1_0_0",
                "type": "function",
                "function": {"name": "f", "arguments": json.dumps({"z": 1.0, "a": ["ü"]}, separators=(",", ":"))},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            },
            {"id": "theirs", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_arguments_keep_their_numbers_and_their_order() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{\n "z": 1.0,\n "a":12345678901234567890}}}]},"finishReason":"STOP"}]}'

    (made,) = whole(body)["choices"][0]["message"]["tool_calls"]

    assert json.loads(made["function"]["arguments"]) == {"z": 1.0, "a": 12345678901234567890}
    assert made["function"]["arguments"].startswith('{"z":1.0,')


def detail(index: int, **fields: Any) -> Json:
    return {"type": "reasoning.text", **fields, "format": "google-gemini-v1", "index": index}


@pytest.mark.parametrize(
    ("parts", "reasoning", "details"),
    [
        ([{"text": "a", "thought": True}, {"text": "b", "thought": True}, {"text": "c"}], "ab", [detail(0, text="ab")]),
        (
            [{"text": "a", "thought": True}, {"text": "c"}, {"text": "b", "thought": True}],
            "ab",
            [detail(0, text="a"), detail(1, text="b")],
        ),
        (
            [{"text": "a", "thought": True, "thoughtSignature": "s"}, {"text": "b", "thought": True}, {"text": "c"}],
            "ab",
            [detail(0, text="a", signature="s"), detail(1, text="b")],
        ),
        (
            [{"text": "", "thought": True, "thoughtSignature": "s"}, {"text": "c"}],
            None,
            [detail(0, signature="s")],
        ),
        ([{"text": "", "thought": True}, {"text": "c", "thought": False}], None, None),
        (
            [{"text": "a", "thought": True, "partMetadata": {"k": "v"}, "thoughtSignature": None}, {"text": "c"}],
            "a",
            [detail(0, text="a")],
        ),
    ],
)
def test_thoughts_are_reasoning(parts: list[Json], reasoning: str | None, details: list[Json] | None) -> None:
    message = message_of(*parts)

    assert message.pop("reasoning_content", None) == reasoning
    assert message.pop("reasoning_details", None) == details
    assert message == {"role": "assistant", "content": "c"}


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}}


@pytest.mark.parametrize(
    ("parts", "content", "entries"),
    [
        ([{"text": "a"}, {"text": ""}], "a", None),
        ([{"text": ""}], None, None),
        (
            [{"text": "é"}, {"text": "bc", "thoughtSignature": "s"}, {"text": "d"}, {"text": "e"}],
            "ébcde",
            [own(text_length=1), own(text_length=2, block={"thoughtSignature": "s"}), own(text_length=2)],
        ),
        (
            [{"text": "a"}, {"text": "", "thoughtSignature": "s"}],
            "a",
            [own(text_length=1), own(text_length=0, block={"thoughtSignature": "s"})],
        ),
        (
            [{"text": "a"}, CODE, OUTPUT, {"text": "b"}],
            "ab",
            [own(text_length=1), own(block=CODE), own(block=OUTPUT), own(text_length=1)],
        ),
        ([IMAGE], None, [own(block=IMAGE)]),
        ([{"somethingNew": {"x": [1, None]}}], None, [own(block={"somethingNew": {"x": [1, None]}})]),
        ([{}], None, None),
        (
            [{"text": "t", "thought": True}, CODE, call()],
            None,
            [own(reasoning_index=0), own(block=CODE), own(tool_call_id="call_r1_0_0")],
        ),
        (  # an order that no caller would guess
            [call(), {"text": "a"}],
            "a",
            [own(tool_call_id="call_r1_0_0"), own(text_length=1)],
        ),
        (
            [{"text": "a"}, {"text": "t", "thought": True, "thoughtSignature": "s"}],
            "a",
            [own(text_length=1), own(reasoning_index=0)],
        ),
        (
            [call(), {"text": "t", "thought": True, "thoughtSignature": "s"}],
            None,
            [own(tool_call_id="call_r1_0_0"), own(reasoning_index=0)],
        ),
        (
            [call(partMetadata={"k": "v"})],
            None,
            [own(tool_call_id="call_r1_0_0", block={"partMetadata": {"k": "v"}})],
        ),
    ],
)
def test_what_has_to_go_back_stands_in_provider_content(
    parts: list[Json], content: str | None, entries: list[Json] | None
) -> None:
    message = message_of(*parts)

    assert message.get("content") == content
    assert message.get("provider_content") == entries


def test_a_call_ends_a_thought() -> None:
    message = message_of({"text": "a", "thought": True}, call(), {"text": "b", "thought": True})

    assert message["reasoning_details"] == [detail(0, text="a"), detail(1, text="b")]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([{"text": "a", "thought": None, "thoughtSignature": None, "functionCall": None}], {"content": "a"}),
        ([{"text": None, "thought": True}], {}),
        ([{"text": None, "inlineData": IMAGE["inlineData"]}], {"provider_content": [own(block=IMAGE)]}),
        ([{"newPart": None}], {}),
    ],
)
def test_a_null_is_as_good_as_nothing(parts: list[Json], told: Json) -> None:
    assert message_of(*parts) == {"role": "assistant"} | told


def test_a_call_may_have_nulls() -> None:
    (made,) = message_of({"functionCall": {"name": "f", "args": None, "id": None}, "thoughtSignature": None})[
        "tool_calls"
    ]

    assert made == {"id": "call_r1_0_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 18},
            {
                "prompt_tokens": 15,
                "completion_tokens": 3,
                "total_tokens": 18,
                "prompt_tokens_details": {"tool_use_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 4,
                "cachedContentTokenCount": 6,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 1},
                    {"modality": "AUDIO", "tokenCount": 2},
                    {"modality": "VIDEO", "tokenCount": 3},
                    {"modality": "IMAGE"},
                    {"modality": "DOCUMENT", "tokenCount": 4},
                ],
                "candidatesTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 4},
                    {"modality": "VIDEO", "tokenCount": 1},
                    {"modality": "NEW", "tokenCount": 1},
                ],
            },
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 14,
                "prompt_tokens_details": {
                    "cached_tokens": 6,
                    "text_tokens": 1,
                    "audio_tokens": 2,
                    "video_tokens": 3,
                    "image_tokens": 0,
                },
                "completion_tokens_details": {"image_tokens": 4},
            },
        ),
        ({"trafficType": "ON_DEMAND"}, None),
        (None, None),
    ],
)
def test_usage_counts_everything_once(usage: Json | None, told: Json | None) -> None:
    fields = {} if usage is None else {"usageMetadata": usage}

    assert whole(answer_of(candidate({"text": "a"}), **fields)).get("usage") == told


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        ({"serviceTier": "standard"}, "standard"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, None),
        ({"trafficType": "ON_DEMAND_OFFPEAK"}, "offpeak"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
    ],
)
def test_the_tier_is_told(usage: Json, tier: str | None) -> None:
    assert whole(answer_of(candidate({"text": "a"}), usageMetadata=usage)).get("service_tier") == tier


def test_log_probabilities_are_translated() -> None:
    result = {
        "chosenCandidates": [{"token": "a", "tokenId": 1, "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "c"}]}, {}],
    }

    choice = choice_of({"text": "ab"}, logprobsResult=result, avgLogprobs=-0.2)

    assert choice["logprobs"] == {
        "content": [
            {
                "token": "a",
                "logprob": -0.5,
                "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "c", "logprob": 0}],
            },
            {"token": "b", "logprob": 0, "top_logprobs": []},
        ]
    }


@pytest.mark.parametrize(
    ("reason", "parts", "told"),
    [
        ("STOP", [{"text": "a"}], "stop"),
        ("STOP", [call()], "tool_calls"),
        ("MAX_TOKENS", [{"text": "a"}], "length"),
        ("MAX_TOKENS", [call()], "length"),
        ("CONTINUATION", [{"text": "a"}], "length"),
        ("UNEXPECTED_TOOL_CALL", [call()], "tool_calls"),
        *(
            (reason, [], "content_filter")
            for reason in (
                *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
                *("ESCALATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
            )
        ),
        ("SAFETY", [call()], "content_filter"),
    ],
)
def test_finish_reasons_are_translated(reason: str, parts: list[Json], told: str) -> None:
    choice = choice_of(*parts, reason=reason)

    assert (choice["finish_reason"], choice["native_finish_reason"]) == (told, reason)


@pytest.mark.parametrize("reason", ["NO_IMAGE", "TOO_MANY_TOOL_CALLS", "SOMETHING_NEW"])
def test_other_finish_reasons_go_by_their_name(reason: str) -> None:
    choice = choice_of({"text": "a"}, reason=reason)

    assert choice["finish_reason"] == reason
    assert "native_finish_reason" not in choice


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", Malformed),
        ("MALFORMED_RESPONSE", Malformed),
        ("UNEXPECTED_TOOL_CALL", Malformed),
        ("OTHER", Interrupted),
        ("IMAGE_OTHER", Interrupted),
        ("FINISH_REASON_UNSPECIFIED", Interrupted),
        (None, Interrupted),
        ("MISSING_THOUGHT_SIGNATURE", Rejected),
        ("PUP_LIMITED_DISABLED", Auth),
        (f"no name {CANARY}", Malformed),
    ],
)
def test_finish_reasons_that_are_failures(reason: str | None, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as raised:
        whole(answer_of(candidate({"text": CANARY}, reason=reason, finishMessage=CANARY)))

    assert raised.value.metadata == {"provider": "acme"}
    assert CANARY not in f"{raised.value}{raised.value!r}"


RATINGS = [{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "LOW", "blocked": True}]


def test_ratings_are_told_where_something_was_blocked() -> None:
    blocked = choice_of(reason="SAFETY", content={}, safetyRatings=RATINGS)
    let_pass = choice_of({"text": "a"}, safetyRatings=[{"category": "X", "probability": "LOW"}])

    assert blocked["message"] == {"role": "assistant"}
    assert blocked["content_filter_results"] == {"safety_ratings": RATINGS}
    assert "content_filter_results" not in let_pass


def test_ratings_of_what_was_blocked_are_told_whatever_the_finish() -> None:
    choice = choice_of({"text": "a"}, safetyRatings=RATINGS)

    assert (choice["finish_reason"], choice["content_filter_results"]) == ("stop", {"safety_ratings": RATINGS})


@pytest.mark.parametrize("empty", [{}, {"candidates": []}])
def test_a_blocked_prompt_is_a_choice_without_content(empty: Json) -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": CANARY, "safetyRatings": RATINGS}
    usage = {"promptTokenCount": 4, "totalTokenCount": 4}

    told = whole({**empty, "promptFeedback": feedback, "responseId": "r1", "usageMetadata": usage})

    assert told["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant"},
            "finish_reason": "content_filter",
            "native_finish_reason": "PROHIBITED_CONTENT",
            "content_filter_results": {"block_reason": "PROHIBITED_CONTENT", "safety_ratings": RATINGS},
        }
    ]
    assert told["usage"]["prompt_tokens"] == 4


def deep(levels: int) -> Json:
    value: Json = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>" + CANARY.encode(),
        b"[]",
        b"\xff",
        b"[" * 100_000,
        {},
        {"candidates": []},
        {"promptFeedback": {"safetyRatings": RATINGS}},
        {"candidates": [{"content": {"parts": "x"}}]},
        answer_of(candidate({"text": 5})),
        answer_of(candidate({"text": "a", "thought": "yes"})),
        answer_of(candidate({"functionCall": {"args": {}}})),
        answer_of(candidate({"functionCall": {"name": "f", "args": [1]}})),
        answer_of(candidate({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}]}})),
        answer_of(candidate({"text": "a"}, index=0), candidate({"text": "b"}, index=0)),
        answer_of(candidate({"text": "a"}), candidate({"text": "b"}, index=0)),
        answer_of(candidate({"text": "a"}, groundingMetadata={"groundingChunks": [None]})),
        answer_of(candidate({"newPart": deep(50)})),
        answer_of(candidate({"newPart": {"a": 10**400}})),
        answer_of(candidate({"text": "a"}), usageMetadata={"promptTokenCount": -1}),
    ],
)
def test_what_is_no_answer_is_malformed(answer: Any) -> None:
    with pytest.raises(Malformed) as raised:
        whole(answer)

    assert raised.value.metadata == {"provider": "acme"}
    assert CANARY not in f"{raised.value}{raised.value!r}"


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: [error]])
def test_an_error_within_an_answer_is_raised(wrap: Any) -> None:
    with pytest.raises(UpstreamError) as raised:
        whole(wrap({"error": {"code": 503, "status": "UNAVAILABLE", "message": CANARY}}))

    assert raised.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert CANARY not in f"{raised.value}{raised.value!r}"
