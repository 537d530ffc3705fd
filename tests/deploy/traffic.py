"""Calls of all kinds, so that every metric that rules and dashboards name has something to tell."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from tests.conftest import KEY, PLAIN, stack_config
from tests.support.faces import Outcome, ask
from tests.support.json_form import to_proto
from tests.support.stack import Stack, wait_for
from tests.support.tool_projects import SERVER, UP_S, answering, calling
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk


def config(upstream: FakeUpstream, folder: Path) -> dict[str, Any]:
    """Models, projects and a store for them."""
    config = stack_config(upstream)
    echo = config["models"]["echo"]
    config["models"] |= {
        "priced": {**echo, "capabilities": {"prices": PLAIN["prices"]}},
        "narrow": {**echo, "concurrency": {"limit": 1, "queue": 0}},
        "hedged": {**config["models"]["two"], "hedge": {"after_s": 0.05, "budget": 1}},
    }
    command = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal")]
    arms = {"red": {"model": "own"}}
    config["projects"] = {
        "shop": {"default_model": "own", "models": {"own": "echo"}, "tools": {"store": {"command": command}}},
        "trial": {"default_model": "own", "models": {"own": "echo"}, "campaigns": {"spring": {"arms": arms}}},
    }
    config["storage"] = {"data_dir": str(folder / "data")}
    return config


class Traffic:
    """Callers of the parts, before the scripted provider."""

    def __init__(self, stack: Stack, upstream: FakeUpstream) -> None:
        self._stack = stack
        self._upstream = upstream

    def wait_for_tools(self) -> None:
        """Returns once the tool server is up: it says so by no failure."""
        wait_for(lambda: self._ask(Script(body=completion()), model="shop").failure is None, UP_S)

    def run(self) -> None:
        """Each kind of call once."""
        self._succeed()
        self._fail()
        self._use_tools()
        self._fill_a_target()
        self._leave()

    def fail_without_service(self) -> None:
        """Call while there is none."""
        outcome = self._ask(Script())
        assert outcome.failure is not None
        assert outcome.failure.code == "service_unavailable"

    def _succeed(self) -> None:
        events = [chunk(delta={"role": "assistant", "content": ""}), chunk("Hel"), chunk("lo"), chunk(finish="stop")]
        assert self._ask(Script(events=[*events, usage_chunk()]), stream=True).failure is None
        assert self._ask(Script(events=events), stream=True).failure is None, "without usage, it is estimated"
        assert self._ask(Script(body=completion()), store=True).failure is None
        assert self._ask(Script(body=completion()), model="trial", ab_campaign="spring").failure is None
        assert self._ask(Script(body=completion(), delay_s=0.3), model="hedged").failure is None
        for model in ("priced", "fallback"):
            assert self._ask(Script(body=completion()), model=model).failure is None

    def _fail(self) -> None:
        cases: list[tuple[str, Script, dict[str, Any]]] = [
            ("invalid_value", Script(), {"temperature": 7}),
            ("upstream_unavailable", Script(status=500, body={}), {"model": "retried"}),
            ("upstream_auth_failed", Script(status=401, body={}), {}),
            ("model_not_found", Script(status=404, body={}), {}),
            ("max_ttft_exceeded", Script(body=completion(), delay_s=0.5), {"max_ttft_ms": 1}),
        ]
        for code, script, fields in cases:
            outcome = self._ask(script, **fields)
            assert outcome.failure is not None
            assert outcome.failure.code == code

    def _use_tools(self) -> None:
        calls = [calling("store__echo", "call_1", text="hi"), calling("store__fail", "call_2")]
        turns = [answering("", *calls, stream=False), answering("Done", stream=False)]
        assert self._ask(Script(turns=turns), model="shop").text() == "Done"

    def _fill_a_target(self) -> None:
        held = Script(events=[chunk("Hi"), chunk(finish="stop"), usage_chunk()], gates={0: threading.Event()})
        with self._upstream.scripted(held):
            body = _body(held, model="narrow", stream=True)
            caller = threading.Thread(target=ask, args=(self._stack, "rest", body))
            caller.start()
            assert held.began.wait(20)
            refused = self._ask(Script(), model="narrow").failure
            held.gates[0].set()
            caller.join(30)
        assert refused is not None
        assert refused.code == "concurrency_exhausted"

    def _leave(self) -> None:
        script = Script(events=[chunk("Hel"), chunk("lo"), chunk(finish="stop")], gates={1: threading.Event()})
        with self._upstream.scripted(script), self._stack.chat() as stub:
            request: Any = to_proto(_body(script, stream=True))
            call = stub.StreamChatCompletion(request, metadata=(("authorization", f"Bearer {KEY}"),), timeout=30)
            next(call)
            call.cancel()
            assert script.left.wait(20)

    def _ask(self, script: Script, **fields: Any) -> Outcome:
        with self._upstream.scripted(script):
            return ask(self._stack, "rest", _body(script, **fields))


def _body(script: Script, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "Hello"}
    return {"model": "echo", "messages": [message], "user": script.user, **fields}
