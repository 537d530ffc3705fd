"""Stored completions over gRPC: what they tell, and which a caller can see and change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1 import chat_service_pb2 as pb
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from service._gen.parley.v1.session_service_pb2 import ListSessionsRequest
from service.answers.ids import choice_id, message_name
from service.storage.settings import Storage
from service.storage.store import open_store
from tests.rpc.stored import CREATED, Served, keys, record, serving
from tests.support.faces import grpc_failure
from tests.support.in_process import in_process
from tests.support.json_form import json_of, to_proto

SESSION = UUID("0198a000-0000-4000-8000-000000000001")
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "b": 1, "a": 2}}}
GONE = "chatcmpl-01a202a4bc407836ba56eb662b462c00"


@pytest.fixture
async def served(folder: Path) -> AsyncIterator[Served]:
    async with serving(Storage(data_dir=str(folder))) as started:
        yield started


async def test_a_stored_completion_tells_all_that_is_known_of_it(served: Served) -> None:
    request = to_proto(
        {
            "model": "support/smart",
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.5,
            "tools": [WEATHER],
            "store": True,
        }
    )
    kept = record(
        model="support/smart",
        session_id=SESSION,
        user="user-1",
        project="support",
        campaign="spring",
        arm="new",
        status="partial",
        error_reason="UPSTREAM_INTERRUPTED",
        labels={"team": "x"},
        tags=("t1", "t2"),
        is_usage_estimated=True,
        request=request,
    )
    (name,) = await served.keep(kept)

    told = await served.ask("GetChatCompletion", pb.GetChatCompletionRequest(completion_id=name))

    assert json_of(told) == {
        "id": name,
        "object": "chat.completion",
        "created": CREATED,
        "model": "support/smart",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "answer 0", "id": message_name(kept.id, 0)},
                "finish_reason": "stop",
                "completion_id": str(choice_id(kept.id, 0)),
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "session_id": str(SESSION),
        "status": "partial",
        "error_reason": "UPSTREAM_INTERRUPTED",
        "request_id": "request-1",
        "metadata": {"team": "x"},
        "tags": ["t1", "t2"],
        "user": "user-1",
        "project": "support",
        "campaign": "spring",
        "arm": "new",
        "target": {"provider": "p", "model": "p-1"},
        "first_token_ms": 20,
        "duration_ms": 50,
        "usage_estimated": True,
        "request": {"model": "support/smart", "temperature": 0.5, "tools": [WEATHER], "store": True},
    }
    assert list(told.request.tools[0].function.parameters.fields)[1].key == "b", "schemas keep their order"


async def test_a_completion_is_found_by_its_name_and_by_those_of_its_choices(served: Served) -> None:
    kept = record(choices=2)
    (name,) = await served.keep(kept)

    for each in (name, str(choice_id(kept.id, 1)), str(choice_id(kept.id, 0)).upper(), message_name(kept.id, 1)):
        found = await served.ask("GetChatCompletion", pb.GetChatCompletionRequest(completion_id=each))
        assert found.id == name


@pytest.mark.parametrize("name", [GONE, "chatcmpl-1", "x", str(SESSION), "a" * 5000, "chatcmpl-\0", "no choice"])
@pytest.mark.parametrize("method", ["Get", "ListMessages", "Update", "Delete"])
async def test_what_is_not_stored_is_not_found(served: Served, method: str, name: str) -> None:
    kept = record(choices=2)
    await served.keep(kept)
    wanted = str(choice_id(kept.id, 2)) if name == "no choice" else name

    failure = await served.fail(*_of_one(method, wanted))

    assert failure.identity() == (
        404,
        "invalid_request_error",
        "completion_not_found",
        "completion_id",
        "There is no stored completion of this id.",
    )
    assert await served.store.get("a", kept.id), "nothing else was done"


@pytest.mark.parametrize("method", ["Get", "ListMessages", "Update", "Delete"])
async def test_an_id_is_required(served: Served, method: str) -> None:
    failure = await served.fail(*_of_one(method, ""))

    assert (failure.code, failure.param) == ("missing_required_parameter", "completion_id")


@pytest.mark.parametrize("method", ["Get", "ListMessages", "Update", "Delete"])
async def test_a_completion_of_another_tenant_looks_as_if_there_were_none(served: Served, method: str) -> None:
    (name,) = await served.keep(record(tenant="a", labels={"k": "v"}))

    foreign = await served.fail(*_of_one(method, name), key="key-of-b")
    unknown = await served.fail(*_of_one(method, GONE), key="key-of-b")

    assert foreign == unknown
    told = await served.ask(*_of_one("Get", name), key="other-key-of-a")
    assert told.metadata == {"k": "v"}, "keys of one tenant share what is stored, and nobody else has changed it"


async def test_a_list_is_of_the_callers_tenant_alone(served: Served) -> None:
    mine = await served.keep(record(tenant="a"), record(tenant="a"))
    theirs = await served.keep(record(tenant="b"))

    assert await _names(served) == mine
    assert await _names(served, key="key-of-b") == theirs
    assert await _names(served, key="key-of-b", after=mine[0]) == theirs, "a foreign cursor tells nothing"


def _of_one(method: str, name: str) -> tuple[str, Any]:
    """The method and its request, of one completion."""
    match method:
        case "Get":
            return "GetChatCompletion", pb.GetChatCompletionRequest(completion_id=name)
        case "ListMessages":
            return "ListChatCompletionMessages", pb.ListChatCompletionMessagesRequest(completion_id=name)
        case "Update":
            return "UpdateChatCompletion", pb.UpdateChatCompletionRequest(completion_id=name, metadata={"x": "y"})
        case _:
            return "DeleteChatCompletion", pb.DeleteChatCompletionRequest(completion_id=name)


async def _list(served: Served, key: str = "key-of-a", **fields: Any) -> pb.ListChatCompletionsResponse:
    answer = await served.ask("ListChatCompletions", pb.ListChatCompletionsRequest(**fields), key=key)
    assert isinstance(answer, pb.ListChatCompletionsResponse)
    return answer


async def _names(served: Served, key: str = "key-of-a", **fields: Any) -> list[str]:
    return [completion.id for completion in (await _list(served, key, **fields)).data]


@pytest.mark.parametrize("order", [None, "asc", "desc"])
async def test_pages_follow_each_other_without_gap_or_repetition(served: Served, order: str | None) -> None:
    names = await served.keep(*(record() for _ in range(45)))
    wanted = names[::-1] if order == "desc" else names
    seen: list[str] = []
    sizes = []
    after = None
    while True:
        page = await _list(served, order=order, after=after)
        data = [completion.id for completion in page.data]
        assert (page.object, page.first_id, page.last_id) == ("list", data[0], data[-1])
        seen += data
        sizes.append(len(data))
        if not page.has_more:
            break
        after = page.last_id

    assert seen == wanted
    assert sizes == [20, 20, 5], "20 is the size of a page unless another is asked for"


async def test_a_full_last_page_has_nothing_behind_it(served: Served) -> None:
    names = await served.keep(record(), record())

    page = await _list(served, limit=2)

    assert [completion.id for completion in page.data] == names
    assert page.HasField("has_more")
    assert not page.has_more


async def test_a_list_goes_on_behind_a_completion_that_is_gone(served: Served) -> None:
    kept = [record(choices=1) for _ in range(3)]
    names = await served.keep(*kept)
    await served.ask("DeleteChatCompletion", pb.DeleteChatCompletionRequest(completion_id=names[1]))

    assert await _names(served, after=names[1]) == [names[2]]
    assert await _names(served, after=names[1], order="desc") == [names[0]]
    assert await _names(served, after=str(choice_id(kept[0].id, 0))) == [names[2]], "a choice's id is one, too"
    assert await _names(served, after=names[2]) == []


async def test_a_list_leaves_out_requests(served: Served) -> None:
    await served.keep(record())

    (told,) = (await _list(served)).data

    assert told.choices[0].message.content == "answer 0"
    assert not told.HasField("request")


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [0, 1, 2, 3]),
    ({"model": "fast"}, [0, 2]),
    ({"model": "none of this id"}, []),
    ({"metadata": {"team": "x"}}, [0, 1]),
    ({"labels": {"team": "x"}}, [0, 1]),
    ({"label_pairs": ["team=x"]}, [0, 1]),
    ({"metadata": {"team": "x"}, "labels": {"stage": "prod"}}, [1]),
    ({"metadata": {"team": "x"}, "label_pairs": ["stage=prod", "team=x"]}, [1]),
    ({"metadata": {"team": "prod"}}, []),
    ({"metadata": {"a=b%3D": "c=d"}}, [3]),
    ({"label_pairs": ["a%3Db%253D=c=d"]}, [3]),
    ({"label_pairs": ["empty="]}, [3]),
    ({"tags": ["red"]}, [0, 1]),
    ({"tags": ["red", "blue"]}, [1]),
    ({"tags": ["red", "red"]}, [0, 1]),
    ({"user": "user-1"}, [0]),
    ({"user": "Ünï ©"}, [2]),
    ({"session_id": str(SESSION)}, [2, 3]),
    ({"session_id": str(SESSION).upper()}, [2, 3]),
    ({"model": "fast", "tags": ["red"], "metadata": {"team": "x"}, "user": "user-1"}, [0]),
    ({"model": "fast", "session_id": str(SESSION)}, [2]),
]


@pytest.mark.parametrize(("fields", "places"), FILTERS, ids=[str(fields) for fields, _ in FILTERS])
async def test_a_filter_lets_through_what_it_names(served: Served, fields: dict[str, Any], places: list[int]) -> None:
    names = await served.keep(
        record(model="fast", labels={"team": "x"}, tags=("red",), user="user-1"),
        record(model="smart", labels={"team": "x", "stage": "prod"}, tags=("red", "blue")),
        record(model="fast", session_id=SESSION, user="Ünï ©"),
        record(model="smart", session_id=SESSION, labels={"a=b%3D": "c=d", "empty": ""}),
    )
    wanted = [names[place] for place in places]

    assert await _names(served, **fields) == wanted
    assert await _names(served, **fields, order="desc") == wanted[::-1]
    assert await _names(served, **fields, limit=1) == wanted[:1]
    assert await _names(served, **fields, after=names[0]) == [name for name in wanted if name != names[0]]


BAD_LISTS: list[tuple[dict[str, Any], str]] = [
    ({"limit": 0}, "limit"),
    ({"limit": -1}, "limit"),
    ({"limit": 101}, "limit"),
    ({"order": "up"}, "order"),
    ({"order": ""}, "order"),
    ({"after": ""}, "after"),
    ({"after": "x"}, "after"),
    ({"after": "chatcmpl-123"}, "after"),
    ({"after": str(SESSION)}, "after"),
    ({"model": ""}, "model"),
    ({"model": "m" * 257}, "model"),
    ({"model": "m\0"}, "model"),
    ({"user": ""}, "user"),
    ({"user": "u" * 257}, "user"),
    ({"user": "\0"}, "user"),
    ({"session_id": ""}, "session_id"),
    ({"session_id": "1"}, "session_id"),
    ({"session_id": SESSION.hex}, "session_id"),
    ({"tags": [""]}, "tags[0]"),
    ({"tags": ["t", "t" * 65]}, "tags[1]"),
    ({"tags": ["\0"]}, "tags[0]"),
    ({"tags": [str(number) for number in range(65)]}, "tags"),
    ({"metadata": {"": "v"}}, "metadata"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"metadata": {"k": "\0"}}, "metadata"),
    ({"labels": {"k\0": "v"}}, "labels"),
    ({"labels": {"": "v"}}, "labels"),
    ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
    ({"labels": {"k": "v"}, "metadata": {"k": "w"}}, "labels"),
    ({"label_pairs": ["k=v", "k=w"]}, "metadata"),
    ({"label_pairs": ["k"]}, "metadata"),
    ({"label_pairs": ["k%=v"]}, "metadata"),
    ({"label_pairs": ["k%20=v"]}, "metadata"),
    ({"label_pairs": ["=v"]}, "metadata"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_LISTS, ids=[str(fields)[:40] for fields, _ in BAD_LISTS])
async def test_a_bad_value_in_a_list_is_named(served: Served, fields: dict[str, Any], param: str) -> None:
    failure = await served.fail("ListChatCompletions", pb.ListChatCompletionsRequest(**fields))

    assert (failure.http_status, failure.code, failure.param) == (400, "invalid_value", param)
    assert f"`{param}`" in failure.message


async def test_labels_are_replaced(served: Served) -> None:
    (name,) = await served.keep(record(labels={"team": "x", "old": "1"}, tags=("kept",)))

    for field in ("metadata", "labels"):
        request = pb.UpdateChatCompletionRequest(completion_id=name, **{field: {"team": field, "new": "2"}})
        told = await served.ask("UpdateChatCompletion", request)
        assert dict(told.metadata) == {"team": field, "new": "2"}
        assert (told.id, list(told.tags), told.HasField("request")) == (name, ["kept"], False)
        got = await served.ask("GetChatCompletion", pb.GetChatCompletionRequest(completion_id=name))
        assert got.metadata == told.metadata

    assert await _names(served, metadata={"new": "2"}) == [name]
    assert await _names(served, metadata={"old": "1"}) == []


async def test_no_labels_in_place_of_labels_clear_them(served: Served) -> None:
    (name,) = await served.keep(record(labels={"team": "x"}))

    told = await served.ask("UpdateChatCompletion", pb.UpdateChatCompletionRequest(completion_id=name))

    assert not told.metadata
    assert await _names(served, metadata={"team": "x"}) == []


async def test_labels_are_replaced_by_the_name_of_a_choice(served: Served) -> None:
    kept = record(choices=2)
    await served.keep(kept)

    request = pb.UpdateChatCompletionRequest(completion_id=str(choice_id(kept.id, 1)), labels={"k": "v"})

    assert (await served.ask("UpdateChatCompletion", request)).metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"metadata": {"k": "v"}, "labels": {"k": "w"}}, "metadata"),
        ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
        ({"labels": {str(number): "v" for number in range(17)}}, "labels"),
        ({"labels": {"k" * 65: "v"}}, "labels"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k": "v\0"}}, "metadata"),
    ],
)
async def test_bad_labels_are_named_and_change_nothing(served: Served, fields: dict[str, Any], param: str) -> None:
    (name,) = await served.keep(record(labels={"team": "x"}))

    failure = await served.fail("UpdateChatCompletion", pb.UpdateChatCompletionRequest(completion_id=name, **fields))

    assert (failure.code, failure.param) == ("invalid_value", param)
    assert await _names(served, metadata={"team": "x"}) == [name]


async def test_a_deleted_completion_is_gone(served: Served) -> None:
    (name, other) = await served.keep(record(labels={"k": "v"}, tags=("t",)), record())
    request = pb.DeleteChatCompletionRequest(completion_id=name)

    told = await served.ask("DeleteChatCompletion", request)

    assert json_of(told) == {"id": name, "object": "chat.completion.deleted", "deleted": True}
    assert await _names(served) == [other]
    assert await _names(served, metadata={"k": "v"}) == []
    assert (await served.fail("DeleteChatCompletion", request)).code == "completion_not_found"
    assert (await served.fail(*_of_one("Get", name))).code == "completion_not_found"


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Look"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
    {"role": "user", "content": "And?", "metadata": {"from": "app"}},
]


async def test_messages_are_those_that_the_completion_answers(served: Served) -> None:
    kept = record(request=to_proto({"model": "m", "messages": CONVERSATION}), choices=2)
    (name,) = await served.keep(kept)

    for completion_id in (name, str(choice_id(kept.id, 1))):
        request = pb.ListChatCompletionMessagesRequest(completion_id=completion_id)
        told = json_of(await served.ask("ListChatCompletionMessages", request))
        assert told == {
            "object": "list",
            "data": [
                {"id": f"{name}-0", "role": "system", "content": "Be brief."},
                {"id": f"{name}-1", "role": "user", "name": "ann", "content_parts": [{"type": "text", "text": "Look"}]},
                {"id": f"{name}-2", "role": "assistant", "tool_calls": CONVERSATION[2]["tool_calls"]},
                {"id": f"{name}-3", "role": "tool", "tool_call_id": "c1", "content": "42"},
                {"id": f"{name}-4", "role": "user", "content": "And?", "metadata": {"from": "app"}},
            ],
            "first_id": f"{name}-0",
            "last_id": f"{name}-4",
            "has_more": False,
        }


async def test_messages_come_in_pages(served: Served) -> None:
    messages = [{"role": "user", "content": str(number)} for number in range(25)]
    (name,) = await served.keep(record(request=to_proto({"model": "m", "messages": messages})))

    async def page(**fields: Any) -> tuple[list[str], bool]:
        request = pb.ListChatCompletionMessagesRequest(completion_id=name, **fields)
        told = await served.ask("ListChatCompletionMessages", request)
        return [message.content for message in told.data], told.has_more

    numbers = [str(number) for number in range(25)]
    assert await page() == (numbers[:20], True)
    assert await page(after=f"{name}-19") == (numbers[20:], False)
    assert await page(after=f"{name}-4", limit=20) == (numbers[5:], False)
    assert await page(order="desc", limit=2) == (["24", "23"], True)
    assert await page(order="desc", after=f"{name}-1") == (["0"], False)
    assert await page(after=f"{name}-24") == ([], False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "newest"}, "order"),
        ({"after": ""}, "after"),
        ({"after": "1"}, "after"),
        ({"after": f"{GONE}-0"}, "after"),
        ({"after": "NAME-1"}, "after"),
        ({"after": "NAME"}, "after"),
    ],
)
async def test_a_bad_value_in_a_list_of_messages_is_named(served: Served, fields: dict[str, Any], param: str) -> None:
    (name,) = await served.keep(record())
    given = {field: value.replace("NAME", name) if field == "after" else value for field, value in fields.items()}

    request = pb.ListChatCompletionMessagesRequest(completion_id=name, **given)
    failure = await served.fail("ListChatCompletionMessages", request)

    assert (failure.http_status, failure.code, failure.param) == (400, "invalid_value", param)


async def test_a_page_of_large_messages_is_shorter(served: Served) -> None:
    messages = [{"role": "user", "content": "x" * size} for size in (10**6, 10**6, 10**6, 10**6, 3_500_000, 1)]
    (name,) = await served.keep(record(request=to_proto({"model": "m", "messages": messages})))

    pages, after = [], None
    while True:
        request = pb.ListChatCompletionMessagesRequest(completion_id=name, after=after)
        page = await served.ask("ListChatCompletionMessages", request)
        pages.append([len(message.content) for message in page.data])
        if not page.has_more:
            break
        after = page.last_id

    assert pages == [[10**6] * 3, [10**6], [3_500_000], [1]], "one comes, however large"


# Four bytes a character, and as many as labels and tags may have: 52 KiB beside each answer.
MARKS = {
    "labels": {chr(0x1F600 + number) * 64: "🙂" * 512 for number in range(16)},
    "tags": tuple(chr(0x1F600 + number) * 64 for number in range(64)),
}


@pytest.mark.parametrize(
    ("count", "size", "marks"), [(5, 1_200_000, {}), (100, 1, MARKS)], ids=["large answers", "large labels and tags"]
)
async def test_pages_are_such_that_grpc_clients_take_them_as_they_are(
    served: Served, count: int, size: int, marks: dict[str, Any]
) -> None:
    kept = [record(**marks) for _ in range(count)]
    for each in kept:
        each.completion.choices[0].message.content = "x" * size
    names = await served.keep(*kept)

    found: list[str] = []
    request = pb.ListChatCompletionsRequest(limit=100)
    while True:
        page = await served.ask("ListChatCompletions", request)
        found += [each.id for each in page.data]
        if not page.has_more:
            break
        request.after = page.last_id

    assert found == names


async def test_empty_lists_are_marked_for_the_gateway_alone(served: Served) -> None:
    for rest in (False, True):
        request = pb.ListChatCompletionsRequest()
        told = await served.ask("ListChatCompletions", request, rest=rest)
        assert told.HasField("empty_data") is rest
        assert not told.HasField("first_id")
        assert not told.HasField("last_id")
    await served.keep(record())
    assert not (await served.ask("ListChatCompletions", request, rest=True)).HasField("empty_data")


async def test_the_gateway_is_told_that_lists_may_be_empty(served: Served) -> None:
    kept = record()
    token = kept.completion.choices[0].logprobs.content.add(token="a", logprob=-1.0, empty_top_logprobs=0)
    assert token.HasField("empty_top_logprobs")
    (name,) = await served.keep(kept)
    stub = ChatServiceStub(served.channel)
    calls: list[tuple[Any, Any]] = [
        (stub.ListChatCompletions, pb.ListChatCompletionsRequest()),
        (stub.ListChatCompletionMessages, pb.ListChatCompletionMessagesRequest(completion_id=name)),
        (stub.GetChatCompletion, pb.GetChatCompletionRequest(completion_id=name)),
        (stub.UpdateChatCompletion, pb.UpdateChatCompletionRequest(completion_id=name)),
    ]
    for method, request in calls:
        for marks in ((), (("x-parley-sse", "1"),)):
            call = method(request, metadata=(("x-api-key", "key-of-a"), *marks))
            await call
            told = dict(await call.initial_metadata())
            assert ("x-parley-empty-lists" in told) is bool(marks), method


async def test_a_service_without_a_store_says_so() -> None:
    methods = [_of_one(method, GONE) for method in ("Get", "ListMessages", "Update", "Delete")]
    methods += [("ListChatCompletions", pb.ListChatCompletionsRequest()), ("ListSessions", ListSessionsRequest())]
    async with in_process({}, keys=keys()) as service, grpc.aio.insecure_channel(service.address) as channel:
        # The store is none of the service's here, and is never asked.
        served = Served(service, open_store(Storage(data_dir="/nowhere")), channel)
        for method, request in methods:
            failure = await served.fail(method, request)
            assert (failure.http_status, failure.code, failure.param) == (400, "unsupported_parameter", None), method
            assert "`storage`" in failure.message


async def test_a_database_that_is_down_is_told_with_a_time_to_come_again(folder: Path) -> None:
    (folder / "data").write_text("no folder")
    async with serving(Storage(data_dir=str(folder / "data")), is_up=False) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.ask("ListChatCompletions", pb.ListChatCompletionsRequest())

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert grpc_failure(caught.value).code == "storage_unavailable"
    status = Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])
    retry = RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() > 0


async def test_the_access_log_has_a_line_for_each_call_without_what_is_stored(served: Served) -> None:
    (name,) = await served.keep(record(labels={"k": "CANARY"}, user="CANARY"))

    await served.ask("GetChatCompletion", pb.GetChatCompletionRequest(completion_id=name))
    await served.fail("ListChatCompletions", pb.ListChatCompletionsRequest(limit=0, user="CANARY"))

    first, second = served.service.calls()
    assert (first["method"], first["status"]) == ("/parley.v1.ChatService/GetChatCompletion", "OK")
    assert (second["reason"], second["param"]) == ("PARAMETER_INVALID", "limit")
    assert "CANARY" not in served.service.log.getvalue().decode()
