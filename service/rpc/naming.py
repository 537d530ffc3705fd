"""What an answer and its parts are called towards the caller."""

from __future__ import annotations

from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service.answers.ids import MAX_CHOICES, choice_id, completion_name, created_of, message_name


class Naming:
    """Names one answer, whole or in pieces.

    Args:
        session_id: The session that it belongs to.
        completion_id: Under which it is stored; None where it is not: then it keeps its provider's name and time.
        model: Id of the model that answers, where it is not the one that the request names.
    """

    __slots__ = ("_completion_id", "_is_begun", "_model", "_named", "_session_id")

    def __init__(self, session_id: str, completion_id: UUID | None = None, model: str | None = None) -> None:
        self._session_id = session_id
        self._completion_id = completion_id
        self._model = model
        self._is_begun = False
        self._named: set[int] = set()
        """Choices that have had their first piece."""

    def whole(self, completion: ChatCompletion) -> None:
        """Name an answer in one piece."""
        completion.session_id = self._session_id
        if self._completion_id is not None:
            completion.id = completion_name(self._completion_id)
            completion.created = created_of(self._completion_id)
        for choice in completion.choices:
            if self._model is not None:
                choice.model = self._model
            if self._completion_id is not None and choice.index < MAX_CHOICES:
                choice.completion_id = str(choice_id(self._completion_id, choice.index))
                choice.message.id = message_name(self._completion_id, choice.index)

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """Name a piece; what is said once stands in the first piece of the answer, or of the choice."""
        if self._completion_id is not None:
            chunk.id = completion_name(self._completion_id)
            chunk.created = created_of(self._completion_id)
        if not self._is_begun and chunk.choices:
            self._is_begun = True
            chunk.session_id = self._session_id
        if self._completion_id is not None or self._model is not None:
            self._name_choices(chunk)

    def _name_choices(self, chunk: ChatCompletionChunk) -> None:
        for choice in chunk.choices:
            if choice.index in self._named:
                continue
            self._named.add(choice.index)
            if self._model is not None:
                choice.model = self._model
            if self._completion_id is not None and choice.index < MAX_CHOICES:
                choice.completion_id = str(choice_id(self._completion_id, choice.index))
                choice.delta.id = message_name(self._completion_id, choice.index)
