"""What the lists of stored things have in common: how a page is asked for, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import chat_service_pb2 as chat_pb
from service._gen.parley.v1 import session_service_pb2 as session_pb
from service.errors import invalid
from service.rpc.call import Call

_DEFAULT_LIMIT: Final = 20
"""As OpenAI's."""
_MOST: Final = 100

ListRequest: TypeAlias = (
    "chat_pb.ListChatCompletionsRequest | chat_pb.ListChatCompletionMessagesRequest | session_pb.ListSessionsRequest"
)
ListResponse: TypeAlias = (
    "chat_pb.ListChatCompletionsResponse | chat_pb.ListChatCompletionMessagesResponse | session_pb.ListSessionsResponse"
)
_Response = TypeVar("_Response", bound=ListResponse)


class Item(Protocol):
    """What a list is of."""

    id: str


def limit_of(request: ListRequest) -> int:
    """Most items of the page.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if not request.HasField("limit"):
        return _DEFAULT_LIMIT
    if not 1 <= request.limit <= _MOST:
        raise invalid("limit", f"a number from 1 to {_MOST}")
    return request.limit


def is_descending(request: ListRequest) -> bool:
    """Whether the newest comes first.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    if request.HasField("order") and request.order not in {"asc", "desc"}:
        raise invalid("order", 'one of "asc", "desc"')
    return request.order == "desc"


def finished(response: _Response, items: Sequence[Item], call: Call, *, has_more: bool) -> _Response:
    """The page with all that stands beside its `items`, which it has already."""
    response.object = "list"
    response.has_more = has_more
    if items:
        response.first_id = items[0].id
        response.last_id = items[-1].id
    elif call.is_rest:
        response.empty_data = NULL_VALUE
    call.has_empty_lists = call.is_rest  # also those within the items
    return response
