"""Fixtures that all tests share: the scripted provider, and the real parts in front of it."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support import secret_watch
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream

KEY = "planted-secret-of-team-a"
SEED_MODELS = ("claude-3-7-sonnet", "claude-4-5-sonnet", "claude-sonnet-4-5")
"""The model ids of the API references, as aliases of the embedded model."""

SCRIPTED_MODELS = ("echo", "org/echo", "impatient", "dead", "plain", "lenient", "two", "fallback", "retried")
"""The other models of `stack`."""

PLAIN = {
    "context_window": 8192,
    "max_output_tokens": 1024,
    "input_kinds": ["text"],
    "tools": False,
    "structured_output": False,
    "reasoning": "none",
    "sampling": False,
    "prices": {"input": 3, "cached_input": 0.3, "output": 15, "long_context": {"above_tokens": 4096, "input": 6}},
}
"""What is known of a model that can do very little."""


ONCE: dict[str, Any] = {"retries": {"max_attempts": 1}, "breaker": None}
"""Limits of models whose failures are scripted: a test gets what its script says, asked for once, and opens no
circuit for the tests after it."""


def pytest_configure(config: pytest.Config) -> None:
    """Have every test watched; by `pytest_plugins` it can't be named, which `tests.support.stack` imports."""
    config.pluginmanager.register(secret_watch, "secret-watch")
    # Where the tests run in several processes, or in the background, it is ignored, and would be by what they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the service runs on: asyncio's own has faults that uvloop has not, and the reverse."""
    return {"uvloop": uvloop.new_event_loop}


def stack_config(upstream: FakeUpstream, **server: Any) -> dict[str, Any]:
    """A configuration with a scripted provider and one that can't be reached, behind a key."""
    return {
        "server": {"grpc_address": "127.0.0.1:0", **server},
        "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
        "providers": {
            "scripted": {"kind": "openai", "base_url": upstream.base_url},
            "impatient": {"kind": "openai", "base_url": upstream.base_url, "read_timeout_s": 0.7},
            "dead": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "connect_timeout_s": 1},
        },
        "models": {
            "echo": {"targets": [_target("scripted", "echo-1")], "created": 1700000000, **ONCE},
            "org/echo": {"targets": [_target("scripted", "echo-2")], **ONCE},
            "impatient": {"targets": [_target("impatient", "echo-3")], **ONCE},
            "dead": {"targets": [_target("dead", "dead-1")], **ONCE},
            "plain": {"targets": [_target("scripted", "plain-1")], "capabilities": PLAIN, **ONCE},
            "lenient": {
                "targets": [_target("scripted", "plain-1")],
                "capabilities": PLAIN,
                "drop_params": True,
                **ONCE,
            },
            # A script sees both targets of it, by the model that each is asked for.
            "two": {"targets": [_target("scripted", "first"), _target("scripted", "second")], **ONCE},
            "fallback": {"targets": [_target("dead", "dead-1"), _target("scripted", "echo-1")], **ONCE},
            "retried": {
                "targets": [_target("scripted", "echo-1")],
                "retries": {"backoff_s": 0.05, "budget": 1},
                "breaker": None,
            },
        },
    }


def _target(provider: str, model: str) -> dict[str, Any]:
    return {"provider": provider, "model": model}


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    """A provider that answers as tests tell it."""
    fake = FakeUpstream()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture(scope="session")
def stack(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service and Envoy, in front of the scripted provider and of the embedded model."""
    config = stack_config(upstream)
    config["providers"]["local"] = {"kind": "embedded", "threads": 1, "context_tokens": 1024}
    for name in ("smollm2", *SEED_MODELS):
        config["models"][name] = {"targets": [_target("local", "smollm2-135m-instruct")], **ONCE}
    with running(config, tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the test's own."""
    return tmp_path
