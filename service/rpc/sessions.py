"""SessionService: the sessions of stored completions. Each caller sees those of its own tenant alone."""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID

import grpc

from service._gen.parley.v1 import session_service_pb2 as pb
from service._gen.parley.v1 import session_service_pb2_grpc
from service.errors import Reason, RequestError, invalid, missing
from service.rpc.call import CURRENT
from service.rpc.paging import finished, is_descending, limit_of
from service.rpc.stored import store_or_error
from service.rpc.stored_filters import user_of
from service.rpc.validation_stored import parse_uuid
from service.storage.record import Page, Session
from service.storage.store import Store

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """Answers from the store.

    Args:
        store: None where the configuration has none: then every call is refused.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:  # noqa: N802 - gRPC's name
        """A page of them."""
        store, call = store_or_error(self._store), CURRENT.get()
        after = parse_uuid(request.after)
        if request.HasField("after") and after is None:
            raise invalid("after", "the id of a session")
        page = Page(after=after, limit=limit_of(request), descending=is_descending(request))
        listed = await store.sessions(call.tenant, user_of(request), page)
        data = [_told(session) for session in listed.items]
        return finished(pb.ListSessionsResponse(data=data), data, call, has_more=listed.has_more)

    async def GetSession(self, request: pb.GetSessionRequest, context: Context) -> pb.Session:  # noqa: N802 - gRPC's name
        """One of them, and how many completions it has."""
        session = await store_or_error(self._store).session(CURRENT.get().tenant, _parsed(request.session_id))
        if session is None:
            raise _not_found()
        return _told(session)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Context) -> pb.DeleteSessionResponse:  # noqa: N802 - gRPC's name
        """Delete one of them, with all its completions."""
        store, session_id = store_or_error(self._store), _parsed(request.session_id)
        deleted = await store.delete_session(CURRENT.get().tenant, session_id)
        if deleted is None:
            raise _not_found()
        return pb.DeleteSessionResponse(id=str(session_id), object="session.deleted", deleted=True, completions=deleted)


def _parsed(name: str) -> UUID:
    if not name:
        raise missing("session_id", "the id of a session")
    session_id = parse_uuid(name)
    if session_id is None:
        raise _not_found()
    return session_id


def _not_found() -> RequestError:
    """The same for ids that nobody has and for those of another tenant."""
    return RequestError(Reason.SESSION_NOT_FOUND, "There is no session of this id.", param="session_id")


def _told(session: Session) -> pb.Session:
    return pb.Session(
        id=str(session.id),
        object="session",
        created=session.created,
        last_used=session.last_used,
        user=session.user,
        completions=session.completions,
    )
