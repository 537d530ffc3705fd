"""What both fuzz tests share: the parts they run, and what must be left at the end.

`PARLEY_FUZZ_REQUESTS` says how many requests each of the two sends (5,000), `PARLEY_FUZZ_SEED` from which
seed ("random": a new one). The seed is part of every failure's message.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.conftest import KEY
from tests.judges.asked import CAMPAIGN, KINDS, MARK, SESSION
from tests.judges.stored_ids import StoredIds
from tests.support.faces import FACES, ask
from tests.support.quick_upstream import Reader, quick_upstream
from tests.support.stack import Stack, running, wait_for
from tests.support.watching import Holds, holds, settled

REQUESTS: Final = int(os.environ.get("PARLEY_FUZZ_REQUESTS", "5000"))
_ASKED_SEED: Final = os.environ.get("PARLEY_FUZZ_SEED", "1")
SEED: Final = random.SystemRandom().randrange(10**9) if _ASKED_SEED == "random" else int(_ASKED_SEED)
ENOUGH: Final = 2000
"""Requests among which there is a right one of each sort."""
SLACK_MIB: Final = 60
"""Memory that a process may take while it is fuzzed: protobuf and the allocator keep some of the largest bodies."""
SLACK_DESCRIPTORS: Final = 12
"""Connections that stay open for a while between the parts."""
READ: Final = 300
"""Stored completions that are read one by one at the end, the latest."""
_TOOLS: Final = Path(__file__).parents[1] / "tools" / "mcp_server.py"


@dataclass
class Tally:
    """How requests ended, and what must not have been."""

    endings: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    """What was asked for with success, and how often."""
    wrong: list[str] = field(default_factory=list)

    def report(self, what: str) -> str:
        endings = "\n".join(f"{count:7} {ending}" for ending, count in self.endings.most_common())
        wrong = "\n".join(self.wrong[:50])
        answered = "\n".join(f"{count:7} {asked}" for asked, count in self.answered.most_common())
        return f"{what}, seed {SEED}:\n{endings}\nanswered:\n{answered}\n{len(self.wrong)} wrong:\n{wrong}"


@dataclass
class Fuzzed:
    """The parts, and what they held before."""

    stack: Stack
    upstream: Reader
    database: Path
    ids: StoredIds = field(default_factory=StoredIds)
    before: dict[str, Holds] = field(default_factory=dict)

    def note(self) -> None:
        """Take what the parts hold now as the measure; to be called when they are warm."""
        self.upstream.close_idle()
        assert self.stack.gateway is not None
        self.before = {
            "service": holds(self.stack.service, with_tasks=True),
            "Envoy": holds(self.stack.gateway),
        }

    def check(self) -> None:
        """Both processes live and answer, hold no more than before, and the provider is asked for nothing."""
        assert self.stack.gateway is not None
        for part in (self.stack.service, self.stack.gateway):
            assert part.process.poll() is None, "it ended:\n" + "".join(part.lines[-50:])
        self.ask_rightly()
        self.read_all()
        wait_for(lambda: self.upstream.seen().running == 0, 20)
        self.upstream.close_idle()
        service_before, gateway_before = self.before["service"], self.before["Envoy"]
        service = settled(
            self.stack.service, lambda now: _is_no_more(now, service_before), with_tasks=True, within_s=30
        )
        gateway = settled(self.stack.gateway, lambda now: _is_no_more(now, gateway_before), within_s=30)
        assert _is_no_more(service, service_before), f"the service held {service_before}, now {service}"
        assert _is_no_more(gateway, gateway_before), f"Envoy held {gateway_before}, now {gateway}"

    def ask_rightly(self) -> None:
        """A right request is answered, over each face; one with tools, too, and stored."""
        for face in FACES:
            for stream in (False, True):
                body = {"model": "openai", "stream": stream, "messages": [_ASKING]}
                outcome = ask(self.stack, face, body)
                assert (outcome.failure, outcome.text(), outcome.is_done) == (None, "w0 w1 w2 w3 ", True)
                outcome = ask(self.stack, face, {**body, "model": "support", "store": True, "messages": [_CALLING]})
                assert (outcome.failure, outcome.is_done) == (None, True)
                told = (outcome.answer or outcome.chunks[0])["id"]
                [stored] = self._get(f"/v1/chat/completions/{told}")["choices"]
                [event] = stored["message"]["tool_events"]
                assert (event["tool"], event["status"]) == ("shop__nothing", "ok")

    def store_session(self) -> None:
        """Store a completion of the session that requests name, so that both are there to read and to delete."""
        body = {"model": "openai", "messages": [_ASKING], "store": True, "session_id": SESSION}
        outcome = ask(self.stack, "grpc", body)
        assert (outcome.failure, outcome.answer is None) == (None, False)
        self.ids.learn(json.dumps(outcome.answer).encode())

    def read_all(self) -> None:
        """What is stored can be listed and read, whatever is in it, and the database is whole."""
        names: list[str] = []
        page: dict[str, Any] = {"has_more": True}
        while page["has_more"]:
            after = f"&after={names[-1]}" if names else ""
            page = self._get(f"/v1/chat/completions?limit=100{after}")
            names += [each["id"] for each in page["data"]]
        for name in names[-READ:]:
            assert self._get(f"/v1/chat/completions/{name}")["id"] == name
            self._get(f"/v1/chat/completions/{name}/messages?limit=100")
        self._get(f"/v1/sessions?limit=100&user={MARK}")  # which is in no log
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def _get(self, path: str) -> Any:
        response = httpx.get(f"{self.stack.url}{path}", headers={"authorization": f"Bearer {KEY}"}, timeout=30)
        assert response.status_code == 200, f"{path}: {response.text}"
        return response.json()


_ASKING: Final = {"role": "user", "content": "say:4:0:right"}
_CALLING: Final = {"role": "user", "content": "call:shop__nothing"}


def _is_no_more(now: Holds, before: Holds) -> bool:
    return (
        now.rss_mib <= before.rss_mib + SLACK_MIB
        and now.descriptors <= before.descriptors + SLACK_DESCRIPTORS
        and sum(now.tasks.values()) <= sum(before.tasks.values())
    )


@contextmanager
def fuzzed(folder: Path) -> Iterator[Fuzzed]:
    """Run all parts, with a model of each kind of provider, a project of them all, and a store."""
    with quick_upstream() as upstream:
        config = {
            "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
            "providers": upstream.providers(),
            "models": {kind: {"targets": [{"provider": kind, "model": "m-1"}]} for kind in KINDS},
            "projects": {"support": _project(folder)},
            "storage": {"commit_timeout_s": 30},  # a commit may be slow where the machine is busy
        }
        with running(config, folder, watched=True) as stack:
            body = {"model": "support", "messages": [{"role": "user", "content": MARK}]}
            wait_for(lambda: ask(stack, "grpc", body).failure is None, 60)  # the tool server is up
            yield Fuzzed(stack, upstream, folder / "data" / "parley.db")


def _project(folder: Path) -> dict[str, Any]:
    """With a prompt, a campaign, and tools of which none ends its server."""
    command = [sys.executable, str(_TOOLS), "stdio", "--journal", str(folder / "journal")]
    only = ["echo", "large", "fail", "hang", "blocks", "structured", "nothing"]
    template = "You help {{ who }}{% for each in times %}, {{ each }} times{% endfor %}."
    arms = {"small": {"model": "openai"}, "large": {"model": "anthropic", "system_prompt": "Be large."}}
    return {
        "default_model": "openai",
        "models": {kind: kind for kind in KINDS},
        "system_prompt": {"template": template, "args": {"who": "everybody", "times": []}},
        "tools": {"shop": {"command": command, "timeout_s": 0.5, "only": only}},
        "campaigns": {"size": {"id": CAMPAIGN, "arms": arms}},
    }
