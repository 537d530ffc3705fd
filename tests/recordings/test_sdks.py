"""The providers' own clients and Parley make the same of the same recorded answers."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from tests.recordings.failures import ANSWERED
from tests.recordings.runs import FACES, Face, Runs, Turn
from tests.recordings.said import json_text
from tests.recordings.sdks import Extracted, extracted_by_anthropic, extracted_by_google, extracted_by_openai
from tests.support.recordings import RECORDINGS, Interaction, require_recordings
from tests.support.replay import Replay

require_recordings()

_USAGE_ELSEWHERE = "Groq tells the usage of a stream in `x_groq`, which OpenAI's client does not know"
_PARTS = "Mistral's content is a list of parts, which OpenAI's client hands on as it is"
_EMPTY = "Snowflake leaves the finish reason empty"

NOT_READ: dict[tuple[str, int], tuple[set[str], str]] = {
    ("groq/test_groq_model_web_search_tool_stream", 0): ({"prompt_tokens", "completion_tokens"}, _USAGE_ELSEWHERE),
    ("mistral/test_thinking_wire_contract-test_reasoning_wire_contract-mistral-small-thinking-high", 0): (
        {"text"},
        _PARTS,
    ),
    ("snowflake/test_snowflake_native_output", 0): ({"finish"}, _EMPTY),
    ("snowflake/test_snowflake_tool_calling", 0): ({"finish"}, _EMPTY),
    ("snowflake/test_snowflake_tool_calling", 1): ({"finish"}, _EMPTY),
}
"""What the client can't read in an answer, and why; everything else it reads as Parley does."""

FINISH = {
    "anthropic": {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"},
    "gemini": {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "MODEL_ARMOR": "content_filter",
        "UNEXPECTED_TOOL_CALL": "tool_calls",
    },
    "openai": {},
}
"""The clients' words in the contract's; Gemini's STOP after a call is "tool_calls"."""


@pytest.fixture(scope="session")
def extracted(replay: Replay) -> dict[tuple[str, int], Extracted]:
    """What the clients made of every answer."""
    found = {}
    extract = {"anthropic": extracted_by_anthropic, "gemini": extracted_by_google, "openai": extracted_by_openai}
    answered = {interaction.key for interaction in ANSWERED}
    for recording in RECORDINGS.values():
        replay.begin(recording.name)
        for interaction in recording.interactions:
            if interaction.key in answered:
                base_url = replay.base_url(recording.name)
                found[interaction.key] = extract[interaction.protocol](interaction, base_url)
            else:
                replay.pass_over(interaction)
    return found


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", ANSWERED, ids=lambda interaction: interaction.id)
def test_the_providers_client_reads_the_same(
    runs: Runs, extracted: dict[tuple[str, int], Extracted], interaction: Interaction, face: Face
) -> None:
    theirs = in_the_contracts_words(interaction, extracted[interaction.key])
    ours = read_by_parley(runs.turn(interaction, face))
    nameless = [call[0] is None for call in theirs.calls]
    ours.calls = [
        (None if is_nameless else call[0], *call[1:]) for is_nameless, call in zip(nameless, ours.calls, strict=True)
    ]

    names = {field.name for field in fields(Extracted)}
    differing = {name for name in names if getattr(ours, name) != getattr(theirs, name)}
    assert differing == NOT_READ.get(interaction.key, (set(), ""))[0], (ours, theirs)


def in_the_contracts_words(interaction: Interaction, extracted: Extracted) -> Extracted:
    finish = FINISH[interaction.protocol].get(extracted.finish, extracted.finish)
    return replace(extracted, finish="tool_calls" if extracted.calls and finish == "stop" else finish)


def read_by_parley(turn: Turn) -> Extracted:
    choice, usage = turn.choice, turn.usage or {}
    return Extracted(
        text=choice["message"].get("content", ""),
        calls=[
            (call["id"], call["function"]["name"], json_text(json.loads(call["function"]["arguments"])))
            for call in choice["message"].get("tool_calls", [])
        ],
        finish=choice["finish_reason"],
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )
