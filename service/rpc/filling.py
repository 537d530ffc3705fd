"""Fills in the messages of a request that stand for stored answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Protocol
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import AudioReference, Message
from service.answers.ids import parse_completion
from service.errors import Reason, RequestError, invalid
from service.rpc.validation_messages import says_something
from service.storage.record import Summary

_MOST: Final = 100
"""Stored answers that one request may stand on; each is a query."""
_MOST_MIB: Final = 32
"""Of what is filled in: as much as a request may have by itself. An answer of a megabyte is named in 50 bytes, and
may be named again and again."""
_MOST_BYTES: Final = _MOST_MIB * 1024 * 1024
_TEXTS: Final = ("refusal", "reasoning_content")
_LISTS: Final = ("tool_calls", "reasoning_details", "annotations", "provider_content", "tool_events")


class Records(Protocol):
    """What is needed of the store."""

    async def summary(self, tenant: str, completion_id: UUID, /) -> Summary | None:
        """The tenant's stored completion of that id, without its request.

        Raises:
            StorageUnavailable: The database does not answer.
        """


async def filled(request: ChatCompletionRequest, store: Records | None, tenant: str) -> ChatCompletionRequest:
    """The validated request, or a copy in which every message that stands for a stored answer is that answer.

    Args:
        request: It stays as it is.
        store: Has the answers; None where none are stored.
        tenant: Whose.

    Raises:
        RequestError: COMPLETION_NOT_FOUND; PARAMETER_INVALID: there is nothing to fill in, or too much;
            PARAMETER_UNSUPPORTED: nothing is stored.
        StorageUnavailable: The database does not answer.
    """
    places = [place for place, message in enumerate(request.messages) if _stands_for_another(message)]
    if not places:
        return request
    copy = ChatCompletionRequest()
    copy.CopyFrom(request)
    answers = _Answers(store, tenant, (_name_in(request.messages[place]) for place in places))
    for place in places:
        message = copy.messages[place]
        param = f"messages[{place}].{'completion_id' if message.completion_id else 'id'}"
        _fill(message, await answers.named(_name_in(message), param))
        if not says_something(message):
            raise invalid(param, "the id of an answer with content: that one broke off before it had any, or had none")
    return copy


def _stands_for_another(message: Message) -> bool:
    """Whether it is to be filled in. An empty text beside `id` is content: answers of no store have such ids, too."""
    if message.role != "assistant" or says_something(message):
        return False
    return bool(message.completion_id) or (bool(message.id) and not message.content.HasField("string_value"))


def _name_in(message: Message) -> str:
    """Under which the answer is stored that the message stands for."""
    return message.completion_id or message.id


class _Answers:
    """The stored answers that one request needs, each completion asked for once.

    Args:
        store: Has them; None where none are stored.
        tenant: Whose.
        names: Of the answers, as often as each is needed.
    """

    def __init__(self, store: Records | None, tenant: str, names: Iterable[str]) -> None:
        self._store = store
        self._tenant = tenant
        self._wanted = Counter(map(parse_completion, names))
        self._known: dict[UUID, Mapping[int, AssistantMessage]] = {}
        """By completion, and by index of the choice; only what is wanted, since the rest may be large."""
        self._left_bytes = _MOST_BYTES

    async def named(self, name: str, param: str) -> AssistantMessage:
        """The answer of that name."""
        if self._store is None:
            message = f"`{param}` can't be looked up: completions are not stored here. Give the message's content."
            raise RequestError(Reason.PARAMETER_UNSUPPORTED, message, param=param)
        named = parse_completion(name)
        if named is not None and named[1] is not None:
            answer = (await self._of(self._store, named[0])).get(named[1])
            if answer is not None:
                return answer
        message = f"There is no stored answer of the id that `{param}` gives."
        raise RequestError(Reason.COMPLETION_NOT_FOUND, message, param=param)

    async def _of(self, store: Records, completion_id: UUID) -> Mapping[int, AssistantMessage]:
        if completion_id in self._known:
            return self._known[completion_id]
        if len(self._known) == _MOST:
            raise invalid("messages", f"given with their content where they stand for more than {_MOST} stored answers")
        stored = await store.summary(self._tenant, completion_id)
        answers: dict[int, AssistantMessage] = {}
        for choice in stored.completion.choices if stored is not None else ():
            times = self._wanted[completion_id, choice.index]
            self._left_bytes -= times * choice.message.ByteSize()
            if self._left_bytes < 0:
                raise invalid(
                    "messages", f"given with their content where the answers they stand for exceed {_MOST_MIB} MiB"
                )
            if times:
                answers[choice.index] = AssistantMessage()
                answers[choice.index].CopyFrom(choice.message)  # a part of the completion would hold all of it
        self._known[completion_id] = answers
        return answers


def _fill(message: Message, stored: AssistantMessage) -> None:
    """Make `message` say what the stored one says; what it has beside it, such as its `name`, stays."""
    if stored.HasField("content"):
        message.content.string_value = stored.content
    else:
        message.ClearField("content")
    for name in _TEXTS:
        if text := getattr(stored, name):
            setattr(message, name, text)
    for name in _LISTS:
        message.ClearField(name)  # type: ignore[arg-type]  # one of the names above
        getattr(message, name).extend(getattr(stored, name))
    if stored.HasField("function_call"):
        message.function_call.CopyFrom(stored.function_call)
    if stored.HasField("audio"):
        audio = stored.audio
        message.audio.CopyFrom(
            AudioReference(id=audio.id, data=audio.data, expires_at=audio.expires_at, transcript=audio.transcript)
        )
