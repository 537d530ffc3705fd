"""Real answers of the Gemini API and of Vertex AI, all of them, as they were recorded."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from service.errors import Interrupted, Reason
from service.providers.gemini import GEMINI
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings
from tests.wire.gemini_support import OLD, USER, Json, call_of, chunks_of, contents, merged, whole

require_recordings()

GEMINI_ONES = [interaction for interaction in INTERACTIONS.values() if interaction.protocol == "gemini"]
ANSWERS = [interaction for interaction in GEMINI_ONES if interaction.status == 200]
STREAMS = [pytest.param(interaction, id=interaction.id) for interaction in ANSWERS if interaction.is_stream]
ALL = [pytest.param(interaction, id=interaction.id) for interaction in ANSWERS]

ERRORS = {
    "google/test_model_name_suggestions-test_model_name_suggestion-google": Reason.UPSTREAM_MODEL_NOT_FOUND,
    "google-vertex/test_model_sees_multiple_images-google_vertex": Reason.UPSTREAM_REJECTED,
    "google-vertex/test_multimodal_tool_return_matrix-direct-url-image-google_vertex": Reason.UPSTREAM_REJECTED,
}


def choice_of(interaction: Interaction) -> Json:
    body = interaction.answer.encode()
    (choice,) = merged(chunks_of([body])) if interaction.is_stream else whole(body)["choices"]
    assert isinstance(choice, dict)
    return choice


def raw_parts(interaction: Interaction) -> list[Json]:
    answers = interaction.events() if interaction.is_stream else [interaction.whole()]
    candidates = [item for answer in answers for item in answer.get("candidates", [])]
    return [part for item in candidates for part in (item.get("content") or {}).get("parts", [])]


def test_there_are_recordings_of_every_kind() -> None:
    assert len(GEMINI_ONES) >= 57
    assert len(STREAMS) >= 7
    assert {interaction.recording for interaction in GEMINI_ONES if interaction.status != 200} == set(ERRORS)


@pytest.mark.parametrize(("name", "reason"), ERRORS.items())
def test_failures_are_classified(name: str, reason: Reason) -> None:
    (failed,) = [item for item in GEMINI_ONES if item.recording == name and item.status != 200]

    error = GEMINI.error("acme", failed.status, failed.answer.encode(), failed.headers.get)

    assert error.reason is reason
    told = json.loads(failed.answer)["error"]["message"]
    assert not any(word in str(error) for word in re.findall(r"\w{8,}", told) if word != "provider")


@pytest.mark.parametrize("interaction", ALL)
def test_everything_is_said(interaction: Interaction) -> None:
    parts = raw_parts(interaction)
    message = choice_of(interaction)["message"]

    texts = [part for part in parts if "text" in part]
    assert message.get("content", "") == "".join(part["text"] for part in texts if not part.get("thought"))
    assert message.get("reasoning_content", "") == "".join(part["text"] for part in texts if part.get("thought"))
    calls = [part for part in parts if "functionCall" in part]
    assert [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", [])
    ] == [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in calls]


@pytest.mark.parametrize("interaction", ALL)
def test_what_was_signed_or_run_goes_back(interaction: Interaction) -> None:
    message = choice_of(interaction)["message"]
    expected = [part for part in raw_parts(interaction) if not part.get("thought") and part != {"text": ""}]
    if not expected:
        assert set(message) <= {"role", "content"}
        return

    (turn,) = contents([USER, message], OLD)[1:]

    assert _joined(turn["parts"]) == _joined(expected)


def _joined(parts: list[Json]) -> list[Json]:
    """The parts without the ids that were made, neighbouring bare texts joined."""
    joined: list[Json] = []
    for part in parts:
        call = {name: value for name, value in part.get("functionCall", {}).items() if name != "id"}
        plain = part | ({"functionCall": call} if call else {})
        if set(plain) == {"text"} and joined and set(joined[-1]) == {"text"}:
            joined[-1] = {"text": joined[-1]["text"] + plain["text"]}
        else:
            joined.append(plain)
    return joined


@pytest.mark.parametrize("interaction", STREAMS)
def test_chunks_do_not_depend_on_how_the_bytes_are_cut(interaction: Interaction) -> None:
    body = interaction.answer.encode()
    expected = chunks_of([body])

    assert chunks_of(body[i : i + 1] for i in range(len(body))) == expected
    for size in (2, 7, 64, 1_000):
        assert chunks_of(body[i : i + size] for i in range(0, len(body), size)) == expected
    ends = [match.end() for match in re.finditer(rb"\n", body)]
    steps = range(1, len(body), max(1, len(body) // 200))
    for place in {*ends, *(end - 1 for end in ends), *steps}:
        assert chunks_of([body[:place], body[place:]]) == expected


@pytest.mark.parametrize("interaction", STREAMS)
def test_a_cut_at_any_event_before_the_finish_is_noticed(interaction: Interaction) -> None:
    body = interaction.answer.encode()
    finish = body.index(b'"finishReason"')
    ends = [match.end() for match in re.finditer(rb"\r\n\r\n", body) if match.end() < finish]

    for end in [0, *ends, len(body) - 3]:
        with pytest.raises(Interrupted):
            chunks_of([body[:end]])


def test_the_last_usage_of_a_stream_holds() -> None:
    name = "google/test_google_streaming_tool_call_thought_signature"
    told: Any = chunks_of([INTERACTIONS[name, 1].answer.encode()])[-1].usage

    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (257, 8, 265)


def test_the_translator_takes_no_finish_for_the_end() -> None:
    assert not GEMINI.stream("acme", call_of()).is_over
