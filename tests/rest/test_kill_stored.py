"""The service killed amid `store: true` load: what a client has whole is in the store, and nothing is twice."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2 import ListChatCompletionsRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY, stack_config
from tests.support.json_form import to_proto
from tests.support.postgres import running_postgres
from tests.support.stack import Stack, gateway_before, running
from tests.support.upstream import FakeUpstream

METADATA = (("x-api-key", KEY),)
KINDS = [(face, stream) for face in ("rest", "grpc") for stream in (False, True)]
CALLERS_PER_KIND = 4
KILLS = 4
LONGEST_LIFE_S = 0.6
"""After its first whole answer; some hundred answers come in this time."""
PATIENCE_S = 30.0


@dataclass
class Answers:
    """What clients got whole."""

    texts: dict[str, str] = field(default_factory=dict)
    """By id of the completion."""
    kinds: Counter[tuple[str, bool]] = field(default_factory=Counter)
    broken: int = 0
    """How many calls ended otherwise."""


class Caller:
    """Makes calls over both faces, one after another, until the service is gone. Every prompt is another."""

    def __init__(
        self, client: httpx.AsyncClient, stub: ChatServiceStub, answers: Answers, numbers: Iterator[int]
    ) -> None:
        self._client = client
        self._stub: Any = stub
        self._answers = answers
        self._numbers = numbers

    async def call_on(self, face: str, *, stream: bool, over: asyncio.Event) -> None:
        while not over.is_set():
            number = next(self._numbers)
            prompt = f"call {number} " + "and on " * random.randrange(8)
            body = {
                "model": "echo",
                "stream": stream,
                "store": True,
                "labels": {"number": str(number)},
                "messages": [{"role": "user", "content": prompt.strip()}],
            }
            call = self._rest if face == "rest" else self._grpc
            try:
                name, text = await call(body)
            except (httpx.HTTPError, grpc.aio.AioRpcError, ConnectionError):
                self._answers.broken += 1
                continue
            assert text == prompt.strip()
            assert name not in self._answers.texts
            self._answers.texts[name] = text
            self._answers.kinds[face, stream] += 1

    async def _rest(self, body: dict[str, Any]) -> tuple[str, str]:
        response = await self._client.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        if not body["stream"]:
            answer = response.json()
            return answer["id"], answer["choices"][0]["message"]["content"]
        *events, done, rest = response.text.split("\n\n")
        if (done, rest) != ("data: [DONE]", ""):
            raise ConnectionError
        chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]
        return chunks[0]["id"], "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    async def _grpc(self, body: dict[str, Any]) -> tuple[str, str]:
        request = to_proto(body)
        if not body["stream"]:
            request.ClearField("stream")
            answer = await self._stub.CreateChatCompletion(request, metadata=METADATA)
            return answer.id, answer.choices[0].message.content
        chunks = [chunk async for chunk in self._stub.StreamChatCompletion(request, metadata=METADATA)]
        return chunks[0].id, "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


@contextmanager
def storage(kind: Literal["sqlite", "postgresql"], folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The section of the configuration, and the environment that it needs."""
    if kind == "sqlite":
        yield {"data_dir": str(folder / "data")}, {}
        return
    with running_postgres() as postgres:
        yield {"url_env": "STORE_URL"}, {"STORE_URL": postgres.new_database()}


async def killed_under_load(part: Stack, address: str, answers: Answers, numbers: Iterator[int]) -> None:
    """Load the service, kill it, and let its callers find out."""
    over, before = asyncio.Event(), len(answers.texts)
    async with (
        asyncio.timeout(PATIENCE_S),
        httpx.AsyncClient(base_url=f"http://{address}", headers=dict(METADATA), timeout=PATIENCE_S) as client,
        grpc.aio.insecure_channel(address) as channel,
        asyncio.TaskGroup() as group,
    ):
        caller = Caller(client, ChatServiceStub(channel), answers, numbers)
        for face, stream in KINDS * CALLERS_PER_KIND:
            group.create_task(caller.call_on(face, stream=stream, over=over))
        while len(answers.texts) == before:  # noqa: ASYNC110 - what the callers do, they do in this loop
            await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0, LONGEST_LIFE_S))
        part.service.process.kill()
        over.set()


def stored(stub: ChatServiceStub) -> list[tuple[str, str, str, str]]:
    """Id, number, status and text of all that is stored."""
    found: list[tuple[str, str, str, str]] = []
    request = ListChatCompletionsRequest(limit=100)
    while True:
        page = stub.ListChatCompletions(request, metadata=METADATA, timeout=PATIENCE_S)
        found += [
            (each.id, each.metadata["number"], each.status, each.choices[0].message.content) for each in page.data
        ]
        if not page.has_more:
            return found
        request.after = page.last_id


@pytest.mark.timeout(240)  # the service starts five times; 20 s where nothing else runs
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_killed_service_has_kept_every_answer_that_a_client_has_whole(
    upstream: FakeUpstream, kind: Literal["sqlite", "postgresql"]
) -> None:
    answers, numbers = Answers(), count()
    # The path of a socket is at most about 100 characters long.
    with (
        tempfile.TemporaryDirectory(prefix="kill-") as name,
        storage(kind, Path(name)) as (section, environ),
        ExitStack() as stack,
    ):
        folder, address, gateway = Path(name), f"unix:{name}/service", ""
        (folder / "gateway").mkdir()
        config = {**stack_config(upstream), "storage": section}
        environ["PARLEY_GRPC_ADDRESS"] = address
        for _ in range(KILLS):
            part = stack.enter_context(running(config, folder, gateway=False, environ=environ))
            gateway = gateway or stack.enter_context(gateway_before(address, folder / "gateway"))
            await killed_under_load(part, gateway, answers, numbers)
        part = stack.enter_context(running(config, folder, gateway=False, environ=environ))
        with part.chat() as stub:
            found = await asyncio.to_thread(stored, stub)

    complete = {name: text for name, _, status, text in found if status == "completed"}
    assert {name: complete.get(name) for name in answers.texts} == answers.texts
    assert max(Counter(name for name, *_ in found).values()) == 1
    assert max(Counter(number for _, number, *_ in found).values()) == 1, "a call was answered twice"
    assert set(answers.kinds) == set(KINDS)
    assert answers.broken >= KILLS
