"""OpenAI's `stream()` helper puts every recorded stream together, Parley's additions included."""

from __future__ import annotations

from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.recordings.contract import with_merged_details
from tests.recordings.failures import FAILURES
from tests.recordings.runs import Runs
from tests.recordings.said import without_nulls
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings

require_recordings()

STREAMS = [item for item in INTERACTIONS.values() if item.is_stream and item.status == 200 and item.key not in FAILURES]


def _without_index(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries as the SDK was given them: it adds typed members that were not there, as None."""
    return [{key: value for key, value in without_nulls(entry).items() if key != "index"} for entry in entries]


@pytest.mark.parametrize("interaction", STREAMS, ids=lambda item: item.id)
def test_openais_helper_joins_a_stream(runs: Runs, interaction: Interaction) -> None:
    turn = runs.turn(interaction, "rest")
    expected = with_merged_details(turn.choice["message"])

    state = ChatCompletionStreamState()
    for chunk in turn.outcome.chunks:
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))

    choice = state.current_completion_snapshot.choices[0]
    message: Any = choice.message.to_dict()
    assert choice.finish_reason == turn.choice["finish_reason"]
    assert (message.get("content") or "") == expected.get("content", "")
    assert message.get("reasoning_content", "") == expected.get("reasoning_content", "")
    assert [call["function"]["name"] for call in message.get("tool_calls") or ()] == [
        call["function"]["name"] for call in expected.get("tool_calls", ())
    ]
    for name in ("annotations", "provider_content"):
        assert _without_index(message.get(name) or []) == _without_index(expected.get(name, []))
    if _has_distinct_indices(expected.get("reasoning_details", [])):
        assert message.get("reasoning_details", []) == expected.get("reasoning_details", [])


def _has_distinct_indices(details: list[dict[str, Any]]) -> bool:
    """OpenRouter gives blocks of two types one index, which the helper, by its own rule, takes for one block."""
    indices = [detail.get("index") for detail in details]
    return len(set(indices)) == len(indices)
