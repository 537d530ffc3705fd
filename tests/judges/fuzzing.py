"""What both fuzz tests share: the requests they start from, the parts they run, and what must be left at the end.

`PARLEY_FUZZ_REQUESTS` says how many requests each of the two sends (5,000), `PARLEY_FUZZ_SEED` from which
seed ("random": a new one). The seed is part of every failure's message.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.conftest import KEY
from tests.support.faces import FACES, ask
from tests.support.quick_upstream import Reader, quick_upstream
from tests.support.stack import Stack, running, wait_for
from tests.support.watching import Holds, holds, settled

REQUESTS: Final = int(os.environ.get("PARLEY_FUZZ_REQUESTS", "5000"))
_ASKED_SEED: Final = os.environ.get("PARLEY_FUZZ_SEED", "1")
SEED: Final = random.SystemRandom().randrange(10**9) if _ASKED_SEED == "random" else int(_ASKED_SEED)
MARK: Final = "planted-prompt-fuzz"
"""Stands in every prompt; no error may repeat it."""
KINDS: Final = ("openai", "anthropic", "gemini", "cohere")
SLACK_MIB: Final = 60
"""Memory that a process may take while it is fuzzed: protobuf and the allocator keep some of the largest bodies."""
SLACK_DESCRIPTORS: Final = 12
"""Connections that stay open for a while between the parts."""

_SCHEMA: Final = {
    "type": "object",
    "properties": {"zone": {"type": "string"}, "areas": {"type": "array", "items": {"type": "integer"}}},
    "required": ["zone"],
    "additionalProperties": False,
}
_TOOL: Final = {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"zone":"a"}'}}
_IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
BODIES: Final[tuple[dict[str, Any], ...]] = (
    {"messages": [{"role": "user", "content": MARK}]},
    {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": MARK, "name": "n"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 10,
        "stop": ["x"],
        "seed": 7,
        "user": "u",
    },
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": MARK}, _IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    },
    {
        "messages": [{"role": "user", "content": MARK}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA, "strict": True}},
        "n": 1,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
        "extra_body": {"a": {"b": [1, 2.5, None, True, "x"]}},
    },
    {
        "messages": [{"role": "user", "content": MARK}],
        "metadata": {"a": "b"},
        "labels": {"c": "d"},
        "session_id": "8e0b3d4c-9a53-4d5f-8f2f-0d6a3b1f3c11",
        "max_ttft_ms": 5000,
        "store": False,
        "tags": [],
        "drop_params": True,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
)
"""Requests that are right, or wrong in one thing that some provider can't do."""


@dataclass
class Tally:
    """How requests ended, and what must not have been."""

    endings: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def report(self, what: str) -> str:
        endings = "\n".join(f"{count:7} {ending}" for ending, count in self.endings.most_common())
        wrong = "\n".join(self.wrong[:50])
        return f"{what}, seed {SEED}:\n{endings}\n{len(self.wrong)} wrong:\n{wrong}"


@dataclass
class Fuzzed:
    """The parts, and what they held before."""

    stack: Stack
    upstream: Reader
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
        """A right request is answered, over each face."""
        for face in FACES:
            for stream in (False, True):
                body = {"model": "openai", "stream": stream, "messages": [{"role": "user", "content": "say:4:0:right"}]}
                outcome = ask(self.stack, face, body)
                assert (outcome.failure, outcome.text(), outcome.is_done) == (None, "w0 w1 w2 w3 ", True)


def _is_no_more(now: Holds, before: Holds) -> bool:
    return (
        now.rss_mib <= before.rss_mib + SLACK_MIB
        and now.descriptors <= before.descriptors + SLACK_DESCRIPTORS
        and sum(now.tasks.values()) <= sum(before.tasks.values())
    )


@contextmanager
def fuzzed(folder: Path) -> Iterator[Fuzzed]:
    """Run all parts, with a model of each kind of provider."""
    with quick_upstream() as upstream:
        config = {
            "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
            "providers": upstream.providers(),
            "models": {kind: {"targets": [{"provider": kind, "model": "m-1"}]} for kind in KINDS},
        }
        with running(config, folder, watched=True) as stack:
            yield Fuzzed(stack, upstream)
