"""Every recorded answer of Anthropic and Gemini, sent back as Parley gave it, arrives as it was.

So citations, redacted reasoning and the blocks of the providers' own tools survive also where the
recorded conversation ends with them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.recordings.bodies import normal_anthropic, normal_gemini, without_clients_ids
from tests.recordings.contract import with_merged_details
from tests.recordings.failures import ANSWERED
from tests.recordings.runs import FACES, Face, Runs
from tests.recordings.said import without_nulls
from tests.recordings.said_anthropic import message_of
from tests.recordings.said_gemini import joined, parts_of
from tests.support.recordings import Interaction, require_recordings

require_recordings()

Json = dict[str, Any]

EMPTY = {
    ("google/test_google_model_safety_settings", 0): "the answer was blocked",
    ("google-vertex/test_google_model_armor_prompt_template_text_gets_blocked", 0): "the prompt was blocked",
    ("google-vertex/test_google_model_armor_response_template_real_block", 0): "the answer was blocked",
}
"""Answers that say nothing, so that there is nothing to send back."""

SENT_BACK = [
    interaction for interaction in ANSWERED if interaction.protocol != "openai" and interaction.key not in EMPTY
]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", SENT_BACK, ids=lambda interaction: interaction.id)
def test_an_answer_that_is_sent_back_arrives_as_it_was(runs: Runs, interaction: Interaction, face: Face) -> None:
    turn = runs.turn(interaction, face)
    message = turn.choice["message"]

    received = runs.go_on(turn, with_merged_details(message) if face == "rest" else message, face)

    if interaction.protocol == "anthropic":
        body = normal_anthropic(received)
        raw = normal_anthropic({"messages": [{"role": "assistant", "content": message_of(interaction)["content"]}]})
        assert body["messages"][-2] == without_nulls(raw["messages"][0])
    else:
        contents = without_clients_ids(normal_gemini(received))["contents"]
        parts = [part for part in joined(parts_of(interaction)) if not _is_summary(part)]
        raw = {"contents": [{"role": "model", "parts": parts}]}
        assert contents[-2] == normal_gemini(raw)["contents"][0]


def _is_summary(part: Json) -> bool:
    """Summaries of thoughts are for people; the model's own thoughts are in the signatures.

    Source: https://ai.google.dev/gemini-api/docs/thinking#summaries (2026-11-22).
    """
    return part.get("thought") is True and "thoughtSignature" not in part


def test_answers_without_a_message_are_known() -> None:
    said_nothing = {
        interaction.key
        for interaction in ANSWERED
        if interaction.protocol == "gemini" and not joined(parts_of(interaction))
    }
    assert said_nothing == set(EMPTY)
