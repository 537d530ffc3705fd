"""Conversations of several requests, led with Parley's own answers in place of the recorded ones.

What the provider is sent then has to be what it was sent when the traffic was recorded: so
signatures, blocks of the provider's own tools and thought signatures make the round trip.
"""

from __future__ import annotations

import pytest

from tests.recordings.differences import ALLOWED, Allowed, unexplained
from tests.recordings.runs import FACES, Face, Runs, own_answers
from tests.support.recordings import RECORDINGS, Recording, require_recordings

require_recordings()

SEVERAL = [recording for recording in RECORDINGS.values() if len(recording.interactions) > 1]

_UNRELATED = "its requests have no history"
_AUTO_LOAD = "the client made up a call of its own"
_FAILED = "there was no answer, and the client made one up"
_OK = 'the client put an answer "OK" before a file, as Mistral takes no user message after a result'

APART = {
    "anthropic/test_anthropic_code_execution_tool": _UNRELATED,
    "anthropic/test_inline_system_prompt_cache_prefix_is_reused": "the client made up the only answer in its history",
    "deepseek/test_deepseek_deferred_capability_with_thinking": _AUTO_LOAD,
    "groq/test_tool_use_failed_error_streaming_with_text": _FAILED,
    "groq/test_tool_use_failed_error_with_text": _FAILED,
    "mistral/test_multimodal_tool_return_matrix-direct-url-document-mistral": _OK,
    "mistral/test_multimodal_tool_return_matrix-tool_return_content-binary-document-mistral": _OK,
    "mistral/test_multimodal_tool_return_matrix-tool_return_content-url-image-mistral": _OK,
    "openai/test_openai_chat_prompt_cache_e2e": _UNRELATED,
    "openrouter/test_openrouter_cache_instructions_gemini_real_api": _UNRELATED,
    "openrouter/test_openrouter_errors_raised": _UNRELATED,
}
"""Recordings in which an answer of the history is none of the recorded ones, or that have no history; why."""

_THINK = "the client wrote the reasoning into the text, between tags of its own"
_MADE_ID = "the provider gave the call no id: the client made one up, and so does Parley"

CHANGED: tuple[Allowed, ...] = (
    Allowed("cerebras/*replayed_as_think_tags:1", "messages#.content#.text", _THINK),
    Allowed("cerebras/*replayed_as_think_tags:1", "messages#.reasoning*", _THINK),
    Allowed("huggingface/test_hf_model_thinking_part:1", "messages#.content#.text", _THINK),
    Allowed("google-openai/*_without_id:1", "messages#.tool_calls#.id", _MADE_ID),
    Allowed("google-openai/*_without_id:1", "messages#.tool_call_id", _MADE_ID),
)
"""What the recording client changed in an answer before it sent it back; besides `ALLOWED`."""


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("recording", SEVERAL, ids=lambda recording: recording.name)
def test_a_conversation_is_led_with_parleys_own_answers(runs: Runs, recording: Recording, face: Face) -> None:
    turns = runs.conversation(recording, face)

    found = {}
    for turn in turns:
        assert turn.received, (turn.interaction.number, turn.outcome.failure)
        (request,) = turn.received
        assert request["interaction"] == turn.interaction.number
        found[turn.interaction.number] = unexplained(turn.interaction, request["json"], (*ALLOWED, *CHANGED), set())
    assert {number: differing for number, differing in found.items() if differing} == {}


@pytest.mark.parametrize("recording", SEVERAL, ids=lambda recording: recording.name)
def test_every_answer_in_a_history_is_parleys_own(runs: Runs, recording: Recording) -> None:
    turns = runs.conversation(recording, "grpc")

    strange = {}
    for turn in turns:
        replaced = own_answers(turn.interaction, turns[: turn.interaction.number])
        answers = [place for place, message in enumerate(turn.asked["messages"]) if message["role"] == "assistant"]
        if missing := set(answers) - set(replaced):
            strange[turn.interaction.number] = missing
    all_apart = not any(own_answers(turn.interaction, turns[: turn.interaction.number]) for turn in turns)
    assert (bool(strange) or all_apart) == (recording.name in APART), strange


def test_every_change_of_the_client_occurs(runs: Runs) -> None:
    used: set[Allowed] = set()
    for recording in SEVERAL:
        for turn in runs.conversation(recording, "grpc"):
            for request in turn.received:
                unexplained(turn.interaction, request["json"], CHANGED, used)

    assert set(CHANGED) - used == set()
