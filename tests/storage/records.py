"""Records to store, and stores to put them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage, ChatCompletion, Choice, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.answers.ids import completion_name, new_id
from service.storage.record import Record
from service.storage.settings import Storage
from service.storage.store import Store, open_store
from tests.support.json_form import to_proto

CREATED = 1_760_000_000
SESSION = UUID("0198c0de-0000-4000-8000-000000000001")


def record(**changes: Any) -> Record:
    """A record of the tenant "acme", with as little as there can be, and what the test says."""
    record_id = changes.get("id") or new_id()
    members: dict[str, Any] = {
        "id": record_id,
        "tenant": "acme",
        "created": CREATED,
        "model": "echo",
        "session_id": new_id(),
        "request_id": "request-1",
        "completion": completion(record_id),
        "request": request(),
    }
    return Record(**members | changes)


def full_record(**changes: Any) -> Record:
    """A record in which everything is set."""
    members: dict[str, Any] = {
        "session_id": SESSION,
        "user": "ada",
        "project": "support",
        "campaign": "greeting",
        "arm": "warm",
        "status": "partial",
        "error_reason": "CANCELLED",
        "labels": {"topic": "billing", "näme": "välue = % ' \" 🙂"},
        "tags": ("beta", "Äpfel", "a b"),
        "provider": "scripted",
        "upstream_model": "echo-1",
        "first_token_ms": 12,
        "duration_ms": 345,
        "is_usage_estimated": True,
    }
    return record(**members | changes)


def completion(record_id: UUID, text: str = "Hello.") -> ChatCompletion:
    """An answer."""
    return ChatCompletion(
        id=completion_name(record_id),
        object="chat.completion",
        created=CREATED,
        model="echo",
        choices=[Choice(index=0, message=AssistantMessage(role="assistant", content=text), finish_reason="stop")],
        usage=Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5),
        session_id=str(SESSION),
    )


def request(text: str = "Hello?") -> ChatCompletionRequest:
    """A request."""
    return to_proto({"model": "echo", "store": True, "messages": [{"role": "user", "content": text}]})


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """The store at work, as in the service."""
    work = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        work.cancel()
        await asyncio.wait([work])
        await store.aclose()


@asynccontextmanager
async def running_store(settings: Storage) -> AsyncIterator[Store]:
    """The configured store at work."""
    async with running(open_store(settings)) as store:
        yield store


async def until(holds: Callable[[], object], within_s: float = 30) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - many things are waited for, few of which set an event
            await asyncio.sleep(0.01)
