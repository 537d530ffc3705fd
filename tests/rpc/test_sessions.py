"""Sessions over gRPC: what they tell, and which a caller can see and delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from service._gen.parley.v1 import chat_service_pb2 as chat_pb
from service._gen.parley.v1 import session_service_pb2 as pb
from service.storage.record import Record
from service.storage.settings import Storage
from tests.rpc.stored import CREATED, Served, record, serving
from tests.support.json_form import json_of

FIRST, SECOND, THIRD = (UUID(f"{digit * 8}-1111-4111-8111-111111111111") for digit in "312")
"""The order of their names is not that of their time."""
GONE = "1862ecf3-b4e8-4848-bd5b-c14eae204150"


@pytest.fixture
async def served(folder: Path) -> AsyncIterator[Served]:
    async with serving(Storage(data_dir=str(folder))) as started:
        yield started


def _three_sessions() -> list[Record]:
    """Of tenant "a", in the order of time, with two completions, three and one."""
    return [
        record(session_id=FIRST, user="ann", created=CREATED),
        record(session_id=SECOND, user="bob", created=CREATED + 1),
        record(session_id=SECOND, user="ann", created=CREATED + 2),
        record(session_id=FIRST, user=None, created=CREATED + 3),
        record(session_id=SECOND, user="bob", created=CREATED + 4),
        record(session_id=THIRD, user=None, created=CREATED + 5),
    ]


async def _list(served: Served, key: str = "key-of-a", **fields: Any) -> pb.ListSessionsResponse:
    answer = await served.ask("ListSessions", pb.ListSessionsRequest(**fields), key=key)
    assert isinstance(answer, pb.ListSessionsResponse)
    return answer


async def _ids(served: Served, key: str = "key-of-a", **fields: Any) -> list[str]:
    return [session.id for session in (await _list(served, key, **fields)).data]


async def test_a_session_tells_when_it_was_used_and_by_whom(served: Served) -> None:
    await served.keep(*_three_sessions())

    told = await served.ask("GetSession", pb.GetSessionRequest(session_id=str(SECOND)))

    assert json_of(told) == {
        "id": str(SECOND),
        "object": "session",
        "created": CREATED + 1,
        "last_used": CREATED + 4,
        "user": "bob",
        "completions": 3,
    }
    assert await served.ask("GetSession", pb.GetSessionRequest(session_id=str(SECOND).upper())) == told


async def test_sessions_stand_in_the_order_of_their_first_completions(served: Served) -> None:
    await served.keep(*_three_sessions())

    told = json_of(await _list(served))

    assert told == {
        "object": "list",
        "data": [
            {"id": str(FIRST), "object": "session", "created": CREATED, "last_used": CREATED + 3, "user": "ann"},
            {"id": str(SECOND), "object": "session", "created": CREATED + 1, "last_used": CREATED + 4, "user": "bob"},
            {"id": str(THIRD), "object": "session", "created": CREATED + 5, "last_used": CREATED + 5},
        ],
        "first_id": str(FIRST),
        "last_id": str(THIRD),
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"order": "desc"}, [THIRD, SECOND, FIRST]),
        ({"limit": 2}, [FIRST, SECOND]),
        ({"limit": 2, "after": str(FIRST)}, [SECOND, THIRD]),
        ({"after": str(SECOND), "order": "desc"}, [FIRST]),
        ({"after": str(THIRD)}, []),
        ({"user": "ann"}, [FIRST]),
        ({"user": "bob"}, [SECOND]),
        ({"user": "nobody"}, []),
        ({"user": "ann", "after": str(FIRST)}, []),
    ],
)
async def test_a_list_is_what_was_asked_for(served: Served, fields: dict[str, Any], wanted: list[UUID]) -> None:
    await served.keep(*_three_sessions())

    assert await _ids(served, **fields) == [str(session) for session in wanted]


async def test_pages_follow_each_other_without_gap_or_repetition(served: Served) -> None:
    kept = [record() for _ in range(25)]
    await served.keep(*kept)

    first = await _list(served)
    second = await _list(served, after=first.last_id)

    assert [len(first.data), len(second.data)] == [20, 5]
    assert (first.has_more, second.has_more) == (True, False)
    assert [session.id for page in (first, second) for session in page.data] == [str(each.session_id) for each in kept]


async def test_a_deleted_session_takes_its_completions_with_it(served: Served) -> None:
    names = await served.keep(*_three_sessions())

    told = await served.ask("DeleteSession", pb.DeleteSessionRequest(session_id=str(SECOND)))

    assert json_of(told) == {"id": str(SECOND), "object": "session.deleted", "deleted": True, "completions": 3}
    assert await _ids(served) == [str(FIRST), str(THIRD)]
    left = await served.ask("ListChatCompletions", chat_pb.ListChatCompletionsRequest())
    assert [completion.id for completion in left.data] == [names[0], names[3], names[5]]
    failure = await served.fail("DeleteSession", pb.DeleteSessionRequest(session_id=str(SECOND)))
    assert failure.code == "session_not_found"


async def test_a_session_is_gone_with_its_last_completion(served: Served) -> None:
    names = await served.keep(*_three_sessions())

    for name in (names[0], names[3]):
        await served.ask("DeleteChatCompletion", chat_pb.DeleteChatCompletionRequest(completion_id=name))

    assert await _ids(served) == [str(SECOND), str(THIRD)]
    failure = await served.fail("GetSession", pb.GetSessionRequest(session_id=str(FIRST)))
    assert failure.code == "session_not_found"


@pytest.mark.parametrize(
    "session_id", [GONE, "x", FIRST.hex, f"{{{FIRST}}}", "\0", "01a202a7-2524-7d59-b6f9-9e81b76e7100"]
)
@pytest.mark.parametrize("method", ["Get", "Delete"])
async def test_what_is_no_session_is_not_found(served: Served, method: str, session_id: str) -> None:
    await served.keep(*_three_sessions())

    failure = await served.fail(*_of_one(method, session_id))

    assert failure.identity() == (
        404,
        "invalid_request_error",
        "session_not_found",
        "session_id",
        "There is no session of this id.",
    )


@pytest.mark.parametrize("method", ["Get", "Delete"])
async def test_an_id_is_required(served: Served, method: str) -> None:
    failure = await served.fail(*_of_one(method, ""))

    assert (failure.code, failure.param) == ("missing_required_parameter", "session_id")


@pytest.mark.parametrize("method", ["Get", "Delete"])
async def test_a_session_of_another_tenant_looks_as_if_there_were_none(served: Served, method: str) -> None:
    await served.keep(*_three_sessions())

    foreign = await served.fail(*_of_one(method, str(FIRST)), key="key-of-b")
    unknown = await served.fail(*_of_one(method, GONE), key="key-of-b")

    assert foreign == unknown
    assert await _ids(served, key="key-of-b") == []
    assert len(await _ids(served, key="other-key-of-a")) == 3


async def test_a_session_id_of_two_tenants_is_two_sessions(served: Served) -> None:
    await served.keep(record(tenant="a", session_id=FIRST), record(tenant="b", session_id=FIRST, user="bob"))

    await served.ask("DeleteSession", pb.DeleteSessionRequest(session_id=str(FIRST)))

    told = await served.ask("GetSession", pb.GetSessionRequest(session_id=str(FIRST)), key="key-of-b")
    assert (told.user, told.completions) == ("bob", 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": ""}, "after"),
        ({"after": "x"}, "after"),
        ({"after": FIRST.hex}, "after"),
        ({"user": ""}, "user"),
        ({"user": "u" * 257}, "user"),
        ({"user": "\0"}, "user"),
    ],
)
async def test_a_bad_value_in_a_list_is_named(served: Served, fields: dict[str, Any], param: str) -> None:
    failure = await served.fail("ListSessions", pb.ListSessionsRequest(**fields))

    assert (failure.http_status, failure.code, failure.param) == (400, "invalid_value", param)


async def test_there_is_no_page_behind_a_session_that_is_not_there(served: Served) -> None:
    await served.keep(*_three_sessions())

    unknown = await served.fail("ListSessions", pb.ListSessionsRequest(after=GONE))
    foreign = await served.fail("ListSessions", pb.ListSessionsRequest(after=str(FIRST)), key="key-of-b")

    assert (unknown.http_status, unknown.code, unknown.param) == (404, "session_not_found", "after")
    assert foreign == unknown


async def test_an_empty_list_is_marked_for_the_gateway_alone(served: Served) -> None:
    for rest in (False, True):
        told = await served.ask("ListSessions", pb.ListSessionsRequest(), rest=rest)
        assert told.HasField("empty_data") is rest


def _of_one(method: str, session_id: str) -> tuple[str, Any]:
    """The method and its request, of one session."""
    if method == "Get":
        return "GetSession", pb.GetSessionRequest(session_id=session_id)
    return "DeleteSession", pb.DeleteSessionRequest(session_id=session_id)
