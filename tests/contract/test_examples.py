"""What the page of projects, and the examples of tool servers and stored completions, show can be done as it stands."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import KEY, ONCE, stack_config
from tests.support.envoy import ROOT
from tests.support.faces import ask
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream, Script, completion

PROJECTS = (ROOT / "docs" / "projects.md").read_text("utf-8")
TOOL_SERVER = "examples/tool_server.py"


def _block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PROJECTS, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@contextmanager
def _tool_server(port: int) -> Iterator[None]:
    command = [sys.executable, TOOL_SERVER, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def documented(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The page's projects, over a scripted provider, with the example's server at both transports, and a store."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = stack_config(upstream)
    config["models"] = {
        name: {"targets": [{"provider": "scripted", "model": "x"}], **ONCE} for name in ("smollm2", "gpt-4o")
    }
    config |= yaml.safe_load(_block("yaml").replace(":9000/", f":{port}/"))
    program = {"command": [sys.executable, str(ROOT / TOOL_SERVER)]}
    config["projects"]["local"] = {**config["projects"]["support"], "tools": {"orders": program}}
    folder = tmp_path_factory.mktemp("documented")
    config["storage"] = {"data_dir": str(folder / "data")}
    with _tool_server(port), running(config, folder) as started:
        for project in ("support", "local"):
            wait_for(lambda project=project: ask(started, "rest", _body(project)).failure is None, 60)  # type: ignore[misc]  # a default
        yield started


def _body(project: str, **fields: Any) -> dict[str, Any]:
    return {"model": project, "messages": [{"role": "user", "content": "Where is it?"}], **fields}


def test_the_pages_request_is_answered(documented: Stack) -> None:
    [_, _, _, _, _, data, *_] = words = shlex.split(_block("sh").replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]

    url = f"{documented.url}/v1/chat/completions"
    answer = httpx.post(url, json=json.loads(data), headers={"x-api-key": KEY}, timeout=30)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-parley-arm"] in {"as-ever", "brief"}
    assert (answer.json()["model"], answer.json()["choices"][0]["model"]) in {
        ("support", "smollm2"),
        ("support", "gpt-4o"),
    }


@pytest.mark.parametrize("project", ["support", "local"])
def test_the_examples_tool_is_run(documented: Stack, upstream: FakeUpstream, project: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "orders__find", "arguments": '{"number": "17"}'}}
    turns = [completion({"content": None, "tool_calls": [call]}, finish="tool_calls"), completion()]
    with upstream.scripted(Script(turns=turns)) as script:
        answer = ask(documented, "rest", _body(project, user=script.user)).answer

    assert answer is not None
    [event] = answer["choices"][0]["message"]["tool_events"]
    assert (event["tool"], event["status"], event["result"]) == ("orders__find", "ok", "left Hamburg this morning")


def test_the_example_of_stored_completions_runs(documented: Stack) -> None:
    command = [sys.executable, str(Path("examples", "stored.py")), f"{documented.url}/v1", KEY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    paris = "What is the capital of France?"  # the scripted provider answers with the last message
    assert done.stdout.splitlines() == [
        f"user: {paris}", f"-> {paris}",
        f"user: {paris}", f"assistant: {paris}", "user: And of Italy?", "-> And of Italy?",
    ]  # fmt: skip
    listed = httpx.get(f"{documented.url}/v1/chat/completions", headers={"x-api-key": KEY}, timeout=30)
    assert listed.json()["data"] == []
