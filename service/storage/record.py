"""What is kept of a completion, and how it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest

Item = TypeVar("Item", covariant=True)  # noqa: PLC0105 - a page is a list of `Item` and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A stored completion without its request, which may be large."""

    id: UUID
    """Made by `service.answers.ids.new_id`: the order of ids is that of time."""
    tenant: str
    created: int
    """In seconds since 1970."""
    model: str
    session_id: UUID
    user: str | None = field(default=None, repr=False)
    project: str | None = None
    campaign: str | None = None
    arm: str | None = None
    status: Literal["completed", "partial"] = "completed"
    error_reason: str | None = None
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = field(default=(), repr=False)
    """One that occurs twice is kept once."""
    provider: str | None = None
    upstream_model: str | None = None
    first_token_ms: int | None = None
    duration_ms: int | None = None
    is_usage_estimated: bool = False
    completion: ChatCompletion = field(repr=False)
    """As the caller got it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Summary):
    """A stored completion."""

    request: ChatCompletionRequest = field(repr=False)
    """As the caller gave it, with the messages that were filled from the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The stored completions of a tenant that have a `session_id` in common."""

    id: UUID
    created: int
    """When its first completion was made, in seconds since 1970."""
    last_used: int
    """When its latest completion was made, likewise."""
    user: str | None = field(default=None, repr=False)
    """Of its first completion."""
    completions: int | None = None
    """How many; None in lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionFilter:
    """Which completions are asked for: those of which all of this holds."""

    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = field(default=(), repr=False)
    user: str | None = field(default=None, repr=False)
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list is asked for."""

    after: UUID | None = None
    """The last item of the page before; of completions it need not exist any more."""
    limit: int = 20
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Listed(Generic[Item]):
    """A page. It may be shorter than was asked for although more follow: large items come in smaller pages."""

    items: Sequence[Item]
    has_more: bool
