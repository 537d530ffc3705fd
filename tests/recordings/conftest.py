"""The service and Envoy before the replay server: a provider and a model for each recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import ONCE
from tests.recordings.runs import Runs
from tests.support.recordings import RECORDINGS, Recording
from tests.support.replay import Replay, replaying
from tests.support.stack import running

DIALECTS = {
    "azure": "azure",
    "bedrock-mantle": "openai",
    "cerebras": "cerebras",
    "crusoe": "vllm",
    "deepseek": "deepseek",
    "groq": "groq",
    "huggingface": "huggingface",
    "mistral": "mistral",
    "ollama": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "zai": "zai",
}
"""By provider of the recordings; the others are asked as one of which nothing is known."""

CAPABILITIES = {
    # The catalogue knows that the model takes no such effort, and Parley would refuse it itself.
    "anthropic/test_anthropic_explicit_effort_xhigh_unsupported_model_errors": {"reasoning_efforts": ["xhigh"]},
    # Likewise that the model hears nothing.
    "openai/test_multimodal_tool_return_matrix-tool_return_content-binary-audio-openai_chat": {
        "input_kinds": ["text", "audio"],
    },
}
"""By recording, what is said of its model so that the provider's own answer is seen."""


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    with replaying(tmp_path_factory.mktemp("replay")) as server:
        yield server


@pytest.fixture(scope="session")
def runs(replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    providers = {f"p{number}": _provider(recording, replay) for number, recording in enumerate(RECORDINGS.values())}
    models = {
        recording.name: {
            "targets": [{"provider": f"p{number}", "model": recording.first.model}],
            "capabilities": CAPABILITIES.get(recording.name, {}),
            **ONCE,
        }
        for number, recording in enumerate(RECORDINGS.values())
    }
    config = {"providers": providers, "models": models}
    with running(config, tmp_path_factory.mktemp("recordings")) as stack, stack.channel() as channel:
        yield Runs(stack, replay, ChatServiceStub(channel))


def _provider(recording: Recording, replay: Replay) -> dict[str, Any]:
    first = recording.first
    provider = {"kind": first.protocol, "base_url": replay.base_url(recording.name) + first.prefix}
    if recording.provider in DIALECTS:
        provider["dialect"] = DIALECTS[recording.provider]
    return provider
