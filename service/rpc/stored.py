"""The calls of ChatService about stored completions. Each caller sees those of its own tenant alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar
from uuid import UUID

from service._gen.parley.v1 import chat_service_pb2 as pb
from service._gen.parley.v1.chat_completion_pb2 import Choice
from service.answers.ids import completion_name, parse_completion
from service.errors import Reason, RequestError, invalid, missing
from service.rpc.call import CURRENT, Call
from service.rpc.paging import finished, is_descending, limit_of
from service.rpc.stored_filters import filter_of, new_labels
from service.storage.forms import stored_completion, stored_messages
from service.storage.record import Page, Record
from service.storage.store import Store

_MAX_PAGE_BYTES: Final = 3 * 1024 * 1024
"""Of its items, as they are sent: gRPC clients take 4 MiB unless they are told otherwise."""
_Item = TypeVar("_Item", pb.StoredChatCompletion, pb.StoredMessage)


class StoredCompletions:
    """Answers from the store.

    Args:
        store: None where the configuration has none: then every call is refused.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store

    async def list_page(self, request: pb.ListChatCompletionsRequest) -> pb.ListChatCompletionsResponse:
        """A page of them."""
        store, call = store_or_error(self._store), CURRENT.get()
        page = Page(after=_after(request), limit=limit_of(request), descending=is_descending(request))
        listed = await store.list(call.tenant, filter_of(request), page)
        completions = [stored_completion(record) for record in listed.items]
        data = _fitting(completions)  # the store has counted the answers alone, not what stands beside them
        has_more = listed.has_more or len(data) < len(completions)
        return finished(pb.ListChatCompletionsResponse(data=data), data, call, has_more=has_more)

    async def get(self, request: pb.GetChatCompletionRequest) -> pb.StoredChatCompletion:
        """One of them, with its request."""
        completion = stored_completion(await self._found(request.completion_id), with_request=True)
        _tell_lists(CURRENT.get(), completion.choices)
        return completion

    async def messages(self, request: pb.ListChatCompletionMessagesRequest) -> pb.ListChatCompletionMessagesResponse:
        """A page of the messages that one of them answers."""
        limit, descending = limit_of(request), is_descending(request)
        messages = stored_messages(await self._found(request.completion_id))
        if descending:
            messages.reverse()
        start = 0
        if request.HasField("after"):
            places = {message.id: place for place, message in enumerate(messages)}
            if request.after not in places:
                raise invalid("after", "the id of one of the completion's messages")
            start = places[request.after] + 1
        data = _fitting(messages[start : start + limit])
        response = pb.ListChatCompletionMessagesResponse(data=data)
        return finished(response, data, CURRENT.get(), has_more=start + len(data) < len(messages))

    async def update(self, request: pb.UpdateChatCompletionRequest) -> pb.StoredChatCompletion:
        """Give one of them other labels."""
        store, call = store_or_error(self._store), CURRENT.get()
        labels = new_labels(request)
        record = await store.update_labels(call.tenant, await self._id_of(request.completion_id), labels)
        if record is None:
            raise _not_found()
        completion = stored_completion(record)
        _tell_lists(call, completion.choices)
        return completion

    async def delete(self, request: pb.DeleteChatCompletionRequest) -> pb.DeleteChatCompletionResponse:
        """Delete one of them."""
        store, call = store_or_error(self._store), CURRENT.get()
        completion_id = await self._id_of(request.completion_id)
        if not await store.delete(call.tenant, completion_id):
            raise _not_found()
        name = completion_name(completion_id)
        return pb.DeleteChatCompletionResponse(id=name, object="chat.completion.deleted", deleted=True)

    async def _id_of(self, name: str) -> UUID:
        """The id of the completion that `name` is of, which may be there or not; that of a choice is looked up."""
        completion_id, choice = _parsed(name)
        if choice is not None:
            await self._found(name)
        return completion_id

    async def _found(self, name: str) -> Record:
        """The caller's completion that has this name, or a choice of this name."""
        store = store_or_error(self._store)
        completion_id, choice = _parsed(name)
        record = await store.get(CURRENT.get().tenant, completion_id)
        if record is None or not _has_choice(record, choice):
            raise _not_found()
        return record


def store_or_error(store: Store | None) -> Store:
    """The store.

    Raises:
        RequestError: PARAMETER_UNSUPPORTED: there is none.
    """
    if store is None:
        message = "Completions are not stored here: the configuration has no `storage`."
        raise RequestError(Reason.PARAMETER_UNSUPPORTED, message)
    return store


def _after(request: pb.ListChatCompletionsRequest) -> UUID | None:
    """Where the page begins: behind an id, which has its place even where its completion is gone."""
    if not request.HasField("after"):
        return None
    parsed = parse_completion(request.after)
    if parsed is None:
        raise invalid("after", "the id of a stored completion")
    return parsed[0]


def _parsed(name: str) -> tuple[UUID, int | None]:
    if not name:
        raise missing("completion_id", "the id of a stored completion")
    parsed = parse_completion(name)
    if parsed is None:
        raise _not_found()
    return parsed


def _has_choice(record: Record, choice: int | None) -> bool:
    return choice is None or any(each.index == choice for each in record.completion.choices)


def _not_found() -> RequestError:
    """The same for ids that nobody has and for those of another tenant."""
    return RequestError(Reason.COMPLETION_NOT_FOUND, "There is no stored completion of this id.", param="completion_id")


def _fitting(items: Sequence[_Item]) -> Sequence[_Item]:
    """As many as a page may have, from the first on; one at least."""
    left_bytes = _MAX_PAGE_BYTES
    for place, item in enumerate(items):
        left_bytes -= item.ByteSize()
        if left_bytes < 0 and place:
            return items[:place]
    return items


def _tell_lists(call: Call, choices: Iterable[Choice]) -> None:
    call.has_empty_lists = call.is_rest and any(choice.HasField("logprobs") for choice in choices)
