"""What callers are answered, compared with what the providers said when the traffic was recorded."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tests.recordings.failures import ANSWERED, FAILURES, MIDWAY
from tests.recordings.runs import FACES, Face, Runs, Turn
from tests.recordings.said import Said, said_by_parley
from tests.recordings.said_anthropic import said_by_anthropic
from tests.recordings.said_gemini import said_by_gemini
from tests.recordings.said_openai import said_by_openai
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings

require_recordings()

WHOLE = [interaction for interaction in ANSWERED if not interaction.is_stream]
STREAMS = [interaction for interaction in ANSWERED if interaction.is_stream]


def said_by_provider(interaction: Interaction) -> Said:
    match interaction.protocol:
        case "anthropic":
            return said_by_anthropic(interaction)
        case "gemini":
            return said_by_gemini(interaction)
        case "openai":
            return said_by_openai(interaction)


def comparable(turn: Turn) -> tuple[Said, Said]:
    """What the provider said and what Parley says, without what only one of them can know."""
    theirs, ours = said_by_provider(turn.interaction), said_by_parley(turn.choice, turn.usage)
    for one, other in zip(theirs.calls, ours.calls, strict=False):
        if one["id"] is None:  # then Parley made one
            one["id"] = other["id"]
    if ours.usage and not (theirs.usage or {}).get("cost_usd"):
        ours.usage.pop("cost_usd", None)  # by the model's prices, tested where they are
    return theirs, ours


def test_the_failures_are_those_that_were_recorded() -> None:
    statuses = {key for key, interaction in INTERACTIONS.items() if interaction.status != 200}
    assert statuses | MIDWAY | {("demo-endpoints/test_text_response", 0)} == set(FAILURES)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", ANSWERED, ids=lambda interaction: interaction.id)
def test_an_answer_says_what_the_provider_said(runs: Runs, interaction: Interaction, face: Face) -> None:
    theirs, ours = comparable(runs.turn(interaction, face))

    for field in fields(Said):
        assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", WHOLE, ids=lambda interaction: interaction.id)
def test_a_whole_answer_has_the_contracts_form(runs: Runs, interaction: Interaction, face: Face) -> None:
    answer = runs.turn(interaction, face).outcome.answer

    assert answer is not None
    assert (answer["object"], answer["model"]) == ("chat.completion", interaction.recording)
    assert answer["id"]
    assert answer["created"] > 0
    assert [choice["index"] for choice in answer["choices"]] == [0]
    _assert_ids(answer["choices"][0])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", STREAMS, ids=lambda interaction: interaction.id)
def test_a_stream_has_the_contracts_form(runs: Runs, interaction: Interaction, face: Face) -> None:
    turn = runs.turn(interaction, face)

    *pieces, last = turn.outcome.chunks
    assert turn.outcome.is_done
    assert len({(chunk["id"], chunk["created"]) for chunk in turn.outcome.chunks}) == 1
    assert {(chunk["object"], chunk["model"]) for chunk in turn.outcome.chunks} == {
        ("chat.completion.chunk", interaction.recording)
    }
    assert last["choices"] == []
    assert not any("usage" in chunk for chunk in pieces)
    assert all(len(chunk["choices"]) == 1 for chunk in pieces)
    first, *between, end = [chunk["choices"][0] for chunk in pieces]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert all(piece["delta"] and "role" not in piece["delta"] for piece in between)
    assert [piece["finish_reason"] for piece in (first, *between)] == [None] * (len(between) + 1)
    assert end["delta"] == {}
    assert end["finish_reason"]
    _assert_ids(turn.choice)


def _assert_ids(choice: dict[str, Any]) -> None:
    ids = [call["id"] for call in choice["message"].get("tool_calls", [])]
    assert all(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("key", "told"), FAILURES.items(), ids=[f"{name}:{number}" for name, number in FAILURES])
def test_a_failure_is_told(
    runs: Runs, key: tuple[str, int], told: tuple[int, str, str, str | None], face: Face
) -> None:
    outcome = runs.turn(INTERACTIONS[key], face).outcome

    assert outcome.failure is not None
    status, *rest = told
    assert outcome.failure.identity()[:4] == (200 if face == "rest" and key in MIDWAY else status, *rest)
    assert not outcome.is_done


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("key", sorted(MIDWAY), ids=lambda key: key[0])
def test_what_came_before_a_failure_is_not_lost(runs: Runs, key: tuple[str, int], face: Face) -> None:
    interaction = INTERACTIONS[key]
    deltas = [choice["delta"] for event in interaction.events() for choice in event.get("choices", [])]

    outcome = runs.turn(interaction, face).outcome

    assert outcome.text() == "".join(delta.get("content") or "" for delta in deltas) != ""
