"""Calls that are to be stored, one after another for as long as a test wants, and what is stored of them."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import httpx

from service._gen.parley.v1.chat_service_pb2 import ListChatCompletionsRequest, StoredChatCompletion
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import KEY
from tests.support.faces import Face, ask
from tests.support.stack import Stack, wait_for

AUTH = (("authorization", f"Bearer {KEY}"),)
_PATIENCE_S = 60.0


def body(content: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A request that is answered with its content."""
    return {"model": "echo", "messages": [{"role": "user", "content": content}], **fields}


def listed(stub: ChatServiceStub) -> list[StoredChatCompletion]:
    """All that is stored."""
    found: list[StoredChatCompletion] = []
    request = ListChatCompletionsRequest(limit=100)
    while True:
        page = stub.ListChatCompletions(request, metadata=AUTH, timeout=30)
        found += page.data
        if not page.has_more:
            return found
        request.after = page.last_id


@dataclass
class Load:
    """What the callers of one load got."""

    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    texts: dict[str, str] = field(default_factory=dict)
    """Of the answers that came whole, by id."""
    codes: Counter[str | None] = field(default_factory=Counter)
    """Of the failures."""

    def wait_for_answers(self, number: int) -> None:
        """Wait for so many more."""
        wanted = len(self.texts) + number
        wait_for(lambda: len(self.texts) >= wanted, _PATIENCE_S)

    def wait_for_failures(self, number: int) -> None:
        """Wait for so many more."""
        wanted = self.codes.total() + number
        wait_for(lambda: self.codes.total() >= wanted, _PATIENCE_S)


@contextmanager
def loaded(stack: Stack, *, faces: Sequence[Face] = ("grpc", "rest")) -> Iterator[Load]:
    """Have callers of each face ask, unary and for streams, one call after another, until the block is left."""
    load, over, numbers = Load(), threading.Event(), count()

    def call_on(face: Face, *, stream: bool) -> None:
        while not over.is_set():
            _call(stack, face, load, next(numbers), stream=stream)

    callers = [
        threading.Thread(target=call_on, args=(face,), kwargs={"stream": stream})
        for face in faces
        for stream in (False, True)
    ]
    for caller in callers:
        caller.start()
    try:
        yield load
    finally:
        over.set()
        for caller in callers:
            caller.join(_PATIENCE_S)


def _call(stack: Stack, face: Face, load: Load, number: int, *, stream: bool) -> None:
    text = f"call {number}"
    try:
        outcome = ask(
            stack, face, body(text, store=True, stream=stream, labels={"load": load.name, "number": str(number)})
        )
    except (httpx.HTTPError, grpc.RpcError, AssertionError):
        load.codes["unreachable"] += 1
        return
    if outcome.failure is not None:
        load.codes[outcome.failure.code] += 1
        return
    assert outcome.text() == text
    name = (outcome.answer or outcome.chunks[0])["id"]
    load.texts[name] = text
