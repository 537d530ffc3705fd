"""What the providers are sent, compared with what they were sent when the traffic was recorded."""

from __future__ import annotations

import pytest

from tests.recordings.differences import ALLOWED, Allowed, unexplained
from tests.recordings.runs import FACES, Face, Runs
from tests.support.recordings import INTERACTIONS, Interaction, require_recordings

require_recordings()


def test_all_recordings_are_asked() -> None:
    assert len(INTERACTIONS) >= 202
    assert {interaction.protocol for interaction in INTERACTIONS.values()} == {"anthropic", "gemini", "openai"}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("interaction", INTERACTIONS.values(), ids=lambda interaction: interaction.id)
def test_a_provider_is_sent_what_was_recorded(runs: Runs, interaction: Interaction, face: Face) -> None:
    turn = runs.turn(interaction, face)

    assert turn.received, turn.outcome.failure
    (request,) = turn.received
    assert request["path"] == interaction.path
    # Anthropic's client marks its beta API with a parameter that the API itself does not know.
    assert request["query"] == {name: value for name, value in interaction.query.items() if name != "beta"}
    assert request["interaction"] == interaction.number
    assert unexplained(interaction, request["json"], ALLOWED, set()) == {}


def test_every_allowed_difference_occurs(runs: Runs) -> None:
    used: set[Allowed] = set()
    for interaction in INTERACTIONS.values():
        for request in runs.turn(interaction, "grpc").received:
            unexplained(interaction, request["json"], ALLOWED, used)

    assert set(ALLOWED) - used == set()
