"""Projects with server-side tools before the scripted provider, and answers that call them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai.lib.streaming._deltas import accumulate_delta

from tests.conftest import stack_config
from tests.support.faces import Outcome, ask
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream, chunk, completion, usage_chunk

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"
TRANSPORTS = ("stdio", "http")
"""Names of the two main projects, too."""
KEEPALIVE_S = 1.0
MINE = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object", "properties": {}}}}
"""A function of the caller's."""
UP_S = 60.0


class Restarted:
    """An MCP server over HTTP that is started again whenever it ends, on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._command = [sys.executable, str(SERVER), "http", "--journal", str(folder / "journal")]
        self._is_over = False
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it for good."""
        self._is_over = True
        self._process.kill()
        self._thread.join(20)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*self._command, "--port", str(self.port)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _keep(self) -> None:
        while not self._is_over:
            self._process.wait()
            if not self._is_over:
                self._process = self._start()
        self._process.kill()
        self._process.wait()


class Tools:
    """The parts, with projects `stdio` and `http`, and some with narrow limits."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self._folder = folder

    def journal(self, transport: str) -> list[str]:
        """What the tool servers of a transport have written down."""
        file = self._folder / transport / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def wait_up(self, *projects: str) -> None:
        """Returns as soon as the projects can be asked."""
        for project in projects:
            wait_for(lambda project=project: ask(self.stack, "rest", asking(project)).failure is None, UP_S)  # type: ignore[misc]  # a default


@contextmanager
def tool_projects(upstream: FakeUpstream, folder: Path, *, is_watched: bool = False) -> Iterator[Tools]:
    """The service and Envoy, with projects whose tools are those of `mcp_server.py`."""
    for transport in TRANSPORTS:
        (folder / transport).mkdir()
    web = Restarted(folder / "http")
    try:
        config = stack_config(upstream, sse_keepalive_s=KEEPALIVE_S)
        config["storage"] = {"data_dir": str(folder / "data")}
        config["models"]["read-on"] = {**config["models"]["echo"], "on_disconnect": "drain"}
        config["projects"] = _projects(folder, web.url)
        with running(config, folder, watched=is_watched) as stack:
            tools = Tools(stack, folder)
            tools.wait_up(*TRANSPORTS, "short", "narrow", "read")
            yield tools
    finally:
        web.stop()


def _projects(folder: Path, url: str) -> dict[str, Any]:
    command = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "stdio" / "journal")]
    program, web, no_server = {"command": command}, {"url": url}, {"command": ["/no/such/program"]}
    sections: dict[str, dict[str, Any]] = {
        "stdio": {"tools": _shop(program)},
        "http": {"tools": _shop(web)},
        "short": {"tools": {"shop": web}, "tool_limits": {"total_s": 0.5}},
        "narrow": {"tools": {"shop": web}, "tool_limits": {"max_turns": 2, "parallel": 1}},
        "read": {"models": {"own": "read-on"}, "tools": {"shop": web}},
        "down": {"tools": {"gone": no_server}},
        "without": {"tools": {"gone": {**no_server, "when_down": "leave_out"}}},
    }
    return {name: {"default_model": "own", "models": {"own": "echo"}, **each} for name, each in sections.items()}


def _shop(place: dict[str, Any]) -> dict[str, Any]:
    return {"shop": place, "slow": {**place, "timeout_s": 0.5, "only": ["hang"]}}


def asking(project: str, **fields: Any) -> dict[str, Any]:
    """A request."""
    return {"model": project, "messages": [{"role": "user", "content": "How is it?"}], **fields}


def calling(name: str, id_: str = "call_1", **arguments: Any) -> dict[str, Any]:
    """A call, as OpenAI's API tells it."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def answering(text: str, *calls: dict[str, Any], stream: bool) -> Any:
    """One turn of a script: an answer, or events of it in small pieces."""
    finish = "tool_calls" if calls else "stop"
    if not stream:
        message: dict[str, Any] = {"content": text or None}
        return completion({**message, "tool_calls": list(calls)} if calls else message, finish=finish)
    half = len(text) // 2
    events = [chunk(delta={"role": "assistant", "content": ""})]
    events += [chunk(piece) for piece in (text[:half], text[half:]) if piece]
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        events.append(chunk(delta={"tool_calls": [begun]}))
        for piece in (arguments[:3], arguments[3:]):
            events.append(chunk(delta={"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return [*events, chunk(finish=finish, delta={}), usage_chunk()]


def message_in(outcome: Outcome) -> dict[str, Any]:
    """The message of an answer; of a stream, as OpenAI's SDK joins it."""
    assert outcome.failure is None, outcome.failure
    assert outcome.is_done
    if outcome.answer is not None:
        return dict(outcome.answer["choices"][0]["message"])
    message: dict[object, Any] = {}
    for each in outcome.chunks:
        for choice in each["choices"]:
            message = accumulate_delta(message, choice["delta"])
    return {str(name): value for name, value in message.items() if value != ""}


def finish_of(outcome: Outcome) -> str:
    """Why the answer ended."""
    if outcome.answer is not None:
        return str(outcome.answer["choices"][0]["finish_reason"])
    [reason] = [c["finish_reason"] for each in outcome.chunks for c in each["choices"] if c["finish_reason"]]
    return str(reason)


def tokens_of(outcome: Outcome) -> int:
    """All tokens that it has used."""
    return int((outcome.answer or outcome.chunks[-1])["usage"]["total_tokens"])
