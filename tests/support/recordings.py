"""Real exchanges with providers, read where they lie (`PARLEY_RECORDINGS`, else beside the repository).

They are never copied. The folder's README says where they come from and what is in them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("PARLEY_RECORDINGS") or ROOT.parent / "shared" / "recordings")
REPLAY_PROGRAM = FOLDER.parent / "tools" / "replay_upstream.py"

Protocol = Literal["anthropic", "gemini", "openai"]

_ENDPOINT = re.compile(
    r"/chat/completions$|/v1/messages$|/models/(?P<model>[^/:]+):(?P<stream>stream)?[gG]enerateContent$"
)


@dataclass(frozen=True)
class Interaction:
    """A recorded request with its answer."""

    recording: str
    """`provider/name`."""
    number: int
    path: str
    query: dict[str, str]
    request: dict[str, Any]
    status: int
    headers: dict[str, str]
    answer: str

    @property
    def id(self) -> str:
        return f"{self.recording}:{self.number}"

    @property
    def key(self) -> tuple[str, int]:
        return (self.recording, self.number)

    @property
    def protocol(self) -> Protocol:
        endpoint = _endpoint(self.path)[0]
        if endpoint == "/chat/completions":
            return "openai"
        return "anthropic" if endpoint == "/v1/messages" else "gemini"

    @property
    def model(self) -> str:
        """The provider's name of the model, which Gemini has in the path."""
        return _endpoint(self.path)["model"] or str(self.request["model"])

    @property
    def prefix(self) -> str:
        """The path before the part that every API of this protocol has."""
        return self.path[: _endpoint(self.path).start()]

    @property
    def is_stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.request.get("stream") is True or bool(_endpoint(self.path)["stream"])

    def whole(self) -> dict[str, Any]:
        """The answer's JSON, where it is no stream."""
        value: dict[str, Any] = json.loads(self.answer)
        return value

    def events(self) -> list[dict[str, Any]]:
        """The JSON of a stream's events: all of the recorded ones have one data line each."""
        lines = re.findall(r"^data: (.*?)\r?$", self.answer, re.MULTILINE)
        return [json.loads(line) for line in lines if line != "[DONE]"]


@dataclass(frozen=True)
class Recording:
    """A conversation, or several requests of one test, in the order in which they were asked."""

    name: str
    """`provider/name`."""
    interactions: tuple[Interaction, ...]

    @property
    def provider(self) -> str:
        return self.name.partition("/")[0]

    @property
    def first(self) -> Interaction:
        return self.interactions[0]


def _endpoint(path: str) -> re.Match[str]:
    match = _ENDPOINT.search(path)
    assert match, path
    return match


def _load(path: Path) -> Recording:
    name = f"{path.parent.name}/{path.stem}"
    interactions = [
        Interaction(
            name,
            number,
            raw["request"]["path"],
            dict(parse_qsl(urlsplit(raw["request"]["url"]).query)),
            raw["request"]["json"],
            raw["response"]["status"],
            raw["response"]["headers"],
            raw["response"]["body"],
        )
        for number, raw in enumerate(json.loads(path.read_text("utf-8"))["interactions"])
    ]
    return Recording(name, tuple(interactions))


RECORDINGS = {recording.name: recording for recording in map(_load, sorted(FOLDER.glob("*/*.json")))}
INTERACTIONS = {
    interaction.key: interaction for recording in RECORDINGS.values() for interaction in recording.interactions
}


def require_recordings() -> None:
    """Skip the module that calls this where the recordings are not there."""
    if not RECORDINGS or not REPLAY_PROGRAM.is_file():
        pytest.skip(
            "the recordings of real traffic, and their replay server, are not beside the repository",
            allow_module_level=True,
        )
