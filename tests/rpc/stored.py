"""A service with a store, and what is put into that."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import grpc

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.session_service_pb2_grpc import SessionServiceStub
from service.answers.ids import choice_id, completion_name, message_name, new_id
from service.rpc.auth import CallerKey, Keys
from service.storage.record import Record
from service.storage.settings import Storage
from service.storage.store import Store
from tests.storage.records import running_store, until
from tests.support.faces import Failure, grpc_failure
from tests.support.in_process import InProcess, in_process
from tests.support.json_form import to_proto

TENANTS = {"key-of-a": "a", "other-key-of-a": "a", "key-of-b": "b"}
"""By key."""
CREATED = 1_700_000_000


def keys() -> Keys:
    """Two keys of one tenant, and one of another."""
    digests = {key: hashlib.sha256(key.encode()).hexdigest() for key in TENANTS}
    return Keys([(CallerKey(key, tenant=TENANTS[key]), digest) for key, digest in digests.items()])


def record(**changes: Any) -> Record:
    """A stored completion of tenant "a", the next in time; with as many choices as `choices` says."""
    completion_id = changes.pop("id", None) or new_id()
    choices = changes.pop("choices", 1)
    values: dict[str, Any] = {
        "id": completion_id,
        "tenant": "a",
        "created": CREATED,
        "model": "m",
        "session_id": uuid4(),
        "user": None,
        "project": None,
        "campaign": None,
        "arm": None,
        "status": "completed",
        "error_reason": None,
        "request_id": "request-1",
        "labels": {},
        "tags": (),
        "provider": "p",
        "upstream_model": "p-1",
        "first_token_ms": 20,
        "duration_ms": 50,
        "is_usage_estimated": False,
        "request": to_proto({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "store": True}),
        **changes,
    }
    values.setdefault("completion", _completion(completion_id, values["session_id"], values["model"], choices))
    return Record(**values)


def _completion(completion_id: UUID, session_id: UUID, model: str, choices: int) -> ChatCompletion:
    completion = ChatCompletion(
        id=completion_name(completion_id),
        object="chat.completion",
        created=CREATED,
        model=model,
        session_id=str(session_id),
    )
    for index in range(choices):
        choice = completion.choices.add(
            index=index, finish_reason="stop", completion_id=str(choice_id(completion_id, index))
        )
        choice.message.role = "assistant"
        choice.message.content = f"answer {index}"
        choice.message.id = message_name(completion_id, index)
    completion.usage.prompt_tokens = 3
    completion.usage.completion_tokens = 4
    completion.usage.total_tokens = 7
    return completion


@dataclass
class Served:
    """The service, its store, and callers."""

    service: InProcess
    store: Store
    channel: grpc.aio.Channel

    async def keep(self, *records: Record) -> list[str]:
        """Store them; their names."""
        for each in records:
            await self.store.keep(each)
        return [completion_name(each.id) for each in records]

    async def ask(self, method: str, request: Any, *, key: str = "key-of-a", rest: bool = False) -> Any:
        """Call the method of either service; with `rest` as the gateway does for a REST client."""
        stub: Any = SessionServiceStub(self.channel) if "Session" in method else ChatServiceStub(self.channel)
        marks = (("x-parley-sse", "1"),) if rest else ()
        return await getattr(stub, method)(request, metadata=(("x-api-key", key), *marks), timeout=30)

    async def fail(self, method: str, request: Any, *, key: str = "key-of-a") -> Failure:
        """What the call is refused with."""
        try:
            answer = await self.ask(method, request, key=key)
        except grpc.aio.AioRpcError as error:
            return grpc_failure(error)
        raise AssertionError(f"it was answered: {answer}")


@asynccontextmanager
async def serving(settings: Storage, *, is_up: bool = True) -> AsyncIterator[Served]:
    """Serve a store, without any model; unless told otherwise, once it has its database."""
    async with (
        running_store(settings) as store,
        in_process({}, store=store, keys=keys()) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        if is_up:
            await until(lambda: store.is_available)
        yield Served(service, store, channel)
