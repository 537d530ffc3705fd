"""Real answers of the Messages API, all of them, as they were recorded: read where they lie, never copied.

That they say what was recorded is looked at end to end, in tests/recordings; here is what only bytes show.
"""

from __future__ import annotations

import json
import re

import pytest

from service.errors import Interrupted, Reason, UpstreamError
from service.providers.anthropic.errors import error_of_answer
from service.providers.anthropic.response import translate_message
from tests.support.json_form import json_of
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings
from tests.wire.anthropic_support import call_of, chunks_of, chunks_of_bytes, events_of_answer, merged

require_recordings()

ALL = [interaction for interaction in INTERACTIONS.values() if interaction.protocol == "anthropic"]
ANSWERS = [interaction for interaction in ALL if interaction.status == 200]
STREAMS = [interaction for interaction in ANSWERS if interaction.is_stream]
WHOLE = [interaction for interaction in ANSWERS if not interaction.is_stream]
FAILURES = [interaction for interaction in ALL if interaction.status != 200]


def id_of(interaction: Interaction) -> str:
    return interaction.id


def test_there_are_recordings_of_every_kind() -> None:
    assert STREAMS
    assert WHOLE
    assert FAILURES


@pytest.mark.parametrize("interaction", STREAMS, ids=id_of)
def test_a_recorded_stream_gives_the_same_chunks_however_it_is_cut(interaction: Interaction) -> None:
    data = interaction.answer.encode()
    expected = chunks_of_bytes([data])
    assert expected[-1]["usage"]["completion_tokens"] > 0
    step = max(1, len(data) // 40)
    for place in range(1, len(data), step):
        assert chunks_of_bytes([data[:place], data[place:]]) == expected
    assert chunks_of_bytes([data[start : start + 7] for start in range(0, len(data), 7)]) == expected


@pytest.mark.parametrize("interaction", STREAMS, ids=id_of)
def test_a_recorded_stream_that_is_cut_between_events_is_no_answer(interaction: Interaction) -> None:
    data = interaction.answer.encode()
    ends = [match.end() for match in re.finditer(rb"\n\n", data)]
    assert len(ends) > 5
    for end in [0, *ends[:-1]]:
        with pytest.raises(Interrupted):
            chunks_of_bytes([data[:end]])


@pytest.mark.parametrize("interaction", WHOLE, ids=id_of)
def test_a_recorded_answer_says_the_same_as_a_stream(interaction: Interaction) -> None:
    answer = interaction.whole()
    expected = json_of(translate_message("acme", interaction.answer.encode(), call_of({})))
    found = merged(chunks_of(events_of_answer(answer)))
    for completion in (expected, found):  # the recordings' white space is their own
        for call in completion["choices"][0]["message"].get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert found == expected


@pytest.mark.parametrize("interaction", FAILURES, ids=id_of)
def test_a_recorded_failure_is_classified(interaction: Interaction) -> None:
    error = error_of_answer("acme", interaction.status, interaction.answer.encode(), interaction.headers.get)
    assert isinstance(error, UpstreamError)
    is_model = "model_name" in interaction.recording
    assert error.reason is (Reason.UPSTREAM_MODEL_NOT_FOUND if is_model else Reason.UPSTREAM_REJECTED)
    assert error.metadata["upstream_request_id"].startswith("req_")
