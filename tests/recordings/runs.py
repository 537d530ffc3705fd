"""Recorded conversations, asked of the running parts through both faces; each is asked once and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.recordings.asked_anthropic import asked_anthropic
from tests.recordings.asked_gemini import asked_gemini
from tests.recordings.asked_openai import asked_openai
from tests.recordings.bodies import normal_gemini
from tests.recordings.contract import choice_of_chunks, with_merged_details
from tests.support.faces import Outcome, ask, grpc_failure
from tests.support.json_form import json_of, to_proto
from tests.support.recordings import RECORDINGS, Interaction, Recording
from tests.support.replay import Replay
from tests.support.stack import Stack

Json = dict[str, Any]
Face = Literal["grpc", "rest"]
FACES: tuple[Face, ...] = ("grpc", "rest")


@dataclass
class Turn:
    """An interaction, asked of Parley."""

    interaction: Interaction
    asked: Json
    outcome: Outcome
    received: list[Json]
    """What the provider was sent for it."""

    @property
    def choice(self) -> Json:
        """The only choice, whole or made of the chunks."""
        assert self.outcome.failure is None, self.outcome.failure
        if self.outcome.answer is None:
            return choice_of_chunks(self.outcome.chunks)
        (choice,) = self.outcome.answer["choices"]
        assert isinstance(choice, dict)
        return choice

    @property
    def usage(self) -> Json | None:
        answers = [self.outcome.answer] if self.outcome.answer else self.outcome.chunks
        return next((answer["usage"] for answer in answers if "usage" in answer), None)


@dataclass
class Runs:
    """Asks, and keeps what came of it."""

    stack: Stack
    replay: Replay
    stub: ChatServiceStub
    _replayed: dict[tuple[str, Face], list[Turn]] = field(default_factory=dict)
    _conversed: dict[tuple[str, Face], list[Turn]] = field(default_factory=dict)

    def turn(self, interaction: Interaction, face: Face) -> Turn:
        """The interaction with its recorded history."""
        key = (interaction.recording, face)
        if key not in self._replayed:
            recording = RECORDINGS[interaction.recording]
            self.replay.begin(recording.name)
            self._replayed[key] = [
                self._ask(later, _streamed(later, asked_of(later)), face) for later in recording.interactions
            ]
        return self._replayed[key][interaction.number]

    def conversation(self, recording: Recording, face: Face) -> list[Turn]:
        """The recording's interactions, each with Parley's own earlier answers as its history."""
        key = (recording.name, face)
        if key not in self._conversed:
            self.replay.begin(recording.name)
            turns: list[Turn] = []
            for interaction in recording.interactions:
                body = _streamed(interaction, with_own_answers(interaction, turns, face))
                turns.append(self._ask(interaction, body, face))
            self._conversed[key] = turns
        return self._conversed[key]

    def go_on(self, turn: Turn, answer: Json, face: Face) -> Json:
        """What the provider is sent when `answer` is answered in turn; what it says to that is not looked at."""
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in answer.get("tool_calls", [])
        ]
        body = {name: value for name, value in turn.asked.items() if name not in {"stream", "stream_options"}}
        body["messages"] = [*body["messages"], answer, *(results or [{"role": "user", "content": "Go on."}])]
        later = self._ask(turn.interaction, body, face)
        (request,) = later.received
        sent: Json = request["json"]
        return sent

    def _ask(self, interaction: Interaction, body: Json, face: Face) -> Turn:
        before = len(self.replay.received(interaction.recording))
        body = {"model": interaction.recording, **body}
        outcome = ask(self.stack, "rest", body, key=None) if face == "rest" else self._ask_grpc(body)
        received = self.replay.received(interaction.recording)[before:]
        if not received:
            self.replay.pass_over(interaction)
        return Turn(interaction, body, outcome, received)

    def _ask_grpc(self, body: Json) -> Outcome:
        outcome = Outcome()
        request = to_proto(body)
        try:
            if body.get("stream"):
                for chunk in self.stub.StreamChatCompletion(request, timeout=30):
                    outcome.chunks.append(json_of(chunk))
            else:
                outcome.answer = json_of(self.stub.CreateChatCompletion(request, timeout=30))
            outcome.is_done = True
        except grpc.RpcError as error:
            outcome.failure = grpc_failure(error)
        return outcome


def _streamed(interaction: Interaction, body: Json) -> Json:
    """The request in the mode in which it was recorded."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}} if interaction.is_stream else body


def asked_of(interaction: Interaction) -> Json:
    """The contract's request for which the provider should be sent the recorded one."""
    request = json.loads(json.dumps(interaction.request))
    match interaction.protocol:
        case "anthropic":
            return asked_anthropic(request)
        case "gemini":
            return asked_gemini(normal_gemini(request))
        case "openai":
            return asked_openai(request)


def own_answers(interaction: Interaction, earlier: list[Turn]) -> dict[int, Turn]:
    """Which of the recorded history's messages are answers to earlier interactions, by place; not after a failure.

    One is where the messages before it are those that the earlier interaction asked with, the marks of
    what to cache aside.
    """
    messages = [_unmarked(message) for message in asked_of(interaction)["messages"]]
    found = {}
    for turn in earlier:
        asked = [_unmarked(message) for message in asked_of(turn.interaction)["messages"]]
        place = len(asked)
        follows = messages[:place] == asked and messages[place : place + 1] != []
        if follows and messages[place]["role"] == "assistant" and turn.outcome.failure is None:
            found[place] = turn
    return found


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        items = [_unmarked(item) for item in value]
        return items[0] if len(items) == 1 and isinstance(items[0], str) else items
    if isinstance(value, dict):
        plain = {name: _unmarked(item) for name, item in value.items() if name != "cache_control"}
        return plain["text"] if set(plain) == {"type", "text"} else plain
    return value


def with_own_answers(interaction: Interaction, earlier: list[Turn], face: Face) -> Json:
    """The request with Parley's answers in place of the recorded ones, and results naming Parley's call ids.

    Reasoning blocks of a stream are sent back as they came over gRPC, and merged over REST.
    """
    body = asked_of(interaction)
    names: dict[str, str] = {}
    for place, turn in own_answers(interaction, earlier).items():
        recorded, message = body["messages"][place], turn.choice["message"]
        body["messages"][place] = with_merged_details(message) if face == "rest" else message
        pairs = zip(recorded.get("tool_calls", []), message.get("tool_calls", []), strict=False)
        names |= {theirs["id"]: ours["id"] for theirs, ours in pairs}
    for message in body["messages"]:
        if message.get("tool_call_id") in names:
            message["tool_call_id"] = names[message["tool_call_id"]]
    return body
